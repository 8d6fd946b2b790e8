package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"promopool/internal/crashpoint"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

var (
	crashSeed  = flag.Uint64("crash-seed", 0, "run a sample of the crash matrix, with this seed")
	crashSeeds = flag.Int("crash-seeds", 0, "run the whole crash matrix, with so many seeds")
	crashPoint = flag.String("crash-point", "", "only points whose names contain this")
	crashFault = flag.String("crash-fault", "", "only this fault")
	crashFirst = flag.Bool("crash-first", false, "only the first hit")
)

// TestCrashMatrix makes each write of the service meet each fault at its first,
// second and a later hit, in a small world of its own, and checks everything when
// the service has gone on.
func TestCrashMatrix(t *testing.T) {
	if *crashSeeds == 0 {
		t.Skip("make crash-matrix runs it; TestCrashSample is a sample")
	}
	m := newMatrix(t)
	var cells []cell
	for seed := range uint64(*crashSeeds) {
		for _, p := range m.points {
			for _, f := range faults {
				for _, hit := range []int{1, 2, 3 + rand.IntN(3)} {
					if (*crashFault == "" || *crashFault == f) && (!*crashFirst || hit == 1) {
						cells = append(cells, cell{point: p.Name, fault: f, hit: hit, seed: seed*4 + rand.Uint64N(4)})
					}
				}
			}
		}
	}
	m.total = len(cells)
	for _, c := range cells {
		t.Run(fmt.Sprintf("%s/%s/%d/%d", c.point, strings.ReplaceAll(c.fault, " ", "-"), c.hit, c.seed), func(t *testing.T) {
			t.Parallel()
			m.run(t, c)
		})
	}
}

// TestCrashSample has each point meet one of the faults, many of them in one world
// after the other.
func TestCrashSample(t *testing.T) {
	if *crashSeed == 0 {
		t.Skip("make crash-sample runs it")
	}
	rng := rand.New(rand.NewPCG(*crashSeed, 0))
	m := newMatrix(t)
	var worlds [4][]cell
	for i, at := range rng.Perm(len(m.points)) {
		c := cell{point: m.points[at].Name, fault: faults[rng.IntN(len(faults))], hit: 1 + rng.IntN(2), seed: rng.Uint64N(4)}
		if c.fault == hangs && rng.IntN(4) > 0 { // they take long
			c.fault = unsaid
		}
		if alone[c.point] != nil || c.point == "starting.topics" { // which takes a topic away
			t.Run(c.String(), func(t *testing.T) { t.Parallel(); m.run(t, c) })
			continue
		}
		worlds[i%len(worlds)] = append(worlds[i%len(worlds)], c)
	}
	for i, cells := range worlds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			m.run(t, cells...)
		})
	}
}

// run has the faults of cells happen in one world.
func (m *matrix) run(t *testing.T, cells ...cell) {
	began := time.Now()
	met := map[string]int{}
	defer func() {
		for _, c := range cells {
			m.count(c, met[c.point], t.Failed(), time.Since(began))
		}
		if t.Failed() {
			t.Logf("in this world: %v", cells)
		}
	}()
	if special := alone[cells[0].point]; special != nil {
		met[cells[0].point] = special(t, cells[0])
		return
	}
	c := newCrashWorld(t, newWorldOn(t, kafkatest.ForTest(t), pgtest.Database(t, postgres.Migrate)), cells...)
	c.Populate()
	c.Start()
	for _, c.cell = range cells {
		c.meet()
		met[c.point] = c.hitsOf(c.cell)
		if len(cells) > 1 {
			c.clear()
		}
	}
	c.Check()
}

// meet has the service work until the fault has happened.
func (c *crashWorld) meet() {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !c.has(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: no run hits it; hits: %d", c.cell, c.hitsOf(c.cell))
		}
		c.serving()
		had := c.hitsOf(c.cell)
		if !c.has() {
			drives[c.point](c)
		}
		for deadline := time.Now().Add(700 * time.Millisecond); time.Now().Before(deadline) && !c.has() && c.hitsOf(c.cell) == had; {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// clear ends a process that hangs, so that the next fault meets one that works.
func (c *crashWorld) clear() {
	c.healed.Wait()
	if c.fault != hangs {
		return
	}
	c.issue() // by the other
	c.mu.Lock()
	nodes := slices.Clone(c.nodes)
	c.mu.Unlock()
	for _, n := range nodes[:len(nodes)-1] {
		c.stop(n)
	}
}

// matrix counts runs.
type matrix struct {
	points []*crashpoint.Point
	total  int

	mu   sync.Mutex
	done int             // guarded by mu
	rows map[string]*row // guarded by mu; by point
}

type row struct{ runs, hits, violations int }

func newMatrix(t *testing.T) *matrix {
	m := &matrix{rows: map[string]*row{}}
	for _, p := range crashpoint.All() {
		if _, ok := drives[p.Name]; !ok && alone[p.Name] == nil {
			t.Errorf("nothing drives the service to %s: say how in crashdrive_test.go", p.Name)
		}
		if strings.Contains(p.Name, *crashPoint) {
			m.points = append(m.points, p)
		}
	}
	t.Cleanup(func() { m.print(t) })
	return m
}

func (m *matrix) count(c cell, hits int, failed bool, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	r := m.rows[c.point]
	if r == nil {
		r = &row{}
		m.rows[c.point] = r
	}
	r.runs++
	r.hits += hits
	outcome := "holds"
	if failed {
		r.violations++
		outcome = "FAILS"
	}
	if m.total > 0 {
		fmt.Fprintf(os.Stderr, "%4d/%d %s %s %.1fs\n", m.done, m.total, outcome, c, took.Seconds())
	}
}

func (m *matrix) print(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var text strings.Builder
	var sum row
	fmt.Fprintf(&text, "%-28s %5s %6s %10s\n", "point", "runs", "hits", "violations")
	for _, p := range m.points {
		r := m.rows[p.Name]
		if r == nil {
			r = &row{}
		}
		if r.hits == 0 {
			t.Errorf("no run hits %s", p.Name)
		}
		fmt.Fprintf(&text, "%-28s %5d %6d %10d\n", p.Name, r.runs, r.hits, r.violations)
		sum.runs, sum.hits, sum.violations = sum.runs+r.runs, sum.hits+r.hits, sum.violations+r.violations
	}
	fmt.Fprintf(&text, "%-28s %5d %6d %10d\n", fmt.Sprintf("%d points", len(m.points)), sum.runs, sum.hits, sum.violations)
	if m.total > 0 {
		fmt.Fprint(os.Stderr, text.String())
		return
	}
	t.Logf("crash points:\n%s", text.String())
}
