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
	crashSeed  = flag.Uint64("crash-seed", 0, "seed of the sample of the crash matrix; 0: a new one")
	crashSeeds = flag.Int("crash-seeds", 0, "run the whole crash matrix, with so many seeds")
	crashPoint = flag.String("crash-point", "", "only points whose names contain this")
	crashFault = flag.String("crash-fault", "", "only this fault")
	crashShort = flag.Bool("crash-hits", false, "only the first hit")
)

// TestCrashMatrix makes each write of the service meet each fault at its first,
// second and a later hit, in a small world of its own, and checks everything when
// the service has gone on. In a plain run of the tests it is a sample.
func TestCrashMatrix(t *testing.T) {
	points := slices.DeleteFunc(crashpoint.All(), func(p *crashpoint.Point) bool { return !strings.Contains(p.Name, *crashPoint) })
	for _, p := range crashpoint.All() {
		if _, ok := drives[p.Name]; !ok && alone[p.Name] == nil {
			t.Errorf("nothing drives the service to %s: say how in crashdrive_test.go", p.Name)
		}
	}
	m := &matrix{rows: map[string]*row{}}
	cells := m.cells(points)
	m.total = len(cells)
	t.Cleanup(func() { m.print(t, points) })
	for _, c := range cells {
		t.Run(fmt.Sprintf("%s/%s/%d/%d", c.point, strings.ReplaceAll(c.fault, " ", "-"), c.hit, c.seed), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			hits := c.run(t)
			m.count(c, hits, t.Failed(), time.Since(began))
		})
	}
}

// cells are the runs: all, or a sample of them in which each point is once.
func (m *matrix) cells(points []*crashpoint.Point) (cells []cell) {
	if *crashSeeds == 0 {
		return nil
	}
	for seed := range uint64(*crashSeeds) {
		for _, p := range points {
			for _, f := range faults {
				for hit := 1; hit <= 3; hit++ {
					c := cell{point: p.Name, fault: f, hit: hit, seed: seed*4 + rand.Uint64N(4)}
					if hit == 3 {
						c.hit += int(c.seed % 3)
					}
					if (*crashFault == "" || *crashFault == f) && (!*crashShort || hit == 1) {
						cells = append(cells, c)
					}
				}
			}
		}
	}
	return cells
}

// run is one cell. It returns how often the point was hit.
func (c cell) run(t *testing.T) (hits int) {
	if special := alone[c.point]; special != nil {
		return special(t, c)
	}
	w := newCrashWorld(t, newWorldOn(t, kafkatest.ForTest(t), pgtest.Database(t, postgres.Migrate)), c)
	w.Populate()
	w.meet()
	w.Check()
	return w.hits
}

// meet has the service work until the fault has happened.
func (c *crashWorld) meet() {
	c.t.Helper()
	c.Start(true)
	for deadline := time.Now().Add(patience); !c.has(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: no run hits it; hits: %d", c.cell, c.hits)
		}
		c.serving()
		c.mu.Lock()
		had := c.hits
		c.mu.Unlock()
		if !c.has() {
			drives[c.point](c)
		}
		c.settle(had)
	}
}

// settle waits a little for the fault, or for a further hit.
func (c *crashWorld) settle(had int) {
	for deadline := time.Now().Add(700 * time.Millisecond); time.Now().Before(deadline) && !c.has(); time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		more := c.hits > had
		c.mu.Unlock()
		if more {
			return
		}
	}
}

// matrix counts runs.
type matrix struct {
	total int

	mu   sync.Mutex
	done int             // guarded by mu
	rows map[string]*row // guarded by mu; by point
}

type row struct{ runs, hits, violations int }

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
	if *crashSeeds > 0 {
		fmt.Fprintf(os.Stderr, "%4d/%d %s %s %.1fs\n", m.done, m.total, outcome, c, took.Seconds())
	}
}

func (m *matrix) print(t *testing.T, points []*crashpoint.Point) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var text strings.Builder
	var sum row
	fmt.Fprintf(&text, "%-28s %5s %6s %10s\n", "point", "runs", "hits", "violations")
	for _, p := range points {
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
	fmt.Fprintf(&text, "%-28s %5d %6d %10d\n", fmt.Sprintf("%d points", len(points)), sum.runs, sum.hits, sum.violations)
	t.Logf("crash points:\n%s", text.String())
}
