package domain

import (
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func patternOf(t *testing.T, text string) *Pattern {
	t.Helper()
	p, err := ParsePattern(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRoom(t *testing.T) {
	pool := []Made{{patternOf(t, "S-9999"), 100}, {patternOf(t, "T-####"), 7}}
	for _, c := range []struct {
		name, pattern string
		count         int64
		odds          float64
		err           error
		says          string
		most          int64
	}{
		{"Fits", "S-9999", 900, 0.1, nil, "", 900},
		{"Guessable", "S-9999", 901, 0.1, ErrGuessable, "at most 900 codes", 900},
		{"All", "S-9999", 9900, 1, nil, "", 9900},
		{"MoreThanAll", "S-9999", 9901, 1, ErrGuessable, "9900 of its 10000", 9900},
		{"OnTheEdge", "999999", 1, 1e-6, nil, "", 1},
		{"OverTheEdge", "999999", 2, 1e-6, ErrGuessable, "", 1},
		{"Fresh", "#############", MaxGenerated, 1e-6, nil, "", MaxGenerated},
		{"OtherShape", "AA9999", 100, 1, nil, "", 26 * 26 * 10_000},
		{"MeetsOther", "A-9999", 1, 1, ErrPatternMeets, "another prefix", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := RoomFor(patternOf(t, c.pattern), pool)
			err := r.Check(c.count, c.odds)
			if !errors.Is(err, c.err) || err != nil && (!strings.Contains(err.Error(), c.says) || !errors.As(err, new(*Invalid))) {
				t.Errorf("got %v, want %v about %q", err, c.err, c.says)
			}
			if got := r.Most(c.odds); got != c.most {
				t.Errorf("got at most %d, want %d", got, c.most)
			}
		})
	}
}

// TestSample: whatever chance says, no text that is shown is a code.
func TestSample(t *testing.T) {
	g := generatorOf(t, "9", "", 9)
	room := Room{Pattern: g.pattern, Made: 7}
	for choice := range int64(3) {
		texts := room.Sample(g, 3, func(limit *big.Int) *big.Int {
			if limit.Int64() != 3 {
				t.Fatalf("%d are left", limit)
			}
			return big.NewInt(choice)
		})
		if len(texts) != 1 {
			t.Errorf("got %q, want one text of one choice", texts)
		}
		for _, text := range texts {
			if slices.Contains(g.Codes(0, 7), text) {
				t.Errorf("%s is a code", text)
			}
		}
	}
	room.Made = 10
	if got := room.Sample(g, 3, nil); len(got) != 0 {
		t.Errorf("got %q of a pattern that is used up", got)
	}
}

// TestPoolOfPatterns: whatever generations a pool takes, no two of its codes are
// alike, and each leads back to its pattern and number alone.
func TestPoolOfPatterns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pool []Made
		var generators []*Generator
		owners := map[string][2]int64{}
		for range rapid.IntRange(1, 6).Draw(t, "generations") {
			p := anyPattern(t, "pattern")
			room := RoomFor(p, pool)
			odds := rapid.SampledFrom([]float64{0.1, 0.5, 1}).Draw(t, "odds")
			count := rapid.Int64Range(1, max(1, min(300, room.Most(odds)))).Draw(t, "count")
			if room.Check(count, odds) != nil {
				continue
			}
			at := slices.IndexFunc(pool, func(m Made) bool { return m.Pattern.Same(p) })
			if at < 0 {
				at = len(pool)
				pool = append(pool, Made{Pattern: p})
				generators = append(generators, generatorOf(t, p.String(), p.Alphabet(), rapid.Byte().Draw(t, "key")))
			}
			for i, code := range generators[at].Codes(room.Made, int(count)) {
				if other, ok := owners[code]; ok {
					t.Fatalf("%s is code %d of pattern %d and %v", code, room.Made+int64(i), at, other)
				}
				owners[code] = [2]int64{int64(at), room.Made + int64(i)}
			}
			pool[at].Count += count
		}
		for code, owner := range owners {
			for at, g := range generators {
				n, ok := g.Number(code)
				if found := ok && n < pool[at].Count; found != (int64(at) == owner[0]) || found && n != owner[1] {
					t.Fatalf("%s of %v: pattern %d says %d, %t", code, owner, at, n, ok)
				}
			}
		}
	})
}

func TestGenerationCheck(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	at := func(days int) time.Time { return now.AddDate(0, 0, days) }
	for _, c := range []struct {
		name   string
		window Window
		count  int64
		odds   float64
		field  string
	}{
		{"Open", Window{}, 1, 1e-6, ""},
		{"All", Window{at(1), at(2), at(1), at(3)}, 1, 1, ""},
		{"None", Window{}, 0, 1e-6, "count"},
		{"TooMany", Window{}, MaxGenerated + 1, 1e-6, "count"},
		{"NoOdds", Window{}, 1, 0, "max_guess_odds"},
		{"SureOdds", Window{}, 1, 1.1, "max_guess_odds"},
		{"IssueBackwards", Window{IssueStart: at(2), IssueEnd: at(1)}, 1, 1, "issue_end"},
		{"UseBackwards", Window{AvailableFrom: at(2), AvailableTill: at(2)}, 1, 1, "available_till"},
		{"UseBeforeIssue", Window{IssueStart: at(2), AvailableTill: at(1)}, 1, 1, "available_till"},
		{"Over", Window{IssueEnd: now}, 1, 1, "issue_end"},
		{"UseOver", Window{AvailableTill: at(-1)}, 1, 1, "available_till"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Generation{Count: c.count, MaxGuessOdds: c.odds, Window: c.window}.Check(now)
			var wrong *Invalid
			if c.field == "" != (err == nil) || err != nil && (!errors.As(err, &wrong) || wrong.Problems[0].Field != c.field) {
				t.Errorf("got %v, want about %q", err, c.field)
			}
		})
	}
}
