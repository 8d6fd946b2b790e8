package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres"
)

// partition is a claim in a test's hands.
type partition struct {
	*desk
	issuing.Claim
	at int64
}

func (d *desk) Claim(number int, worker string) *partition {
	d.t.Helper()
	c, err := d.Store.Claim(d.ctx, "stream", number, worker, 12)
	if err != nil {
		d.t.Fatal(err)
	}
	return &partition{d, c, c.NextOffset}
}

// Refill takes codes ahead, with their texts.
func (p *partition) Refill(id string, want int64) []*domain.Run {
	p.t.Helper()
	pool, err := p.Pool(p.ctx, id)
	if err != nil {
		p.t.Fatal(err)
	}
	st, err := p.Store.Refill(p.ctx, p.Partition, &pool, want)
	if err != nil {
		p.t.Fatal(err)
	}
	texts, err := p.Texts(p.ctx, st.Runs)
	if err != nil {
		p.t.Fatal(err)
	}
	for i, r := range st.Runs {
		r.Texts = texts[i]
	}
	return st.Runs
}

func left(runs []*domain.Run) (n int64) {
	for _, r := range runs {
		n += r.Left()
	}
	return n
}

// requests are for ids in one pool.
func (p *partition) requests(id string, ids ...string) []domain.Request {
	list := make([]domain.Request, len(ids))
	for i, r := range ids {
		list[i] = domain.Request{Offset: p.at + int64(i), PoolID: id, RequestID: r, CustomerID: "c"}
	}
	return list
}

// plan decides on requests from runs in hand; the decision is not committed.
func (p *partition) plan(id string, runs []*domain.Run, ids ...string) ([]issuing.Entry, *domain.Plan) {
	p.t.Helper()
	pool, err := p.Pool(p.ctx, id)
	if err != nil {
		p.t.Fatal(err)
	}
	_, now, err := p.LookUp(p.ctx, nil, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	plan := domain.Assign(now, []domain.Batch{{Requests: p.requests(id, ids...), Shelves: map[string]*domain.Shelf{id: {Pool: &pool, Runs: runs}}}}, nil)
	if !plan.Whole() {
		p.t.Fatalf("not enough in hand for %d requests", len(ids))
	}
	claim := p.Claim
	return []issuing.Entry{{Claim: &claim, First: p.at, End: p.at + int64(len(ids))}}, &plan
}

// Issue decides and commits from runs in hand.
func (p *partition) Issue(id string, runs []*domain.Run, ids ...string) error {
	p.t.Helper()
	entries, plan := p.plan(id, runs, ids...)
	err := p.Commit(p.ctx, entries, plan)
	if err == nil {
		for _, t := range plan.Takes {
			t.Run.Next += t.N
			t.Run.Texts = t.Run.Texts[t.N:]
		}
		p.BatchNo++
		p.at += int64(len(ids))
	}
	return err
}

// locked decides requests for one pool under its lock.
func (p *partition) locked(id string, pause func(), ids ...string) ([]domain.Outcome, error) {
	requests := p.requests(id, ids...)
	l := issuing.Locking{Claims: []*issuing.Claim{&p.Claim}, Whole: []string{id}, Requests: map[string][]string{id: ids}}
	var plan domain.Plan
	err := p.CommitLocked(p.ctx, l, func(in issuing.Locked) issuing.Decision {
		if pause != nil {
			pause()
		}
		plan = domain.Assign(in.Now, []domain.Batch{{Requests: requests, Shelves: in.Shelves}}, in.Known)
		if !plan.Whole() {
			return issuing.Decision{HandBack: plan.Short}
		}
		e := issuing.Entry{Claim: &p.Claim, First: p.at, End: p.at + int64(len(ids))}
		for _, o := range plan.Outcomes[0] {
			if o.Verdict == domain.Rejected {
				e.Rejections = append(e.Rejections, domain.Rejection{Offset: o.Request.Offset, Hash: o.Request.Hash(), Reason: o.Reason})
			}
		}
		return issuing.Decision{Plan: &plan, Entries: []issuing.Entry{e}}
	})
	if err != nil {
		return nil, err
	}
	p.BatchNo++
	p.at += int64(len(ids))
	return plan.Outcomes[0], nil
}

// Sound fails on whatever contradicts an invariant.
func (d *desk) Sound() {
	d.t.Helper()
	for _, b := range d.broken() {
		d.t.Error(b)
	}
}

// broken is what contradicts an invariant.
func (d *desk) broken() []string {
	d.t.Helper()
	query, err := os.ReadFile("testdata/broken.sql")
	if err != nil {
		d.t.Fatal(err)
	}
	rows, err := d.sql.Query(d.ctx, string(query))
	if err != nil {
		d.t.Fatal(err)
	}
	broken, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	return broken
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// written is everything that a batch could have written.
func (d *desk) written() string {
	d.t.Helper()
	var s string
	err := d.sql.QueryRow(d.ctx, `SELECT format('%s issuances, %s batches, taken %s, decided %s',
		(SELECT count(*) FROM issuances), (SELECT count(*) FROM batches), (SELECT sum(next - lo) FROM runs), (SELECT sum(next_offset + batch_no) FROM partitions))`).Scan(&s)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// Every check of the commit raises, and then nothing of it is written.
func TestFence(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 10_000)
	d.Launch("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	if err := p.Issue("p", runs, "a", "b"); err != nil {
		t.Fatal(err)
	}
	before := d.written()
	refused := func(name string, want error, spoil func(e *issuing.Entry, plan *domain.Plan)) {
		t.Run(name, func(t *testing.T) {
			entries, plan := p.plan("p", runs, "c", "d")
			for i := range plan.Takes {
				r := *plan.Takes[i].Run
				plan.Takes[i].Run = &r
			}
			spoil(&entries[0], plan)
			wantErr(t, "commit", p.Commit(d.ctx, entries, plan), want)
			if after := d.written(); after != before {
				t.Errorf("got %s, want %s", after, before)
			}
		})
	}
	refused("Epoch", issuing.ErrFenced, func(e *issuing.Entry, _ *domain.Plan) { e.Claim.Epoch++ })
	refused("BatchNo", issuing.ErrFenced, func(e *issuing.Entry, _ *domain.Plan) { e.Claim.BatchNo-- })
	refused("Partition", issuing.ErrFenced, func(e *issuing.Entry, _ *domain.Plan) { e.Claim.Partition += 100 })
	refused("Next", issuing.ErrCursor, func(_ *issuing.Entry, plan *domain.Plan) { plan.Takes[0].Run.Next-- })
	refused("Grant", issuing.ErrCursor, func(_ *issuing.Entry, plan *domain.Plan) { plan.Takes[0].Run.GrantNo-- })
	refused("Holder", issuing.ErrCursor, func(_ *issuing.Entry, plan *domain.Plan) { plan.Takes[0].Run.Holder++ })
	refused("Free", issuing.ErrCursor, func(_ *issuing.Entry, plan *domain.Plan) { plan.Takes[0].Run.Holder = 0 })
	refused("Gone", issuing.ErrCursor, func(_ *issuing.Entry, plan *domain.Plan) { plan.Takes[0].Run.Lo += 5 })
	refused("TooMany", issuing.ErrCursor, func(_ *issuing.Entry, plan *domain.Plan) { plan.Takes[0].N = 1000 })
	refused("Stale", issuing.ErrAgain, func(_ *issuing.Entry, plan *domain.Plan) { plan.At = plan.At.Add(-time.Second) })
	refused("Raced", issuing.ErrRaced, func(_ *issuing.Entry, plan *domain.Plan) { plan.Issues[1].Issuance.RequestID = "a" })
	refused("Poison", issuing.ErrPoison, func(_ *issuing.Entry, plan *domain.Plan) { plan.Issues[1].Issuance.CustomerID = "\x00" })
	refused("TooLong", issuing.ErrPoison, func(_ *issuing.Entry, plan *domain.Plan) {
		plan.Issues[1].Issuance.RequestID = strings.Repeat("x", 201)
	})
	refused("DecidedTwice", issuing.ErrCorrupt, func(e *issuing.Entry, _ *domain.Plan) { e.First, e.End = 0, 2 })
	refused("Backwards", issuing.ErrCorrupt, func(e *issuing.Entry, _ *domain.Plan) { e.End = e.First })
	t.Run("PlaceTaken", func(t *testing.T) {
		d.Exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT pool, lot, next + 1, now(), now(), 'thief', 'thief' FROM runs WHERE partition IS NOT NULL`)
		wantErr(t, "commit", p.Issue("p", runs, "c", "d"), issuing.ErrPlaceTaken)
		d.Exec("DELETE FROM issuances WHERE request_id = 'thief'")
	})
	if err := p.Issue("p", runs, "c", "d"); err != nil {
		t.Errorf("unspoilt: %v", err)
	}
	d.Sound()
}

// Codes that were handed back and taken again are no longer those in hand,
// though partition, place and cursor are the same.
func TestHandBackAndRetake(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 10_000)
	d.Launch("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	if err := p.Issue("p", runs, "a"); err != nil {
		t.Fatal(err)
	}
	entries, stale := p.plan("p", runs, "b", "c")
	if err := p.GiveBack(d.ctx, p.Partition, runs[0].Lot.Pool); err != nil {
		t.Fatal(err)
	}
	again := p.Refill("p", 99)
	if again[0].Lo != runs[0].Lo || again[0].Next != runs[0].Next || again[0].Hi != runs[0].Hi {
		t.Fatalf("got %+v, want the same codes as %+v", again[0], runs[0])
	}
	wantErr(t, "stale batch", p.Commit(d.ctx, entries, stale), issuing.ErrCursor)
	if err := p.Issue("p", again, "b", "c"); err != nil {
		t.Fatal(err)
	}
	d.Sound()
}

// A change by staff waits for the batch in flight, and then no batch follows.
func TestRevokeWaits(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 10_000)
	d.Launch("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	entries, plan := p.plan("p", runs, "a")
	f := d.freeze(&p.Claim, "SELECT 1 FROM runs WHERE partition IS NOT NULL FOR UPDATE")
	archived := make(chan error, 1)
	go func() {
		_, err := d.ArchivePool(d.ctx, "test", "p", 0)
		archived <- err
	}()
	select {
	case err := <-archived:
		t.Fatalf("archived while a batch was in flight: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	f.Close(d.ctx)
	if err := <-archived; err != nil {
		t.Fatal(err)
	}
	wantErr(t, "batch", p.Commit(d.ctx, entries, plan), issuing.ErrCursor)
	d.Sound()
}

// freeze begins a transaction of the claim, locks something, and stays so.
func (d *desk) freeze(c *issuing.Claim, lock ...string) *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(d.ctx, d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.Background()) })
	statements := append([]string{"BEGIN", fmt.Sprintf("SELECT enter(ARRAY[%d], ARRAY[%d])", c.Partition, c.Epoch)}, lock...)
	for _, s := range statements {
		if _, err := conn.Exec(d.ctx, s); err != nil {
			d.t.Fatal(err)
		}
	}
	return conn
}

// soon fails when what takes too long for a takeover.
func soon(t *testing.T, what string, start time.Time) {
	t.Helper()
	if took := time.Since(start); took > 2500*time.Millisecond { // lock_timeout + 1 s, and some for a busy machine
		t.Errorf("%s took %v", what, took)
	}
}

// Whatever a predecessor has locked when it freezes, a claim and what follows
// it get through.
func TestTakeoverOfFrozen(t *testing.T) {
	for name, lock := range map[string]string{
		"Nothing":   "SELECT 1",
		"Pool":      "SELECT 1 FROM pools FOR UPDATE",
		"Runs":      "SELECT 1 FROM runs FOR UPDATE",
		"Partition": "SELECT 1 FROM partitions FOR UPDATE",
		"Request":   "INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id) SELECT pool, lot, 9999, now(), now(), 'a', 'c' FROM lots",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.Create("p")
			d.Fill("p", "c", 10_000)
			d.Launch("p")
			old := d.Claim(0, "one")
			old.Refill("p", 100)
			frozen := d.freeze(&old.Claim, lock)
			start := time.Now()
			now := d.Claim(0, "two")
			soon(t, "claim", start)
			if now.Epoch <= old.Epoch {
				t.Errorf("got epoch %d after %d", now.Epoch, old.Epoch)
			}
			start = time.Now()
			if _, err := now.locked("p", nil, "a"); err != nil {
				t.Errorf("decide: %v", err)
			}
			soon(t, "decision", start)
			if _, err := frozen.Exec(d.ctx, "COMMIT"); err == nil {
				t.Error("the frozen transaction committed")
			}
			d.Sound()
		})
	}
	t.Run("InDecide", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.Create("p")
		d.Fill("p", "c", 10)
		d.Launch("p")
		old := d.Claim(0, "one")
		deciding, wake, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			_, err := old.locked("p", func() { close(deciding); <-wake }, "a")
			ended <- err
		}()
		<-deciding
		start := time.Now()
		now := d.Claim(0, "two")
		if _, err := now.locked("p", nil, "a"); err != nil {
			t.Error(err)
		}
		soon(t, "takeover and decision", start)
		close(wake)
		wantErr(t, "the frozen one", <-ended, issuing.ErrUnknown)
		d.Sound()
	})
	t.Run("Resolve", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		p := d.Claim(0, "one")
		frozen := d.freeze(&p.Claim, "UPDATE partitions SET batch_no = batch_no + 1")
		start := time.Now()
		c, err := p.Resolve(d.ctx, p.Claim, "one")
		if err != nil || c.Epoch <= p.Epoch || c.BatchNo != p.BatchNo {
			t.Errorf("got %+v, %v", c, err)
		}
		soon(t, "resolve", start)
		if _, err := frozen.Exec(d.ctx, "COMMIT"); err == nil {
			t.Error("the frozen transaction committed")
		}
		_, err = p.Resolve(d.ctx, c, "two")
		wantErr(t, "resolve of another's", err, issuing.ErrFenced)
	})
}

// Those who work for other partitions, or in other databases, are spared.
func TestPredecessorsOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	other := newDesk(t)
	a, b, c := d.Claim(0, "one"), d.Claim(1, "one"), other.Claim(0, "one")
	if a.Partition != c.Partition {
		t.Fatal("want the same key in both databases")
	}
	old, neighbour, stranger := d.freeze(&a.Claim), d.freeze(&b.Claim), other.freeze(&c.Claim)
	now := d.Claim(0, "two")
	if err := now.EndPredecessors(d.ctx, now.Claim); err != nil {
		t.Fatal(err)
	}
	self := d.freeze(&now.Claim)
	if err := now.EndPredecessors(d.ctx, now.Claim); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]*pgx.Conn{"neighbour": neighbour, "stranger": stranger, "self": self} {
		if _, err := conn.Exec(d.ctx, "COMMIT"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := old.Exec(d.ctx, "COMMIT"); err == nil {
		t.Error("the predecessor was spared")
	}
}

func TestRefill(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	day := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Microsecond)
	d.Create("p")
	d.Fill("p", "open", 6000)
	d.Fill("p", "later", 500, day)
	late := d.Fill("p", "late", 300, nil, day.Add(time.Hour))
	soonest := d.Fill("p", "soon", 100, nil, day)
	available := d.Fill("p", "till", 200, nil, day.Add(time.Hour), nil, day.Add(2*time.Hour))
	d.Fill("p", "over", 50, nil, time.Now().Add(-time.Hour))
	d.Launch("p")
	p, q := d.Claim(0, "one"), d.Claim(1, "one")
	order := func(runs []*domain.Run) (lots []int32) {
		for _, r := range runs {
			lots = append(lots, r.Lot.No)
		}
		return lots
	}
	// The share: free, which is all but what has expired, by 24.
	runs := p.Refill("p", 10_000)
	if n := left(runs); n != 7100/24 {
		t.Errorf("got %d codes, want %d", n, 7100/24)
	}
	if diff := cmp.Diff([]int32{soonest, available}, order(runs)); diff != "" {
		t.Errorf("order of lots (-want +got):\n%s", diff)
	}
	more := q.Refill("p", 200)
	if diff := cmp.Diff([]int32{available, late}, order(more)); diff != "" {
		t.Errorf("order of lots (-want +got):\n%s", diff)
	}
	if more[0].Next != runs[1].Hi || more[0].Texts[0] != fmt.Sprintf("till%d", runs[1].Hi) {
		t.Errorf("got %+v behind %+v", more[0], runs[1])
	}
	d.Sound()
	// Handed back, all is one run again.
	for _, c := range []*partition{p, q} {
		if err := c.GiveBack(d.ctx, c.Partition, runs[0].Lot.Pool); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Int("SELECT count(*) FROM runs"); n != 6 {
		t.Errorf("got %d runs, want one a lot", n)
	}
	// Used up, they are folded away.
	var ids []string
	for k := range 100 {
		ids = append(ids, fmt.Sprint("r", k))
	}
	if err := p.Issue("p", p.Refill("p", 100), ids...); err != nil {
		t.Fatal(err)
	}
	p.Refill("p", 1)
	if done := d.Int("SELECT done FROM lots WHERE lot = $1", soonest); done != 100 {
		t.Errorf("got %d codes folded, want 100", done)
	}
	d.Sound()
	for _, no := range []string{"UPDATE pools SET mode = 'scarce'", "UPDATE pools SET mode = 'ample', state = 'archived'", "UPDATE pools SET state = 'draft'"} {
		d.Exec(no)
		if runs := p.Refill("p", 10); len(runs) > 0 {
			t.Errorf("%s: got %d runs", no, len(runs))
		}
	}
}

// A transaction of a partition holds finished runs of its own while another's
// refill folds: they must not wait for each other in a circle.
func TestTidySkips(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 10_000)
	d.Launch("p")
	p := d.Claim(0, "one")
	for k := range 2 {
		if err := p.Issue("p", p.Refill("p", 1), fmt.Sprint("r", k)); err != nil {
			t.Fatal(err)
		}
	}
	frozen := d.freeze(&p.Claim, "SELECT 1 FROM runs WHERE next = hi FOR UPDATE")
	start := time.Now()
	if runs := d.Claim(1, "two").Refill("p", 5); left(runs) != 5 {
		t.Errorf("got %d codes, want 5", left(runs))
	}
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("the refill waited %v", took)
	}
	if _, err := frozen.Exec(d.ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	p.Refill("p", 1)
	if finished := d.Int("SELECT count(*) FROM runs WHERE next = hi"); finished != 0 {
		t.Errorf("got %d finished runs, want them folded", finished)
	}
	d.Sound()
}

// Codes of many-use pools come round again, and the texts with them.
func TestMultiUseTexts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := draft("p")
	p.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
		t.Fatal(err)
	}
	d.Fill("p", "c", 3)
	d.Launch("p")
	one := d.Claim(0, "one")
	at := 0
	for _, n := range []int64{1, 2, 3, 4, 10, 7} {
		for _, r := range one.Refill("p", n) {
			for i, text := range r.Texts {
				if want := fmt.Sprint("c", (r.Next+int64(i))%3); text != want {
					t.Errorf("ordinal %d: got %s, want %s", r.Next+int64(i), text, want)
				}
			}
			at += len(r.Texts)
		}
	}
	if at != 27 {
		t.Errorf("got %d codes, want 27", at)
	}
	runs := one.Refill("p", 5)
	if err := one.Issue("p", runs, "a", "b", "c", "d"); err != nil {
		t.Fatal(err)
	}
	pool, _ := d.Pool(d.ctx, "p")
	keys := []domain.Key{{Pool: pool.Key, RequestID: "d"}, {Pool: pool.Key, RequestID: "none"}}
	known, _, err := d.LookUp(d.ctx, keys, map[int32]*domain.Pool{pool.Key: &pool})
	if err != nil || len(known) != 1 {
		t.Fatalf("got %v, %v", known, err)
	}
	if i := known[keys[0]]; i.Code != fmt.Sprint("c", i.Seq%3) {
		t.Errorf("got %s for ordinal %d", i.Code, i.Seq)
	}
	d.Sound()
}

// Verdicts, evidence and ranges as a locked batch leaves them.
func TestLockedVerdicts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 2)
	d.Fill("p", "later", 3, time.Now().Add(time.Hour))
	d.Launch("p")
	p := d.Claim(0, "one")
	outcomes, err := p.locked("p", nil, "a", "b", "c", "a", "d")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outcomes {
		if o.Issue != nil {
			got = append(got, o.Issue.Code)
		} else {
			got = append(got, o.Reason.String())
		}
	}
	if diff := cmp.Diff([]string{"c0", "c1", "no_code_in_window", "c0", "no_code_in_window"}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	ranges, err := d.Ranges(d.ctx, p.Partition, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	requests := []domain.Request{*outcomes[2].Request, *outcomes[4].Request}
	want := []domain.Range{{First: 0, End: 5, DecidedAt: outcomes[2].DecidedAt, Rejections: []domain.Rejection{
		{Offset: 2, Hash: requests[0].Hash(), Reason: domain.NoCodeInWindow}, {Offset: 4, Hash: requests[1].Hash(), Reason: domain.NoCodeInWindow}}}}
	if diff := cmp.Diff(want, ranges); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
	if n := d.Int(`SELECT count(*) FROM batches, pools
		WHERE evidence = jsonb_build_array(jsonb_build_object('pool', pools.pool, 'revision', pools.revision, 'left', 3, 'at', evidence->0->'at'))`); n != 1 {
		t.Error("the evidence is not there")
	}
	d.Sound()
}

// What a position needs of the known ranges, and no more.
func TestRanges(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.Claim(0, "one")
	d.Exec(`INSERT INTO batches (partition, first_offset, end_offset, decided_at)
		SELECT $1, k, k + 10, now() FROM unnest(ARRAY[0, 10, 40, 50]) k`, p.Partition)
	for _, c := range []struct {
		position int64
		want     []int64
	}{{0, []int64{0, 10, 40, 50}}, {9, []int64{0, 10, 40, 50}}, {10, []int64{10, 40, 50}}, {20, []int64{40, 50}}, {30, []int64{40, 50}}, {45, []int64{40, 50}}, {59, []int64{50}}, {60, nil}} {
		ranges, err := d.Ranges(d.ctx, p.Partition, c.position, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, r := range ranges {
			got = append(got, r.First)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("from %d (-want +got):\n%s", c.position, diff)
		}
	}
	if some, err := d.Ranges(d.ctx, p.Partition, 0, 2); err != nil || len(some) != 2 {
		t.Errorf("got %d ranges, %v, want 2", len(some), err)
	}
}

// The instant of archiving is not before any issue.
func TestArchivedAt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 10_000)
	d.Launch("p")
	p := d.Claim(0, "one")
	p.Refill("p", 100)
	flight := d.freeze(&p.Claim, "SELECT 1 FROM runs WHERE partition IS NOT NULL FOR UPDATE")
	archived := make(chan domain.Pool, 1)
	go func() {
		pool, err := d.ArchivePool(d.ctx, "test", "p", 0)
		if err != nil {
			d.t.Error(err)
		}
		archived <- pool
	}()
	time.Sleep(100 * time.Millisecond) // archive waits for the batch in flight
	var issued time.Time
	if err := flight.QueryRow(d.ctx, "SELECT clock_timestamp()").Scan(&issued); err != nil {
		t.Fatal(err)
	}
	if _, err := flight.Exec(d.ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if pool := <-archived; pool.ArchivedAt.Before(issued) {
		t.Errorf("archived at %v, but a batch could issue at %v", pool.ArchivedAt, issued)
	}
}

var _ issuing.Store = (*postgres.Store)(nil)
