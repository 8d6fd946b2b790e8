package customers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

func TestListerRests(t *testing.T) {
	const took = 20 * time.Millisecond
	for _, c := range []struct {
		name string
		done Listed
		want time.Duration
	}{
		{"NothingLeft", Listed{Codes: 10}, poll},
		{"Busy", Listed{Codes: step, Left: true, Lag: time.Minute, Quiet: time.Millisecond}, share * took},
		{"Quiet", Listed{Codes: step, Left: true, Lag: time.Minute, Quiet: time.Minute}, took},
	} {
		if got := c.done.rest(took); got != c.want {
			t.Errorf("%s: rests %v, want %v", c.name, got, c.want)
		}
	}
}

// pile is codes to be listed; a step takes 20 ms, and fails while it is broken.
type pile struct {
	left   int64
	busy   bool
	broken bool
	steps  int
}

func (p *pile) ListCodes(_ context.Context, atMost int) (Listed, error) {
	p.steps++
	if p.broken {
		return Listed{}, errors.New("away")
	}
	time.Sleep(20 * time.Millisecond) // in fake time
	n := min(int64(atMost), p.left)
	p.left -= n
	l := Listed{Codes: n, Left: p.left > 0}
	if l.Left {
		l.Lag, l.Quiet = 3*time.Second, 3*time.Second
	}
	if p.busy {
		l.Quiet = 0
	}
	return l, nil
}

// lag is the metric.
func lag(t *testing.T, reg *prometheus.Registry) float64 {
	families, err := reg.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range families {
		if f.GetName() == "promopool_customer_codes_lag_seconds" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Error("no lag is told")
	return 0
}

// TestListerPace: while codes are issued a tenth of the time is for listing, half of it
// afterwards, and next to none when nothing is left or nobody answers.
func TestListerPace(t *testing.T) {
	for _, c := range []struct {
		name        string
		pile        pile
		least, most int // steps in 10 s
	}{
		{"Busy", pile{left: 1 << 40, busy: true}, 45, 51},
		{"CatchesUp", pile{left: 1 << 40}, 240, 251},
		{"NothingLeft", pile{}, 40, 51},
		{"Broken", pile{broken: true}, 3, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				reg := prometheus.NewRegistry()
				l := NewLister(&c.pile, zerolog.Nop(), reg)
				go func() {
					time.Sleep(5 * time.Second)
					if got := lag(t, reg); got != map[bool]float64{true: 3}[c.pile.left > 0] {
						t.Errorf("lag %v", got)
					}
				}()
				if err := l.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if n := c.pile.steps; n < c.least || n > c.most {
					t.Errorf("%d steps in 10 s, want %d to %d", n, c.least, c.most)
				}
				if got := lag(t, reg); got != 0 {
					t.Errorf("it has ended, and its lag is %v", got)
				}
			})
		})
	}
}
