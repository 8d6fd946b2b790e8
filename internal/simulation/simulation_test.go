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
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "the first seed, or with -events 0 the only one; 0: 1")
	eventsFlag = flag.Int("events", 150_000, "events of the campaign")
	length     = flag.Int("run", 4000, "events of one run")
	duration   = flag.Duration("duration", 0, "how long a campaign goes on, beside its events")
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
	for _, line := range r.trace[max(0, len(r.trace)-60):] {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "replay: make simulate SEED=%d EVENTS=1", r.seed)
	return b.String()
}

// TestSimulation is a campaign.
func TestSimulation(t *testing.T) {
	start := time.Now()
	kinds := map[string]int{}
	events, ambiguous := 0, 0
	for seed := max(*seedFlag, 1); events < *eventsFlag || time.Since(start) < *duration; seed++ {
		r := simulate(t, seed, *length, Bugs{})
		if r.failure != "" {
			t.Fatal(r)
		}
		events += r.events
		ambiguous += r.ambiguous
		for k, n := range r.kinds {
			kinds[k] += n
		}
	}
	t.Logf("%d events in %v, %d steps could not be told apart", events, time.Since(start).Round(time.Millisecond), ambiguous)
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%8d %s", kinds[k], k)
	}
}

// TestReplay: a seed is all that a run depends on.
func TestReplay(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, b := simulate(t, seed, 3000, Bugs{}), simulate(t, seed, 3000, Bugs{})
		if a.hash != b.hash {
			for i := range a.trace {
				if i >= len(b.trace) || a.trace[i] != b.trace[i] {
					t.Errorf("seed %d differs:\n%s\n%s", seed, a.trace[i], b.trace[min(i, len(b.trace)-1)])
					break
				}
			}
			t.Fatalf("seed %d: two runs have hashes %x and %x after %d and %d events", seed, a.hash, b.hash, a.events, b.events)
		}
	}
}
