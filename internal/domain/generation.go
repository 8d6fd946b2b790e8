package domain

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"
)

const (
	// DefaultGuessOdds are those that a random guess may have where nobody
	// says more: one in a million.
	DefaultGuessOdds = 1e-6
	// MaxGenerated is how many codes one generation makes at most.
	MaxGenerated = 1_000_000_000_000
)

// Errors of filling a pool in two ways. The codes of a pool are all uploaded or
// all generated.
var (
	ErrUploaded  = errors.New("codes were uploaded to this pool, so none are generated: make another pool for generated codes")
	ErrGenerated = errors.New("the codes of this pool are generated, so it takes no files: make another pool for the file")
)

// Errors of a generation that the pattern does not bear. They come with an
// *Invalid that says what it would.
var (
	ErrGuessable    = errors.New("codes of the pattern could be guessed")
	ErrPatternMeets = errors.New("the pattern could spell a code of another pattern of the pool")
	ErrKeyReused    = errors.New("the Idempotency-Key belongs to another generation: take a new one")
)

// Generation is Count codes to be made from a pattern.
type Generation struct {
	Pattern      *Pattern
	Count        int64
	MaxGuessOdds float64 // of hitting one of all codes of the pattern by a random text of it
	Window       Window
	Key          string // the client's; two generations of one key are one. "": none
}

// Check returns an *Invalid that names every field which breaks a rule.
func (g Generation) Check(now time.Time) error {
	var c checker
	c.want(0 < g.Count && g.Count <= MaxGenerated, "count", fmt.Sprintf("must be a number from 1 to %d", int64(MaxGenerated)))
	c.want(0 < g.MaxGuessOdds && g.MaxGuessOdds <= 1, "max_guess_odds", "must be above 0 and at most 1")
	w := &g.Window
	ordered := func(from, till time.Time) bool { return till.IsZero() || from.Before(till) }
	c.want(ordered(w.IssueStart, w.IssueEnd), "issue_end", "must be later than issue_start")
	c.want(ordered(w.AvailableFrom, w.AvailableTill), "available_till", "must be later than available_from")
	c.want(ordered(w.IssueStart, w.AvailableTill), "available_till", "must be later than issue_start: the codes could never be used")
	c.want(w.IssueEnd.IsZero() || now.Before(w.IssueEnd), "issue_end", "is over: the codes could never be issued")
	c.want(w.AvailableTill.IsZero() || now.Before(w.AvailableTill), "available_till", "is over: the codes could never be issued")
	return c.err()
}

// Made is a pattern of a pool and how many of its codes the pool has: those of
// numbers 0…Count−1.
type Made struct {
	Pattern *Pattern
	Count   int64
}

// Room is what a pattern holds for a pool.
type Room struct {
	Pattern *Pattern
	Made    int64
	Other   *Pattern // of the pool, with texts in common; nil: there is none
}

// RoomFor finds the room that a pattern has beside those of the pool.
func RoomFor(p *Pattern, pool []Made) Room {
	r := Room{Pattern: p}
	for _, m := range pool {
		switch {
		case m.Pattern.Same(p):
			r.Made = m.Count
		case m.Pattern.Meets(p):
			r.Other = m.Pattern
		}
	}
	return r
}

// Left is how many texts of the pattern are not made yet.
func (r Room) Left() *big.Int {
	space := r.Pattern.Space()
	return space.Sub(space, big.NewInt(r.Made))
}

// Most is how many codes more may be made.
func (r Room) Most(odds float64) int64 {
	if r.Other != nil {
		return 0
	}
	return max(0, min(r.Pattern.Most(odds)-r.Made, MaxGenerated))
}

// Check says why count more codes cannot be made, or returns nil. The error is
// ErrPatternMeets or ErrGuessable, and an *Invalid.
func (r Room) Check(count int64, odds float64) error {
	if r.Other != nil {
		return &unbearable{ErrPatternMeets, fmt.Sprintf("could spell a code of %s, of which the pool has codes: take that one, or another prefix", r.Other)}
	}
	most := r.Most(odds)
	if count <= most {
		return nil
	}
	detail := fmt.Sprintf("has too few texts for %d codes more: %s of its %s are left. Take more random characters", count, r.Left(), r.Pattern.space)
	if r.Left().Cmp(big.NewInt(count)) >= 0 {
		detail = fmt.Sprintf("has %s texts, and with %d codes more %d of them were codes of this pool: a random one would be a code with odds of %s, above max_guess_odds, %s. Take more random characters",
			r.Pattern.space, count, r.Made+count, showOdds(r.Pattern.Odds(r.Made+count)), showOdds(odds))
	}
	if most > 0 {
		detail += fmt.Sprintf(", or at most %d codes", most)
	}
	return &unbearable{ErrGuessable, detail}
}

// unbearable is what a pattern does not bear, and which error that is.
type unbearable struct {
	kind   error
	detail string
}

// Error says it in a sentence.
func (u *unbearable) Error() string { return "the pattern " + u.detail }

// Unwrap is the kind, and the same about the field.
func (u *unbearable) Unwrap() []error {
	return []error{u.kind, &Invalid{Problems: []Problem{{Field: "pattern", Detail: u.detail}}}}
}

func showOdds(odds float64) string { return strconv.FormatFloat(odds, 'g', 3, 64) }

// Replenish is the setting of a pool to have Count codes more generated
// whenever fewer than Below are left that have not expired.
type Replenish struct {
	Below        int64   `json:"below"`
	Count        int64   `json:"count"`
	Pattern      string  `json:"pattern"`
	Alphabet     string  `json:"alphabet"`
	MaxGuessOdds float64 `json:"max_guess_odds"`
	Stopped      string  `json:"stopped"` // why no more are made, until it is set anew; "": it works
}

func (r *Replenish) check(c *checker) {
	if r == nil {
		return
	}
	c.want(r.Below > 0, "replenish.below", "must be a number above 0")
	c.want(0 < r.Count && r.Count <= MaxGenerated, "replenish.count", fmt.Sprintf("must be a number from 1 to %d", int64(MaxGenerated)))
	c.want(0 < r.MaxGuessOdds && r.MaxGuessOdds <= 1, "replenish.max_guess_odds", "must be above 0 and at most 1")
}

// Generation is what the setting asks for.
func (r *Replenish) Generation() (Generation, error) {
	p, err := ParsePattern(r.Pattern, r.Alphabet)
	return Generation{Pattern: p, Count: r.Count, MaxGuessOdds: r.MaxGuessOdds}, err
}

// Sample is up to n different texts of the pattern that are no codes of the pool.
// generator is that of its codes, nil where it has none; below chooses a random
// number from 0 to limit−1.
func (r Room) Sample(generator *Generator, n int, below func(limit *big.Int) *big.Int) []string {
	left := r.Left()
	texts := []string{}
	for range n {
		if r.Other != nil || left.Sign() == 0 {
			break
		}
		i := uint128Of(below(left)).add(uint64(r.Made))
		if generator != nil {
			w := walk{g: generator}
			i = w.forth(i)
		}
		if text := string(r.Pattern.appendText(nil, i)); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}
