package issuing_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// TestModel lets owners come and go, answers get lost and staff change pools,
// in any order, and holds what was answered and what is stored against the
// invariants. More of it: go test -run TestModel -rapid.checks=1000.
func TestModel(t *testing.T) {
	t.Parallel()
	base := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, base.on(t))
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {}, "publish": m.publish, "work": m.work, "zombie": m.zombie, "takeover": m.takeover,
			"crash": m.crash, "fill": m.fill, "archive": m.archive, "edit": m.edit, "window": m.window, "fault": m.fault,
			"upload": m.upload, "gather": m.gather,
			"handNext": m.handNext, "handCode": m.handCode, "block": m.block, "unblock": m.unblock,
		})
		m.finish(t)
	})
}

type model struct {
	w      *world
	pools  []string
	store  *faulty
	people []*process
	owners map[int]*part
	past   []*part                       // owners that were taken over from and do not know it
	dates  map[[2]string]time.Time       // by pool and code: until when files said last that it may be issued
	barred map[[2]string]bool            // by pool and code: blocked
	byHand map[[2]string]domain.Issuance // by pool and request

	mu     sync.Mutex
	faults map[string]bool // by step: after its effect; guarded by mu
}

var steps = []string{"claim", "resolve", "ranges", "held", "pools", "refill", "texts", "give back", "look up", "commit", "commit locked"}

func newModel(t *rapid.T, w *world) *model {
	w.count = 2 // scarce below 800
	m := &model{w: w, store: &faulty{Store: w.store}, owners: map[int]*part{}, dates: map[[2]string]time.Time{},
		barred: map[[2]string]bool{}, byHand: map[[2]string]domain.Issuance{}, faults: map[string]bool{}}
	for k, size := range []int{rapid.IntRange(0, 30).Draw(t, "small"), 1000, 2} {
		id := fmt.Sprintf("%s-%d", w.stream, k)
		m.pools = append(m.pools, id)
		if k == 2 {
			w.Pool(id, size, multiUse)
		} else {
			w.Pool(id, size)
		}
	}
	m.store.fault = func(step string, effect func() error) error {
		m.mu.Lock()
		after, lost := m.faults[step]
		delete(m.faults, step)
		m.mu.Unlock()
		if !lost {
			return effect()
		}
		if after {
			if err := effect(); err != nil {
				return err
			}
		}
		return errLost
	}
	for k := range 2 {
		m.people = append(m.people, w.Issuer(fmt.Sprintf("%s-%d", w.stream, k), m.store))
	}
	return m
}

func (m *model) publish(t *rapid.T) {
	n := rapid.IntRange(0, 1).Draw(t, "partition")
	pools := append(m.pools, "none-"+m.w.stream)
	id := rapid.SampledFrom(pools).Draw(t, "pool")
	first, size := rapid.IntRange(0, 400).Draw(t, "first"), rapid.SampledFrom([]int{1, 5, 150}).Draw(t, "size")
	for k := range size {
		r := ask(id, fmt.Sprint("r", first+k))
		if k%50 == 49 {
			r.CustomerID = "someone else"
		}
		m.w.Publish(n, r)
	}
}

func (m *model) fault(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[rapid.SampledFrom(steps).Draw(t, "step")] = rapid.Bool().Draw(t, "after")
}

// owner opens the partition when nobody has it; nil when that was lost.
func (m *model) owner(t *rapid.T, n int) *part {
	if p := m.owners[n]; p != nil {
		return p
	}
	at := rapid.Int64Range(0, m.w.end(n)).Draw(t, "position")
	for m.answered(n) < at { // the group's offset is never ahead of the answers
		at = m.answered(n)
	}
	i := rapid.SampledFrom(m.people).Draw(t, "process")
	opened, err := i.Issuer.Open(t.Context(), m.w.stream, n, m.w.count, at)
	if err != nil {
		if !errors.Is(err, issuing.ErrUnknown) {
			t.Fatalf("open: %v", err)
		}
		return nil
	}
	m.owners[n] = &part{opened, m.w, n, at}
	return m.owners[n]
}

// answered is up to where all deliveries are.
func (m *model) answered(n int) int64 {
	var at int64
	for ; ; at++ {
		if _, ok := m.w.answers[n][at]; !ok {
			return at
		}
	}
}

func (m *model) work(t *rapid.T) {
	n := rapid.IntRange(0, 1).Draw(t, "partition")
	p := m.owner(t, n)
	if p == nil {
		return
	}
	p.w = m.w
	isNew, first := p.NextOffset() <= p.at, p.at
	err := p.Step(rapid.SampledFrom([]int64{1, 40, 1000}).Draw(t, "size"))
	if err == nil {
		if isNew {
			m.sayTrue(t, n, first, p.at)
		}
		return
	}
	if !errors.Is(err, issuing.ErrUnknown) {
		t.Fatalf("work: %v", err)
	}
	if err := p.Resolve(t.Context(), p.at); err != nil {
		p.Close()
		delete(m.owners, n)
		if !errors.Is(err, issuing.ErrUnknown) {
			t.Fatalf("resolve: %v", err)
		}
	}
}

// sayTrue checks issues, and rejections for want of codes, just after they were
// decided.
func (m *model) sayTrue(t *rapid.T, n int, first, end int64) {
	exhausted := false
	for at := first; at < end; at++ {
		switch o := m.w.answers[n][at]; {
		case o.Verdict == domain.Issued:
			m.fresh(t, o.Issue)
		case name(o) == "pool_exhausted" && !exhausted:
			exhausted = true
			m.wantExhausted(t, o.Request.PoolID)
		}
	}
}

// zombie lets an owner of the past go on: what it decides must not come true.
func (m *model) zombie(t *rapid.T) {
	if len(m.past) == 0 {
		t.Skip("none")
	}
	p := rapid.SampledFrom(m.past).Draw(t, "zombie")
	const written = "SELECT (SELECT count(*) FROM issuances) + (SELECT count(*) FROM batches)"
	before := m.w.Int(written)
	err := p.Step(40) // may repeat what its successor decided
	if err != nil && !errors.Is(err, issuing.ErrFenced) && !errors.Is(err, issuing.ErrUnknown) {
		t.Fatalf("zombie: %v", err)
	}
	if after := m.w.Int(written); after != before {
		t.Fatalf("a zombie made %d decisions", after-before)
	}
	if err := p.Resolve(t.Context(), p.at); err == nil || !errors.Is(err, issuing.ErrFenced) && !errors.Is(err, issuing.ErrUnknown) {
		t.Fatalf("a zombie resolved: %v", err)
	}
}

func (m *model) takeover(t *rapid.T) {
	n := rapid.IntRange(0, 1).Draw(t, "partition")
	old := m.owners[n]
	if old == nil {
		t.Skip("nobody has it")
	}
	delete(m.owners, n)
	if m.owner(t, n) == nil {
		old.Close() // may or may not have been taken over
		return
	}
	m.past = append(m.past, old)
}

func (m *model) crash(t *rapid.T) {
	n := rapid.IntRange(0, 1).Draw(t, "partition")
	if p := m.owners[n]; p != nil {
		p.Close()
		delete(m.owners, n)
	}
}

func (m *model) fill(t *rapid.T) {
	id := rapid.SampledFrom(m.pools).Draw(t, "pool")
	if m.state(id) == domain.Archived {
		t.Skip("archived")
	}
	m.w.Fill(id, rapid.SampledFrom([]int{1, 20, 900}).Draw(t, "codes"))
}

func (m *model) state(id string) domain.State {
	p, err := m.w.store.Pool(m.w.ctx(), id)
	if err != nil {
		m.w.Fatal(err)
	}
	return p.State
}

func (m *model) archive(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") == 0 {
		m.w.Archive(rapid.SampledFrom(m.pools).Draw(t, "pool"))
	}
}

func (m *model) edit(t *rapid.T) {
	id := rapid.SampledFrom(m.pools).Draw(t, "pool")
	days := rapid.IntRange(1, 3).Draw(t, "days")
	_, err := m.w.store.UpdatePool(t.Context(), "test", id, 0, func(p domain.Pool) (domain.Pool, error) {
		p.Validity = domain.Period{Days: days}
		return p, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// window sets or takes away the pool's own issue window.
func (m *model) window(t *rapid.T) {
	id := rapid.SampledFrom(m.pools).Draw(t, "pool")
	hours := rapid.SampledFrom([][2]time.Duration{{}, {}, {-1, 1}, {1, 2}, {-2, -1}}).Draw(t, "window")
	_, err := m.w.store.UpdatePool(t.Context(), "test", id, 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueStart, p.IssueEnd = time.Time{}, time.Time{}
		if now := time.Now().UTC().Truncate(time.Microsecond); hours[1] != 0 {
			p.IssueStart, p.IssueEnd = now.Add(hours[0]*time.Hour), now.Add(hours[1]*time.Hour)
		}
		return p, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// finish answers everything, once more from the beginning, and checks it.
func (m *model) finish(t *rapid.T) {
	m.mu.Lock()
	m.faults = map[string]bool{}
	m.mu.Unlock()
	for _, p := range m.owners {
		p.Close()
	}
	for _, p := range m.past {
		p.Close()
	}
	for n := range m.w.logs {
		p := m.people[0].Open(n, 0)
		if err := p.Work(1000); err != nil {
			t.Fatalf("partition %d: %v", n, err)
		}
		p.Close()
	}
	m.w.Check()
	m.checkDates(t)
	m.checkByHand(t)
}
