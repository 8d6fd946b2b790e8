package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"promopool/internal/guesses"
)

// limitFlag is a limit of guesses as a flag: so many a minute, a slash, so many at
// once.
type limitFlag guesses.Limit

// String is the flag's value.
func (l *limitFlag) String() string { return fmt.Sprintf("%d/%d", l.PerMinute, l.Burst) }

// Type names the form for help.
func (l *limitFlag) Type() string { return "tries" }

// Set reads a value.
func (l *limitFlag) Set(text string) error {
	minute, burst, _ := strings.Cut(text, "/")
	perMinute, err := strconv.Atoi(minute)
	atOnce, wrong := strconv.Atoi(burst)
	if errors.Join(err, wrong) != nil || perMinute < 1 || atOnce < 1 {
		return errors.New("must be two numbers above 0: so many a minute and so many at once, such as 60/100")
	}
	l.PerMinute, l.Burst = perMinute, atOnce
	return nil
}
