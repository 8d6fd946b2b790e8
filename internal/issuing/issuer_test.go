package issuing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

func TestIssueRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("big", 6_000)
	w.Pool("small", 5)
	w.Pool("many", 3, multiUse)
	other := ask("big", "a")
	other.CustomerID = "someone else"
	w.Publish(0, ask("big", "a"), ask("small", "a"), ask("many", "a"), ask("big", "a"), other)
	w.Publish(0, asks("many", "m", 10)...)
	w.Publish(1, ask("big", "a"), other, ask("small", "a"), ask("none", "a"))
	one := w.Issuer("one", nil)
	one.Open(0, 0).Want(map[string]int{"issued": 14, "request_conflict": 1})
	one.Open(1, 0).Want(map[string]int{"issued": 2, "request_conflict": 1, "pool_not_found": 1})
	// All of it once more, from the beginning, by another.
	two := w.Issuer("two", nil)
	two.Open(0, 0).Want(map[string]int{"issued": 14, "request_conflict": 1})
	two.Open(1, 0).Want(map[string]int{"issued": 2, "request_conflict": 1, "pool_not_found": 1})
	w.Check()
}

// A merged transaction takes no lock for pools that one of its partitions has
// never heard of.
func TestMergeTakesNoLocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := &faulty{Store: w.store}
	i := w.Issuer("one", store)
	gate, parts := gateCommits(store), []*part{}
	for n := range 6 {
		id := fmt.Sprintf("pool-%d", n)
		w.Pool(id, 6_000)
		w.Publish(n, asks(id, "r", 20)...)
		parts = append(parts, i.Open(n, 0))
	}
	all(parts, func(p *part) { p.Want(map[string]int{"issued": 20}) }, gate)
	if merged := i.Metric("promopool_transaction_batches", ""); merged != 6 {
		t.Errorf("got %v batches committed, want 6", merged)
	}
	if n := store.Calls("commit"); n >= 6 {
		t.Errorf("got %d commits, want some to be merged", n)
	}
	if n := store.Calls("commit locked"); n > 0 {
		t.Errorf("got %d transactions with locks, want none", n)
	}
	w.Check()
}

// A scarce pool in a batch must not cost the ample ones beside it their
// buffers.
func TestMixedKeepsBuffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("scarce", 50)
	w.Pool("ample", 6_000)
	i := w.Issuer("one", nil)
	p := i.Open(0, 0)
	for k := range 5 {
		w.Publish(0, ask("scarce", fmt.Sprint("r", k)))
		w.Publish(0, asks("ample", fmt.Sprint("r", k), 5)...)
		p.Want(map[string]int{"issued": 6})
	}
	if n := i.Metric("promopool_refills_total", ""); n != 1 {
		t.Errorf("got %v refills, want 1", n)
	}
	if held := w.Held("ample"); held == 0 {
		t.Error("got no codes held of the ample pool")
	}
	w.Check()
}

// gateCommits lets every commit wait until the gate is opened.
func gateCommits(store *faulty) (open func()) {
	gate := make(chan struct{})
	store.fault = func(step string, effect func() error) error {
		if strings.HasPrefix(step, "commit") {
			<-gate
		}
		return effect()
	}
	return sync.OnceFunc(func() { close(gate) })
}

// all runs do on every partition at once, and then soon opens the gate.
func all(parts []*part, do func(*part), open func()) {
	var running sync.WaitGroup
	for _, p := range parts {
		running.Go(func() { do(p) })
	}
	time.AfterFunc(100*time.Millisecond, open)
	running.Wait()
}

// The process may open a partition anew while a worker of its last generation
// still clings to it.
func TestResolveAgainstOneself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 5)
	i := w.Issuer("one", nil)
	w.Publish(0, asks("p", "r", 2)...)
	old := i.Open(0, 0)
	now := i.Open(0, 0)
	if err := old.Resolve(t.Context(), 0); !errors.Is(err, issuing.ErrFenced) {
		t.Errorf("old worker: got %v, want fenced", err)
	}
	if err := now.Step(1); err != nil {
		t.Errorf("new worker: got %v", err)
	}
	if err := old.Step(1); !errors.Is(err, issuing.ErrFenced) {
		t.Errorf("old worker: got %v, want fenced", err)
	}
	now.Want(map[string]int{"issued": 1})
	w.Check()
}

// An answer to Resolve that was lost does not lose the partition.
func TestResolveLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 5)
	lost := 2
	store := &faulty{Store: w.store}
	store.fault = func(step string, effect func() error) error {
		err := effect()
		if step == "resolve" && lost > 0 {
			lost--
			return errLost
		}
		return err
	}
	w.Publish(0, asks("p", "r", 2)...)
	p := w.Issuer("one", store).Open(0, 0)
	for range 2 {
		if err := p.Resolve(t.Context(), 0); !errors.Is(err, issuing.ErrUnknown) {
			t.Fatalf("got %v, want unknown", err)
		}
	}
	if err := p.Resolve(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	p.Want(map[string]int{"issued": 2})
	w.Check()
}

// A window that opens between the look-up and the refill must not make a
// partition take everything.
func TestRefillAtOpening(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 0)
	w.Fill("p", 12_000, time.Now().Add(time.Hour))
	store := &faulty{Store: w.store}
	var opening sync.Once // later refills may outlive the test
	store.fault = func(step string, effect func() error) error {
		if step == "refill" {
			opening.Do(func() {
				w.Exec("WITH o AS (UPDATE lots SET issue_start = clock_timestamp() WHERE issue_start > clock_timestamp() RETURNING pool, lot, issue_start) UPDATE runs r SET issue_start = o.issue_start FROM o WHERE r.pool = o.pool AND r.lot = o.lot")
			})
		}
		return effect()
	}
	w.Publish(0, asks("p", "r", 10)...)
	p := w.Issuer("one", store).Open(0, 0)
	p.Want(map[string]int{"issued": 10})
	if n := store.Calls("refill"); n > 3 {
		t.Errorf("got %d refills, want a few", n)
	}
	if held := w.Held("p"); held > 1500 {
		t.Errorf("got %d codes held, want no more than a share", held)
	}
	w.Check()
}

// Expired codes at hand do not keep a partition from taking ahead.
func TestTopUpPastExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 12_000)
	w.Fill("p", 12_000, nil, time.Now().Add(time.Hour))
	w.Exec("UPDATE lots SET issue_end = clock_timestamp() + interval '1 s' WHERE issue_end IS NOT NULL")
	w.Exec("UPDATE runs r SET issue_end = l.issue_end FROM lots l WHERE l.pool = r.pool AND l.lot = r.lot AND l.issue_end IS NOT NULL")
	ends := time.Now().Add(time.Second)
	p := w.Issuer("one", nil).Open(0, 0)
	w.Publish(0, asks("p", "a", 700)...)
	p.Want(map[string]int{"issued": 700})
	p.settle()
	time.Sleep(time.Until(ends.Add(10 * time.Millisecond)))
	w.Publish(0, asks("p", "b", 10)...)
	p.Want(map[string]int{"issued": 10})
	p.settle()
	held := func() int64 {
		return w.Int("SELECT sum(hi - next)::bigint FROM runs WHERE partition IS NOT NULL AND issue_end = 'infinity'")
	}
	had := held()
	w.Publish(0, asks("p", "c", int(had)*3/4)...)
	p.Want(map[string]int{"issued": int(had) * 3 / 4})
	p.settle()
	if now := held(); now <= had/2 {
		t.Errorf("got %d codes held after %d, want more taken ahead", now, had)
	}
	w.Check()
}

// settle gives refills on their way the time to arrive.
func (p *part) settle() { time.Sleep(100 * time.Millisecond) }

// What a request's data broke once it breaks again on replay.
func TestPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 5000)
	w.Pool("scarce", 50)
	for _, poison := range []domain.Request{
		{PoolID: "p", RequestID: "nul\x00", CustomerID: "c"},
		{PoolID: "p", RequestID: "x", CustomerID: "\xff"},
		{PoolID: "scarce", RequestID: strings.Repeat("l", 201), CustomerID: "c"},
		{PoolID: "p", RequestID: "y", CustomerID: "c", Context: make([]byte, 5000)},
		{PoolID: "nul\x00", RequestID: "z", CustomerID: "c"},
	} {
		at := len(w.logs[0])
		w.Publish(0, asks("p", fmt.Sprint("a", at), 5)...)
		w.Publish(0, poison)
		w.Publish(0, asks("scarce", fmt.Sprint("b", at), 4)...)
	}
	want := map[string]int{"issued": 45, "poison": 5}
	w.Issuer("one", nil).Open(0, 0).Want(want)
	w.Issuer("two", nil).Open(0, 0).Want(want)
	w.Check()
}

func TestLogChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 2)
	w.Publish(0, asks("p", "r", 4)...)
	w.Issuer("one", nil).Open(0, 0).Want(map[string]int{"issued": 2, "pool_exhausted": 2})
	for name, change := range map[string]func(log []domain.Request){
		"Issued":    func(log []domain.Request) { log[0].RequestID = "other" },
		"Customer":  func(log []domain.Request) { log[1].CustomerID = "other" },
		"Pool":      func(log []domain.Request) { log[1].PoolID = "other" },
		"Rejected":  func(log []domain.Request) { log[2].Context = []byte("{}") },
		"Exchanged": func(log []domain.Request) { log[1], log[2] = log[2], log[1]; log[1].Offset, log[2].Offset = 1, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			changed := w.on(t)
			changed.stream = w.stream
			changed.Publish(0, w.logs[0]...)
			change(changed.logs[0])
			err := changed.Issuer("two", nil).Open(0, 0).Work(10)
			if !errors.Is(err, domain.ErrLogChanged) {
				t.Errorf("got %v, want the log to have changed", err)
			}
		})
	}
}

// More known ranges than are read at once, and the border behind the last.
func TestManyRanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 3000)
	p := w.Issuer("one", nil).Open(0, 0)
	const batches = 1003
	for k := range batches {
		w.Publish(0, ask("p", fmt.Sprint("r", k)))
	}
	// One real batch, and the rest written as such, for speed.
	if err := p.Step(1); err != nil {
		t.Fatal(err)
	}
	w.Exec(`WITH taken AS (UPDATE runs SET next = next + $1 WHERE partition IS NOT NULL OR next > lo RETURNING pool, lot, next - $1 AS first)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, lot, first + k - 1, clock_timestamp(), clock_timestamp(), 'r' || k, 'c-r' || k FROM taken, generate_series(1, $1) k`, batches-1)
	w.Exec(`INSERT INTO batches (partition, first_offset, end_offset, decided_at)
		SELECT partition, k, k + 1, clock_timestamp() FROM partitions, generate_series(1, $1) k`, batches-1)
	w.Exec("UPDATE partitions SET next_offset = $1, batch_no = $1", batches)
	w.Publish(0, ask("p", "new"))
	store := &faulty{Store: w.store}
	w.Issuer("two", store).Open(0, 0).Want(map[string]int{"issued": batches + 1})
	if n := store.Calls("ranges"); n != 3 {
		t.Errorf("got %d reads of ranges, want 3", n)
	}
	w.Issuer("three", nil).Open(0, batches-1).Want(map[string]int{"issued": 2})
	w.Check()
}

// A batch never reaches into a range that is known, nor does a known range
// hide what is new behind it.
func TestRangeBorders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 100)
	w.Publish(0, asks("p", "r", 30)...)
	one := w.Issuer("one", nil)
	// An operator's skip: 10–19 are decided first.
	p := one.Open(0, 10)
	if err := p.Step(10); err != nil {
		t.Fatal(err)
	}
	p = one.Open(0, 0)
	if err := p.Step(30); err != nil || p.at != 10 {
		t.Fatalf("got %v, up to %d, want up to 10", err, p.at)
	}
	if err := p.Step(30); err != nil || p.at != 20 {
		t.Fatalf("got %v, up to %d, want up to 20", err, p.at)
	}
	if err := p.Step(30); err != nil || p.at != 30 {
		t.Fatalf("got %v, up to %d, want up to 30", err, p.at)
	}
	w.Issuer("two", nil).Open(0, 0).Want(map[string]int{"issued": 30})
	w.Check()
}

// A log that was cut sends the consumer back to offsets that this very
// partition has decided.
func TestPositionGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 2)
	w.Publish(0, asks("p", "r", 4)...)
	p := w.Issuer("one", nil).Open(0, 0)
	p.Want(map[string]int{"issued": 2, "pool_exhausted": 2})
	w.Fill("p", 10)
	p.at = 0
	p.Want(map[string]int{"issued": 2, "pool_exhausted": 2})
	w.Check()
}

// A partition that another took over fails alone; those merged with it go on.
func TestMergedWithFenced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 6_000)
	store := &faulty{Store: w.store}
	open := gateCommits(store)
	i := w.Issuer("one", store)
	parts := []*part{}
	for n := range 8 {
		w.Publish(n, asks("p", fmt.Sprint("r", n), 10)...)
		parts = append(parts, i.Open(n, 0))
	}
	taken := w.Issuer("two", nil).Open(3, 0)
	errs := make([]error, len(parts))
	all(parts, func(p *part) { errs[p.n] = p.Work(100) }, open)
	for n, err := range errs {
		if fenced := errors.Is(err, issuing.ErrFenced); fenced != (n == 3) || !fenced && err != nil {
			t.Errorf("partition %d: got %v", n, err)
		}
	}
	taken.Want(map[string]int{"issued": 10})
	w.Check()
}

// Codes that the database says are issued, though they are in hand: once is an
// alarm, twice is the end.
func TestPlaceTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 6_000)
	w.Publish(0, asks("p", "r", 1)...)
	p := w.Issuer("one", nil).Open(0, 0)
	p.Want(map[string]int{"issued": 1})
	w.Exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, lot, next, clock_timestamp(), clock_timestamp(), 'thief', 'thief' FROM runs WHERE partition IS NOT NULL`)
	w.Publish(0, asks("p", "s", 1)...)
	if err := p.Work(10); !errors.Is(err, issuing.ErrCorrupt) {
		t.Errorf("got %v, want corrupt", err)
	}
	// Repaired, it goes on.
	w.Exec("DELETE FROM issuances WHERE request_id = 'thief'")
	p = w.Issuer("one", nil).Open(0, p.at)
	p.Want(map[string]int{"issued": 1})
	w.Check()
}

// The crash table: a step that fails before or after its effect, once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, step := range []string{"claim", "resolve", "ranges", "held", "pools", "refill", "texts", "look up", "commit", "commit locked"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", strings.ReplaceAll(step, " ", "_"), after), func(t *testing.T) {
				t.Parallel()
				w := w.on(t)
				big, small := w.stream+"-big", w.stream+"-small"
				w.Pool(big, 6_000)
				w.Pool(small, 12)
				store := &faulty{Store: w.store}
				left := 1
				store.fault = func(s string, effect func() error) error {
					if s != step || left == 0 {
						return effect()
					}
					left--
					if after {
						if err := effect(); err != nil {
							return err
						}
					}
					return errLost
				}
				w.Publish(0, asks(big, "a", 10)...)
				w.Publish(0, asks(small, "a", 10)...)
				i := w.Issuer("one", store)
				opened, err := i.Issuer.Open(t.Context(), w.stream, 0, w.count, 0)
				if err != nil {
					opened, err = i.Issuer.Open(t.Context(), w.stream, 0, w.count, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
				p := &part{opened, w, 0, 0}
				if step == "resolve" {
					if err := p.Resolve(t.Context(), 0); !errors.Is(err, issuing.ErrUnknown) {
						t.Fatalf("got %v, want unknown", err)
					}
					if err := p.Resolve(t.Context(), 0); err != nil {
						t.Fatal(err)
					}
				}
				p.Want(map[string]int{"issued": 20})
				w.Publish(0, asks(small, "b", 10)...)
				w.Publish(0, asks(big, "b", 300)...)
				p.Want(map[string]int{"issued": 302, "pool_exhausted": 8})
				w.Publish(0, asks(big, "c", 10)...)
				p.Want(map[string]int{"issued": 10})
				p.Close()
				w.Issuer("two", nil).Open(0, 0).Want(map[string]int{"issued": 332, "pool_exhausted": 8})
				if left != 0 {
					t.Errorf("the step was not taken")
				}
				w.Check()
			})
		}
	}
}

// The account of texts goes up and down with what is at hand.
func TestBufferedBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 12_000)
	store := &faulty{Store: w.store}
	i := w.Issuer("one", store)
	w.Publish(0, asks("p", "r", 600)...)
	p := i.Open(0, 0)
	p.Want(map[string]int{"issued": 600})
	p.Close()
	if left := i.Metric("promopool_buffered_bytes", ""); left != 0 {
		t.Errorf("got %v bytes after Close, want 0", left)
	}
	store.fault = func(step string, effect func() error) error {
		if step == "ranges" {
			return errLost
		}
		return effect()
	}
	if _, err := i.Issuer.Open(context.Background(), w.stream, 0, w.count, 0); err == nil {
		t.Fatal("opened")
	}
	if left := i.Metric("promopool_buffered_bytes", ""); left != 0 {
		t.Errorf("got %v bytes after an Open that failed, want 0", left)
	}
}
