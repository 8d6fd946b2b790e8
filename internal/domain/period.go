package domain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrPeriod is returned for text that is no ISO 8601 duration.
var ErrPeriod = errors.New("not an ISO 8601 duration such as P30D or PT12H")

// Period is a length of calendar time (ISO 8601 duration). Months and days are
// kept apart from the clock time because their length depends on where they
// start. The zero Period means "none".
type Period struct {
	Months int
	Days   int
	Clock  time.Duration
}

// ParsePeriod reads an ISO 8601 duration: P1Y2M3W4DT5H6M7S, any part absent,
// whole numbers only, longer than nothing and at most a hundred years.
func ParsePeriod(s string) (Period, error) {
	var p Period
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" || len(s) > 40 {
		return Period{}, fmt.Errorf("%q: %w", clip(s), ErrPeriod)
	}
	date, clock, hasClock := strings.Cut(rest, "T")
	if err := p.parseParts(date, "YMWD", false); err != nil {
		return Period{}, fmt.Errorf("%q: %w", s, err)
	}
	if hasClock {
		if clock == "" {
			return Period{}, fmt.Errorf("%q: %w", s, ErrPeriod)
		}
		if err := p.parseParts(clock, "HMS", true); err != nil {
			return Period{}, fmt.Errorf("%q: %w", s, err)
		}
	}
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if end := p.After(start); !end.After(start) || end.After(start.AddDate(100, 0, 0)) {
		return Period{}, fmt.Errorf("%q: longer than nothing and at most a hundred years: %w", s, ErrPeriod)
	}
	return p, nil
}

// parseParts reads number-unit pairs whose units come in the given order.
func (p *Period) parseParts(s, units string, clock bool) error {
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end < 1 || end > 6 {
			return ErrPeriod
		}
		n, err := strconv.Atoi(s[:end])
		at := strings.IndexByte(units, s[end])
		if err != nil || at < 0 {
			return ErrPeriod
		}
		switch unit := units[at]; {
		case unit == 'Y':
			p.Months += 12 * n
		case unit == 'M' && !clock:
			p.Months += n
		case unit == 'W':
			p.Days += 7 * n
		case unit == 'D':
			p.Days += n
		case unit == 'H':
			p.Clock += time.Duration(n) * time.Hour
		case unit == 'M':
			p.Clock += time.Duration(n) * time.Minute
		case unit == 'S':
			p.Clock += time.Duration(n) * time.Second
		}
		units, s = units[at+1:], s[end+1:]
	}
	return nil
}

// IsZero reports whether the period is "none".
func (p Period) IsZero() bool { return p == Period{} }

// After returns the moment one period after t. A day that the target month
// lacks is carried into the next month, as time.Time.AddDate does it.
func (p Period) After(t time.Time) time.Time {
	return t.UTC().AddDate(0, p.Months, p.Days).Add(p.Clock)
}

// String is the shortest ISO 8601 form of the period; "" for none.
func (p Period) String() string {
	if p.IsZero() {
		return ""
	}
	var b strings.Builder
	b.WriteByte('P')
	part := func(n int64, unit byte) {
		if n != 0 {
			b.WriteString(strconv.FormatInt(n, 10))
			b.WriteByte(unit)
		}
	}
	part(int64(p.Months/12), 'Y')
	part(int64(p.Months%12), 'M')
	part(int64(p.Days), 'D')
	if p.Clock > 0 {
		b.WriteByte('T')
		part(int64(p.Clock/time.Hour), 'H')
		part(int64(p.Clock%time.Hour/time.Minute), 'M')
		part(int64(p.Clock%time.Minute/time.Second), 'S')
	}
	return b.String()
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
