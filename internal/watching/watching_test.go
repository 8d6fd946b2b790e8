package watching

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
)

// books is a store in memory, to see what a watcher asks of one. What a store does
// is shown on PostgreSQL.
type books struct {
	mu       sync.Mutex // guards all
	sights   map[int32]*Sight
	used     []int32
	staffNo  int64
	closed   bool
	busy     bool
	failing  map[int32]bool
	judged   []int32
	looks    int
	reported []int32
	version  int64 // of every pool
}

func (b *books) WatchState(context.Context) (int64, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.staffNo, b.closed, nil
}

func (b *books) Watched(context.Context) ([]Mark, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var marks []Mark
	for key := range b.sights {
		marks = append(marks, Mark{Pool: key, Revision: 1, Version: b.version})
	}
	return marks, nil
}

func (b *books) WatchUnwatched(context.Context) error { return nil }

func (b *books) UsedPools(context.Context, time.Duration) ([]int32, error) { return b.used, nil }

func (b *books) LookAt(_ context.Context, pools []int32) ([]Sight, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	var all []Sight
	for _, key := range pools {
		if s := b.sights[key]; s != nil {
			s.At = time.Now()
			all = append(all, *s)
		}
	}
	return all, nil
}

func (b *books) JudgeStock(_ context.Context, pool int32) (Judged, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.judged = append(b.judged, pool)
	switch s := b.sights[pool]; {
	case b.failing[pool]:
		return Judged{}, errors.New("no")
	case b.busy:
		return Judged{Busy: true}, nil
	default:
		var done Judged
		s.Watch, done.Crossed = s.Watch.Judge(s.Pool, s.Left)
		s.Samples, s.Seen = s.Samples.With(time.Now(), 100-s.Left), &[]int64{s.Left}[0]
		return done, nil
	}
}

func (b *books) Crossings(domain.CrossingKind) int64 { return 7 }

func (b *books) ReportUse(_ context.Context, _ string, pools []int32) error {
	b.reported = append(b.reported, pools...)
	return nil
}

func (b *books) ForgetUse(context.Context) error { return nil }

// add adds an active pool with so much left of 100, and its notice below 10.
func (b *books) add(key int32, id string, left int64) {
	below := int64(10)
	b.sights[key] = &Sight{
		Pool: &domain.Pool{Key: key, ID: id, State: domain.Active, Notify: true, NotifyBelow: &below}, Left: left, Seen: &[]int64{left}[0], Runs: 1,
		Watch: domain.Watch{State: domain.StockOK}, Samples: domain.Samples{{At: time.Now(), Issued: 100 - left}},
	}
}

// watch runs a watcher over books in fake time while test does what it does.
func watch(t *testing.T, test func(t *testing.T, b *books, reg *prometheus.Registry, second func() []int32)) {
	synctest.Test(t, func(t *testing.T) {
		b := &books{sights: map[int32]*Sight{}, failing: map[int32]bool{}}
		reg := prometheus.NewRegistry()
		w := New(b, func() {}, zerolog.Nop(), reg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(every / 2)
		test(t, b, reg, func() []int32 {
			time.Sleep(every)
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			judged := b.judged
			b.judged = nil
			return judged
		})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// change changes the books between two rounds.
func (b *books) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// figures are the values of a metric by its label.
func figures(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name {
				continue
			}
			label := ""
			if len(m.GetLabel()) > 0 {
				label = m.GetLabel()[0].GetValue()
			}
			all[label] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

func TestWatch(t *testing.T) {
	watch(t, func(t *testing.T, b *books, reg *prometheus.Registry, second func() []int32) {
		wants := func(what string, n int) {
			t.Helper()
			if got := second(); len(got) != n {
				t.Errorf("%s: judged %v, want %d times", what, got, n)
			}
		}
		b.change(func() { b.add(1, "one", 50); b.add(2, "two", 60) })
		for range 10 {
			second() // until it reads the list again
		}
		wants("all is well", 0)
		b.change(func() { b.sights[1].Left = 9 })
		wants("it has crossed", 1)
		wants("it was told", 0)
		b.change(func() { b.staffNo++ })
		wants("somebody may not have heard", 1)
		wants("everybody has", 0)
		b.change(func() { b.sights[1].Left = 8 })
		wants("few were issued since the last sample", 0)
		time.Sleep(domain.SampleEvery)
		second()
		wants("a sample was taken", 0)
		b.change(func() { b.sights[1].Left, b.busy = 10, true })
		wants("another has it in hand", 1)
		wants("it still has", 1)
		b.change(func() { b.busy = false })
		wants("it is ours", 1)
		b.change(func() { b.sights[1].Left, b.sights[2].Left = 0, 0; b.failing[1] = true })
		wants("both have crossed", 2)
		wants("one failed", 1)
		b.change(func() { b.failing[1] = false; b.closed = true })
		wants("the gate is closed", 0)
		b.change(func() { b.closed = false; delete(b.sights, 2) })
		wants("it is open", 1)
		b.change(func() { b.version++ })
		if got := len(second()) + len(second()) + len(second()); got != 1 {
			t.Errorf("its notice may be on by now: judged %d times", got)
		}

		if got, want := figures(t, reg, "promopool_crossings_total"), map[string]float64{"low": 7, "exhausted": 7, "replenished": 7}; !maps.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// TestWatchGauges: pools with a notice have figures of their own while they have
// one and are watched here.
func TestWatchGauges(t *testing.T) {
	watch(t, func(t *testing.T, b *books, reg *prometheus.Registry, second func() []int32) {
		shows := func(want map[string]float64, others float64) {
			t.Helper()
			for range 10 { // until it reads the list again
				second()
			}
			if got := figures(t, reg, "promopool_pool_codes_left"); !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if got := figures(t, reg, "promopool_other_pools_codes_left")[""]; got != others {
				t.Errorf("got %v of others, want %v", got, others)
			}
		}
		b.change(func() {
			b.add(1, "one", 50)
			b.add(2, "two", 60)
			b.add(3, "many", 1<<50)
			b.sights[3].Pool.MultiUse = true
		})
		shows(map[string]float64{"one": 50, "two": 60}, 0)
		b.change(func() { b.sights[1].Left = 49; b.sights[2].Pool.Notify = false })
		shows(map[string]float64{"one": 49}, 60)
		b.change(func() { delete(b.sights, 1) })
		shows(map[string]float64{}, 60)
	})
}

// TestReport: what is used is reported once a second, and nothing where nothing is.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &books{}
		ctx, stop := context.WithTimeout(t.Context(), 3*every+every/2)
		defer stop()
		batches := [][]int32{{1, 2}, nil, {3}}
		if err := Report(ctx, b, "w", func() []int32 {
			next := batches[0]
			batches = batches[1:]
			return next
		}, zerolog.Nop()); err != nil || len(b.reported) != 3 || len(batches) != 0 {
			t.Errorf("reported %v, %v", b.reported, err)
		}
	})
}
