// Package simulation runs the service's decisions by the million under a seeded
// scheduler, in fake time and without sockets. The code that decides is the
// program's own (consumer, issuing, domain, producer); PostgreSQL and Kafka are
// models, of which each statement, each lock and each request is a step that the
// scheduler lets happen, fail, or lose its answer. A seed replays exactly. What the
// model of the store answers is held to PostgreSQL by TestConformance.
package simulation

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// How a campaign goes on is said by make simulate.
var (
	firstSeed = flag.Uint64("seed", 1, "the first seed; each run takes the next")
	most      = flag.Int("events", 1_000_000, "events until a campaign ends")
	length    = flag.Int("run-events", 4000, "events of one run, before it heals")
	duration  = flag.Duration("duration", 0, "how long a campaign goes on at least, beside its events")
	lines     = flag.Int("trace", 80, "events told of a failure")
	replays   = flag.Uint64("replays", 6, "seeds that TestReplay runs twice")
)

// report is what one run has come to.
type report struct {
	seed      uint64
	events    int
	ambiguous int
	hash      uint64
	kinds     map[string]int
	failure   string
	trace     []string
}

func simulate(t *testing.T, seed uint64, events int, bugs Bugs) (r report) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed, bugs)
		w.run(events)
		r = report{seed, w.events, w.ambiguous, w.hash, w.kinds, w.failure, w.told}
	})
	return r
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, after %d events: %s\n", r.seed, r.events, r.failure)
	for _, line := range r.trace[max(0, len(r.trace)-*lines):] {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "again: make simulate SEED=%d EVENTS=1", r.seed)
	return b.String()
}

// campaign is runs of many seeds, and what they come to together.
type campaign struct {
	start time.Time

	mu        sync.Mutex
	told      time.Time      // guarded by mu
	seeds     uint64         // guarded by mu
	events    int            // guarded by mu
	ambiguous int            // guarded by mu
	kinds     map[string]int // guarded by mu
	failed    bool           // guarded by mu
}

// next is the seed of another run; ok: there is to be one.
func (c *campaign) next() (seed uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed || c.events >= *most && time.Since(c.start) >= *duration {
		return 0, false
	}
	seed = *firstSeed + c.seeds
	c.seeds++
	return seed, true
}

func (c *campaign) add(t *testing.T, r report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events += r.events
	c.ambiguous += r.ambiguous
	for k, n := range r.kinds {
		c.kinds[k] += n
	}
	c.failed = c.failed || r.failure != ""
	if time.Since(c.told) > time.Minute {
		c.told = time.Now()
		t.Logf("%v: %d seeds, %d events", time.Since(c.start).Round(time.Second), c.seeds, c.events)
	}
}

// exercised are kinds of events that a campaign must have seen, lest it shows
// nothing about them.
var exercised = []string{
	"claim", "claim: blocked", "resolve", "partition taken away", "partition taken away unheard",
	"commit", "commit: fenced", "commit: handed back meanwhile", "commit: another was first", "commit: too old", "commit: no answer",
	"commit locked", "commit locked: fenced", "commit locked: handed back meanwhile", "commit locked: blocked", "commit locked: no answer",
	"refill", "texts: handed back meanwhile", "give back", "· hand back", "· wait for pool", "· wait for run", "· wait for partition",
	"answer lost", "request lost", "answer not waited for", "process killed", "process frozen", "backend frozen",
	"group sent back", "offset committed", "offset commit lost", "offset of an old generation refused",
	"requests repeated", "requests from a second producer", "dead letter", "event: issued", "event: rejected",
	"rejected: pool_not_found", "rejected: pool_not_active", "rejected: pool_exhausted", "rejected: no_code_in_window",
	"rejected: request_expired", "rejected: request_conflict", "rejected: poison",
	"import", "launch", "archive", "window", "validity", "block", "issue by hand",
}

// TestSimulation is a campaign: no run breaks an invariant, each heals, and nothing
// that the protocol must bear is left out.
func TestSimulation(t *testing.T) {
	c := &campaign{start: time.Now(), told: time.Now(), kinds: map[string]int{}}
	workers := runtime.GOMAXPROCS(0)
	if *most < *length {
		workers = 1 // one seed is asked for
	}
	t.Run("Seeds", func(t *testing.T) {
		for i := range workers {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed, ok := c.next(); ok; seed, ok = c.next() {
					r := simulate(t, seed, *length, Bugs{})
					c.add(t, r)
					if r.failure != "" {
						t.Error(r)
					}
				}
			})
		}
	})
	t.Logf("%d seeds from %d on, %d events in %v; %d steps could not be told apart", c.seeds, *firstSeed, c.events, time.Since(c.start).Round(time.Second), c.ambiguous)
	for _, k := range slices.Sorted(maps.Keys(c.kinds)) {
		t.Logf("%9d %s", c.kinds[k], k)
	}
	for _, k := range exercised {
		if c.kinds[k] == 0 && c.events > 500_000 {
			t.Errorf("nothing is known of %q: no run had it", k)
		}
	}
}

// TestReplay: a seed is all that a run depends on.
func TestReplay(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*replays; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // so that others disturb the order in which goroutines run
			a, b := simulate(t, seed, 3000, Bugs{}), simulate(t, seed, 3000, Bugs{})
			if a.hash == b.hash {
				return
			}
			for i := range a.trace {
				if i >= len(b.trace) || a.trace[i] != b.trace[i] {
					t.Errorf("they differ:\n%s\n%s", a.trace[i], b.trace[min(i, len(b.trace)-1)])
					break
				}
			}
			t.Fatalf("two runs have hashes %x and %x after %d and %d events", a.hash, b.hash, a.events, b.events)
		})
	}
}
