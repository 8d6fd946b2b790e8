package simulation

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"
)

// gate is where somebody waits for the scheduler.
type gate struct {
	name  string
	kind  string
	came  int
	burst int      // the event that led here
	owner *node    // a step of this process; nil: of a server
	sess  *session // the step of a backend
	ready func() bool
	// faults: the step may fail; gone: nobody waits for the answer of a question.
	faults  faults
	gone    bool
	release chan verdict
}

// faults says how a step can fail.
type faults int

const (
	never faults = iota
	before
	beforeOrAfter
)

// scheduler lets one step happen at a time, chosen by a seed.
type scheduler struct {
	rng *rand.Rand

	mu    sync.Mutex
	gates []*gate        // guarded by mu
	came  int            // guarded by mu
	kinds map[string]int // guarded by mu

	events    int
	ambiguous int // steps that could not be told apart
	trace     []string
	told      []string // the trace before the end
	hash      uint64
	failure   string
	faultless bool
	rarer     int // faults are so many times rarer than usual
}

func newScheduler(seed uint64) *scheduler {
	return &scheduler{rng: rand.New(rand.NewPCG(seed, 6)), kinds: map[string]int{}}
}

// park waits at a gate.
func (s *scheduler) park(g *gate) verdict {
	g.release = make(chan verdict)
	s.mu.Lock()
	g.came, g.burst = s.came, s.events
	s.came++
	s.gates = append(s.gates, g)
	s.mu.Unlock()
	return <-g.release
}

func (s *scheduler) count(kind string) {
	s.mu.Lock()
	s.kinds[kind]++
	s.mu.Unlock()
}

// fail notes the first violation.
func (s *scheduler) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
	}
}

func (s *scheduler) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure != ""
}

// chance is true once in n times.
func (s *scheduler) chance(n int) bool { return s.rng.IntN(n) == 0 }

// note adds to the trace, which is what two runs of a seed have in common.
func (s *scheduler) note(text string) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", s.hash, time.Now().UnixNano(), text)
	s.hash = h.Sum64()
	s.trace = append(s.trace, fmt.Sprintf("%8d %s %s", s.events, time.Now().UTC().Format("15:04:05.000000"), text))
	if len(s.trace) > 2000 {
		s.trace = append(s.trace[:0], s.trace[1000:]...)
	}
}

// settle waits until everybody waits.
func (s *scheduler) settle() { synctest.Wait() }

// open are the gates that may be let through, in an order that depends on nothing
// but what waits there.
func (s *scheduler) open() []*gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.gates, func(a, b *gate) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.came, b.came)) })
	var open []*gate
	for i, g := range s.gates {
		if i > 0 && s.gates[i-1].name == g.name && s.gates[i-1].burst == g.burst {
			s.ambiguous++
		}
		switch {
		case g.owner != nil && g.owner.frozen && !g.owner.dead:
		case g.sess != nil && g.sess.frozen && !g.sess.ended:
		case g.sess != nil && g.sess.ended, g.gone, g.owner != nil && g.owner.dead:
			open = append(open, g)
		case g.ready == nil || g.ready():
			open = append(open, g)
		}
	}
	return open
}

// let releases a gate.
func (s *scheduler) let(g *gate) {
	v := proceed
	switch {
	case g.gone, g.owner != nil && g.owner.dead:
		v = drop
	case s.faultless:
	case g.faults >= before && s.chance(150*s.rarer):
		v = drop
	case g.faults == beforeOrAfter && s.chance(40*s.rarer):
		v = lose
	}
	s.mu.Lock()
	s.gates = slices.DeleteFunc(s.gates, func(h *gate) bool { return h == g })
	if !g.gone {
		s.events++
		s.kinds["· "+g.kind]++
		if v == drop {
			s.kinds["request lost"]++
		}
		if v == lose {
			s.kinds["answer lost"]++
		}
	}
	s.mu.Unlock()
	s.note(g.name + [...]string{"", " — LOST", " — DONE, ANSWER LOST"}[v])
	pause := time.Duration(1+s.rng.IntN(20)) * time.Microsecond // before others may draw
	g.release <- v
	s.settle()
	// Timers that are set in different steps end at different times.
	time.Sleep(pause)
	s.settle()
}

// pass lets time pass.
func (s *scheduler) pass(d time.Duration) {
	s.note("time passes: " + d.String())
	time.Sleep(d)
	s.settle()
}
