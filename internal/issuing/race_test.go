package issuing_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// crew is processes that share the partitions among them.
func crew(w *world, processes, partitions int) (all []*process, parts []*part) {
	for k := range processes {
		all = append(all, w.Issuer(fmt.Sprint("process ", k), nil))
	}
	for n := range partitions {
		parts = append(parts, all[n%processes].Open(n, 0))
	}
	return all, parts
}

// together runs do for each part at the same time.
func together(parts []*part, do func(*part) error) {
	var running sync.WaitGroup
	for _, p := range parts {
		running.Go(func() {
			if err := do(p); err != nil {
				p.w.Errorf("partition %d: %v", p.n, err)
			}
		})
	}
	running.Wait()
}

// TestDrain sells pools out through all partitions at once: to the last code,
// and nobody hears of the end before.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ codes, requests, batch int }{
		{20, 60, 3}, {1000, 1500, 40}, {20_000, 21_000, 250},
	} {
		t.Run(strconv.Itoa(c.codes), func(t *testing.T) {
			w := w.on(t)
			id := "drain-" + w.stream
			w.Pool(id, c.codes)
			processes, parts := crew(w, 3, 12)
			for k := range c.requests {
				w.Publish(k%12, ask(id, fmt.Sprint("r", k)))
			}
			start := time.Now()
			together(parts, func(p *part) error { return p.Work(int64(c.batch)) })
			lost := 0.0
			for _, p := range processes {
				lost += p.Metric("promopool_decisions_again_total", "")
			}
			t.Logf("%v, %v decided again", time.Since(start).Round(time.Millisecond), lost)
			if issued := w.Count("issued"); issued != c.codes {
				t.Errorf("got %d issued, want %d", issued, c.codes)
			}
			if refused := w.Count("pool_exhausted"); refused != c.requests-c.codes {
				t.Errorf("got %d refused, want %d", refused, c.requests-c.codes)
			}
			w.Check()
		})
	}
}

// Most of the stock may not be issued yet: what is open is shared out exactly
// and without fighting over it.
func TestDrainOpenPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 1000)
	w.Fill("p", 12_000, time.Now().Add(time.Hour))
	processes, parts := crew(w, 3, 12)
	for k := range 1500 {
		w.Publish(k%12, ask("p", fmt.Sprint("r", k)))
	}
	start := time.Now()
	together(parts, func(p *part) error { return p.Work(10) })
	lost := 0.0
	for _, p := range processes {
		lost += p.Metric("promopool_decisions_again_total", "")
	}
	t.Logf("%v, %v decided again", time.Since(start).Round(time.Millisecond), lost)
	if issued, refused := w.Count("issued"), w.Count("no_code_in_window"); issued != 1000 || refused != 500 {
		t.Errorf("got %d issued, %d out of window, want 1000 and 500", issued, refused)
	}
	if lost > 60 {
		t.Errorf("got %v decisions made again for 150 batches, want few", lost)
	}
	w.Check()
}

// The same requests on every partition: one code each, whoever comes first.
func TestDuplicatesRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("ample", 6_000)
	w.Pool("scarce", 300)
	_, parts := crew(w, 2, 4)
	for k := range 400 {
		for n := range 4 {
			w.Publish(n, ask("ample", fmt.Sprint("r", k)), ask("scarce", fmt.Sprint("r", k)))
		}
	}
	together(parts, func(p *part) error { return p.Work(50) })
	if got := w.Int("SELECT count(*) FROM issuances JOIN pools USING (pool) WHERE id = 'ample'"); got != 400 {
		t.Errorf("got %d issuances, want 400", got)
	}
	if got := w.Int("SELECT count(*) FROM issuances JOIN pools USING (pool) WHERE id = 'scarce'"); got != 300 {
		t.Errorf("got %d issuances, want 300", got)
	}
	w.Check()
}

// A request that follows the answer to create, fill or launch is decided by the
// state after it, whatever partitions remember; after archive nothing is issued.
func TestStatesTakeEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, parts := crew(w, 2, 6)
	for _, size := range []int{10, 6000} {
		id := fmt.Sprint("p", size)
		var phase atomic.Pointer[string]
		say := func(s string) { phase.Store(&s) }
		say("none")
		stop := make(chan struct{})
		var staff sync.WaitGroup
		staff.Go(func() {
			defer close(stop)
			pause := func() { time.Sleep(40 * time.Millisecond) }
			pause()
			p := domain.Pool{ID: id, CampaignID: "summer", Name: id, Description: "d", ParameterName: "code", Processing: domain.Internal}
			if _, err := w.store.CreatePool(t.Context(), "test", p, false); err != nil {
				t.Error(err)
			}
			say("created")
			pause()
			if _, err := w.store.LaunchPool(t.Context(), "test", id, 0); err != nil {
				t.Error(err)
			}
			say("launched")
			pause()
			w.Fill(id, size)
			say("filled")
			pause()
			say("ending")
			w.Archive(id)
			say("archived")
			pause()
		})
		may := map[string][]string{ // by the phase before asking: what must not come any more
			"created":  {"pool_not_found"},
			"launched": {"pool_not_found", "pool_not_active"},
			"filled":   {"pool_not_found", "pool_exhausted"},
			"ending":   {"pool_not_found"},
			"archived": {"issued", "pool_exhausted", "pool_not_found"},
		}
		together(parts, func(p *part) error {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return nil
				default:
				}
				before := *phase.Load()
				w.Publish(p.n, ask(id, fmt.Sprintf("%d-%d", p.n, k)))
				if err := p.Work(1); err != nil {
					return err
				}
				after := *phase.Load()
				w.mu.Lock()
				got := name(w.answers[p.n][p.at-1])
				w.mu.Unlock()
				for _, never := range may[before] {
					// A small pool may be sold out, and staff may have gone on meanwhile.
					ended := after == "ending" || after == "archived"
					meant := got == "pool_exhausted" && size == 10 || got == "pool_not_active" && ended
					if got == never && !meant {
						t.Errorf("%s: got %s for a request sent when it was %s, answered when it was %s", id, got, before, after)
					}
				}
			}
		})
		staff.Wait()
	}
	w.Check()
}

// Several partitions with requests for several pools in crossing order, while
// staff fills, archives and edits: nothing waits in a circle for long.
func TestCrossingLocks(t *testing.T) {
	length := 1500 * time.Millisecond
	if s := os.Getenv("PROMOPOOL_CAMPAIGN"); s != "" {
		length, _ = time.ParseDuration(s)
	}
	// Else a circle and a long wait for a lock would both end after a second.
	w := newWorld(t, "deadlock_timeout = 50")
	const pools = 6
	for k := range pools {
		w.Pool(fmt.Sprint("p", k), []int{50, 12_000}[k%2])
	}
	processes, parts := crew(w, 3, 12)
	end := time.Now().Add(length)
	deadlocks := w.Int("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
	var staff sync.WaitGroup
	staff.Go(func() {
		for k := 0; time.Now().Before(end); k++ {
			id := fmt.Sprint("p", k%pools)
			switch k % 3 {
			case 0:
				w.Fill(id, 30)
			case 1:
				w.Fill(id, 12_000)
			case 2:
				_, err := w.store.UpdatePool(t.Context(), "test", id, 0, func(p domain.Pool) (domain.Pool, error) {
					p.Validity = domain.Period{Days: k + 1}
					return p, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	var longest atomic.Int64
	together(parts, func(p *part) error {
		for k := 0; time.Now().Before(end); k++ {
			for j := range pools {
				at := (p.n + j*(1+4*(p.n%2))) % pools
				w.Publish(p.n, asks(fmt.Sprint("p", at), fmt.Sprintf("%d-%d", p.n, k), 5)...)
			}
			start := time.Now()
			if err := p.Work(30); err != nil {
				return err
			}
			if took := int64(time.Since(start)); took > longest.Load() {
				longest.Store(took)
			}
		}
		return nil
	})
	staff.Wait()
	time.Sleep(100 * time.Millisecond) // for the statistics to be told
	deadlocks = w.Int("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") - deadlocks
	for _, p := range processes {
		for _, cause := range []string{"cursor", "raced", "again", "blocked", "place_taken", "unknown"} {
			if n := p.Metric("promopool_decisions_again_total", cause); n > 0 {
				t.Logf("%v decided again: %s", n, cause)
			}
		}
	}
	t.Logf("%d issued, %d deadlocks, longest batch %v", w.Count("issued"), deadlocks, time.Duration(longest.Load()))
	if deadlocks > 0 {
		t.Errorf("got %d deadlocks, want none", deadlocks)
	}
	w.Check()
}

// Takeovers to and fro under load: every delivery has one answer.
func TestTakeovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 6_000)
	w.Pool("few", 200)
	a, b := w.Issuer("a", nil), w.Issuer("b", nil)
	for n := range 3 {
		for k := range 200 {
			w.Publish(n, ask("p", fmt.Sprintf("%d-%d", n, k)), ask("few", fmt.Sprintf("%d-%d", n, k)))
		}
	}
	var running sync.WaitGroup
	for n := range 3 {
		for _, i := range []*process{a, b} {
			running.Go(func() {
				for at := int64(0); at < w.end(n); {
					opened, err := i.Issuer.Open(t.Context(), w.stream, n, w.count, at)
					if err != nil {
						continue
					}
					p := &part{opened, w, n, at}
					for k := 0; k < 5 && err == nil; k++ {
						err = p.Step(37)
					}
					if err != nil && !errors.Is(err, issuing.ErrFenced) && !errors.Is(err, issuing.ErrUnknown) {
						t.Errorf("partition %d: %v", n, err)
					}
					at = p.at
					p.Close()
					time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
				}
			})
		}
	}
	running.Wait()
	if issued := w.Count("issued"); issued != 800 {
		t.Errorf("got %d issued, want 800", issued)
	}
	w.Check()
}
