package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

func byHand(pool, request string) domain.Request {
	return domain.Request{PoolID: pool, RequestID: request, CustomerID: "c"}
}

// wantDenied holds an error against the reason that it should have; "": none.
func wantDenied(t *testing.T, what string, err error, want domain.Denial) {
	t.Helper()
	var denied *domain.Denied
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (!errors.As(err, &denied) || denied.Reason != want):
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// TestIssueCode: what stands against issuing one very code.
func TestIssueCode(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	hour := func(n time.Duration) time.Time { return time.Now().Add(n * time.Hour) }
	for _, id := range []string{"beach", "draft", "closed", "archived"} {
		d.Create(id)
		d.Fill(id, "c", 9)
		if id != "draft" {
			d.Launch(id)
		}
	}
	d.Fill("beach", "later", 1, hour(1))
	d.Fill("beach", "over", 1, nil, hour(-1))
	d.Fill("beach", "useless", 1, nil, nil, nil, hour(-1))
	if _, err := d.UpdatePool(d.ctx, "test", "closed", 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueStart = hour(1).UTC().Truncate(time.Microsecond)
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ArchivePool(d.ctx, "test", "archived", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.BlockCode(d.ctx, "anna", "beach", "c3", "leaked"); err != nil {
		t.Fatal(err)
	}
	d.Exec("SELECT withdraw(p.pool, c.lot, c.seq, 'redeemed', now()) FROM pools p JOIN codes c USING (pool) WHERE p.id = 'beach' AND c.code = 'c4'")
	first, err := d.IssueCode(d.ctx, "anna", "c5", byHand("beach", "r-5"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, pool, code, request, customer string
		want                                domain.Denial
	}{
		{"Taken", "beach", "c0", "r-0", "c", ""},
		{"Again", "beach", "c5", "r-5", "c", ""},
		{"OtherCustomer", "beach", "c5", "r-5", "d", domain.DeniedConflict},
		{"OtherCode", "beach", "c6", "r-5", "c", domain.DeniedConflict},
		{"Issued", "beach", "c5", "r-6", "c", domain.DeniedIssued},
		{"Blocked", "beach", "c3", "r-3", "c", domain.DeniedBlocked},
		{"Redeemed", "beach", "c4", "r-4", "c", domain.DeniedRedeemed},
		{"Later", "beach", "later0", "r-7", "c", domain.DeniedOutOfWindow},
		{"Over", "beach", "over0", "r-8", "c", domain.DeniedExpired},
		{"Useless", "beach", "useless0", "r-9", "c", domain.DeniedExpired},
		{"Draft", "draft", "c0", "r-0", "c", domain.DeniedNotActive},
		{"Archived", "archived", "c0", "r-0", "c", domain.DeniedNotActive},
		{"PoolClosed", "closed", "c0", "r-0", "c", domain.DeniedOutOfWindow},
	} {
		before := d.written()
		r := domain.Request{PoolID: c.pool, RequestID: c.request, CustomerID: c.customer}
		i, err := d.IssueCode(d.ctx, "anna", c.code, r, "")
		wantDenied(t, c.name, err, c.want)
		if err == nil && (i.Code != c.code || i.RequestID != c.request || i.CustomerID != c.customer) {
			t.Errorf("%s: got %+v", c.name, i)
		}
		if after := d.written(); err != nil && after != before {
			t.Errorf("%s: wrote %s, after %s", c.name, after, before)
		}
	}
	for _, missing := range [][2]string{{"beach", "none"}, {"nowhere", "c0"}} {
		if _, err := d.IssueCode(d.ctx, "anna", missing[1], byHand(missing[0], "r-1"), ""); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("code %s of %s: got %v, want not found", missing[1], missing[0], err)
		}
	}
	story, err := d.Code(d.ctx, "beach", "c5")
	if err != nil || story.State != domain.CodeIssued || len(story.History) != 2 ||
		story.History[1] != (domain.CodeMoment{At: first.IssuedAt, Action: domain.CodeWasIssued, Actor: "anna", RequestID: "r-5"}) {
		t.Errorf("got %+v, %v", story, err)
	}
	stock, err := d.Stock(d.ctx, "beach")
	stock.PerMinute, stock.ExhaustedAt = 0, time.Time{}
	if diff := cmp.Diff(domain.Stock{Total: 12, Available: 5, Scheduled: 1, Issued: 2, Expired: 2, Withdrawn: 2}, stock); diff != "" || err != nil {
		t.Error(diff, err)
	}
	d.Sound()
}

// TestIssueCodeHeld: a code in a partition's buffer is taken out of it, and what
// the partition decides on the buffer as it was does not come true.
func TestIssueCodeHeld(t *testing.T) {
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
	entries, plan := p.plan("p", runs, "b")
	i, err := d.IssueCode(d.ctx, "test", "c50", byHand("p", "hand"), "")
	if err != nil || i.Seq != 50 {
		t.Fatalf("got %+v, %v", i, err)
	}
	wantErr(t, "stale batch", p.Commit(d.ctx, entries, plan), issuing.ErrCursor)
	if err := p.Issue("p", p.Refill("p", 100), "b"); err != nil {
		t.Fatal(err)
	}
	d.Sound()
}

// InFlight begins a batch that issues the next code of a buffer to a request.
func (d *desk) InFlight(request string) pgx.Tx {
	d.t.Helper()
	batch, err := d.sql.Begin(d.ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := batch.Exec(d.ctx, `WITH r AS (UPDATE runs SET next = next + 1 WHERE partition IS NOT NULL RETURNING pool, lot, next - 1 AS seq)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, lot, seq, clock_timestamp(), clock_timestamp(), $1, 'c' FROM r`, request); err != nil {
		d.t.Fatal(err)
	}
	return batch
}

// AwaitWaiting waits until somebody waits for what the desk's own transaction holds.
func (d *desk) AwaitWaiting(answered <-chan error) {
	d.t.Helper()
	for d.Int("SELECT count(*) FROM pg_locks l WHERE NOT l.granted AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid))") == 0 {
		select {
		case err := <-answered:
			d.t.Fatalf("answered without waiting: %v", err)
		default:
		}
	}
}

// TestByHandInFlight: a batch that is issuing the very code, or the last, is waited
// for, and has it. Where it issues it to the very request, that is the answer.
func TestByHandInFlight(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, c := range []struct {
		name, inFlight string
		next           bool
		want           domain.Denial
	}{
		{"Code", "batch", false, domain.DeniedIssued},
		{"CodeRepeated", "hand", false, ""},
		{"Last", "batch", true, domain.DeniedExhausted},
		{"LastRepeated", "hand", true, ""},
	} {
		id := strings.ToLower(c.name)
		d.Create(id)
		d.Fill(id, "c", 1)
		d.Launch(id)
		d.Exec("UPDATE runs SET partition = 1 WHERE pool = (SELECT max(pool) FROM pools)")
		batch := d.InFlight(c.inFlight)
		answered := make(chan error, 1)
		go func() {
			var i domain.Issuance
			var err error
			if c.next {
				i, err = d.IssueNext(d.ctx, "test", byHand(id, "hand"), "")
			} else {
				i, err = d.IssueCode(d.ctx, "test", "c0", byHand(id, "hand"), "")
			}
			if err == nil && i.Code != "c0" {
				err = fmt.Errorf("issued %+v", i)
			}
			answered <- err
		}()
		d.AwaitWaiting(answered)
		if err := batch.Commit(d.ctx); err != nil {
			t.Fatal(err)
		}
		wantDenied(t, c.name, <-answered, c.want)
		d.Exec("UPDATE runs SET partition = NULL")
	}
	if n := d.Int("SELECT count(*) FROM outbox WHERE topic = 'code-outcomes'"); n != 0 {
		t.Errorf("%d events wait: the batch tells its own", n)
	}
	d.Sound()
}

// TestIssueByHandAndKafka: a request gets its code once, whichever way it comes
// first, and the event is the same to the byte.
func TestIssueByHandAndKafka(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 20)
	d.Launch("p")
	p := d.Claim(0, "one")
	told := map[string]string{}
	for request, issue := range map[string]func() (domain.Issuance, error){
		"code": func() (domain.Issuance, error) { return d.IssueCode(d.ctx, "test", "c7", byHand("p", "code"), "") },
		"next": func() (domain.Issuance, error) { return d.IssueNext(d.ctx, "test", byHand("p", "next"), "") },
	} {
		i, err := issue()
		if err != nil {
			t.Fatal(err)
		}
		told[request] = string(domain.AppendIssued(nil, &i))
	}
	events, err := d.Unpublished(d.ctx, 10)
	events = slices.DeleteFunc(events, func(e domain.Event) bool { return e.Topic != domain.ToCodeOutcomes })
	if err != nil || len(events) != 2 {
		t.Fatalf("got %d events, %v, want 2", len(events), err)
	}
	outcomes, err := p.locked("p", nil, "code", "next", "kafka")
	if err != nil {
		t.Fatal(err)
	}
	for i, request := range []string{"code", "next"} {
		o := &outcomes[i]
		if o.Verdict != domain.Repeated || string(domain.AppendIssued(nil, o.Issue)) != told[request] {
			t.Errorf("%s over Kafka: got %+v, want a repeat of what was told by hand", request, o)
		}
	}
	for _, e := range events {
		request := "code"
		if e.ID == domain.IssuedEventID("p", "next") {
			request = "next"
		}
		if string(e.Value) != told[request] || e.ID != domain.IssuedEventID("p", request) || e.Key != "c" || e.Type != domain.TypeCodeIssued || e.Topic != domain.ToCodeOutcomes {
			t.Errorf("the event of %s is %+v", request, e)
		}
	}
	kafka := outcomes[2].Issue
	again, err := d.IssueNext(d.ctx, "test", byHand("p", "kafka"), "")
	if err != nil || string(domain.AppendIssued(nil, &again)) != string(domain.AppendIssued(nil, kafka)) {
		t.Errorf("got %+v, %v, want %+v", again, err, kafka)
	}
	if _, err := d.IssueCode(d.ctx, "test", kafka.Code, byHand("p", "kafka"), ""); err != nil {
		t.Errorf("the same code by name: %v", err)
	}
	_, err = d.IssueNext(d.ctx, "test", domain.Request{PoolID: "p", RequestID: "kafka", CustomerID: "another"}, "")
	wantDenied(t, "another's", err, domain.DeniedConflict)
	if n := d.Int("SELECT count(*) FROM outbox WHERE topic = 'code-outcomes'"); n != 2 {
		t.Errorf("%d events wait, want 2: what Kafka tells itself is not told again", n)
	}
	d.Sound()
}

// TestIssueNext: the next is the first expiring, wherever it is; and none is told
// of none before all are back.
func TestIssueNext(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	_, err := d.IssueNext(d.ctx, "test", byHand("p", "early"), "")
	wantDenied(t, "a draft", err, domain.DeniedNotActive)
	d.Fill("p", "open", 1)
	d.Fill("p", "soon", 1, nil, time.Now().Add(time.Hour))
	d.Fill("p", "later", 1, time.Now().Add(time.Hour))
	d.Fill("p", "over", 1, nil, time.Now().Add(-time.Hour))
	d.Launch("p")
	d.Exec("UPDATE pools SET mode = 'ample'")
	p := d.Claim(0, "one")
	d.Exec("UPDATE runs SET partition = $1 WHERE lot = (SELECT lot FROM codes WHERE code = 'open0')", p.Partition)
	for _, want := range []string{"soon0", "open0", ""} {
		i, err := d.IssueNext(d.ctx, "test", byHand("p", "r-"+want), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		if want == "" {
			wantDenied(t, "nothing open", err, domain.DeniedNoneNow)
		} else if err != nil || i.Code != want {
			t.Errorf("got %s, %v, want %s", i.Code, err, want)
		}
	}
	if n := d.Int("SELECT count(*) FROM outbox WHERE traceparent LIKE '00-0af7%'"); n != 2 {
		t.Errorf("%d events carry the trace, want 2", n)
	}
	d.Exec("UPDATE lots SET issue_end = now() WHERE issue_start IS NOT NULL")
	d.Exec("UPDATE runs SET issue_end = l.issue_end FROM lots l WHERE l.lot = runs.lot AND l.issue_end IS NOT NULL")
	_, err = d.IssueNext(d.ctx, "test", byHand("p", "late"), "")
	wantDenied(t, "nothing left", err, domain.DeniedExhausted)
	if _, err := d.IssueNext(d.ctx, "test", byHand("nowhere", "r"), ""); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	d.Sound()
}

// TestByHandGate: nothing is issued by hand from a database that has lost what it
// had acknowledged.
func TestByHandGate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 3)
	d.Launch("p")
	d.Exec("UPDATE service SET gate = 'behind'")
	_, err := d.IssueNext(d.ctx, "test", byHand("p", "r"), "")
	wantErr(t, "the next", err, domain.ErrAway)
	_, err = d.IssueCode(d.ctx, "test", "c1", byHand("p", "r"), "")
	wantErr(t, "a code", err, domain.ErrAway)
	if n := d.Int("SELECT count(*) FROM issuances"); n != 0 {
		t.Errorf("%d codes were issued", n)
	}
}

// TestIssueByHandMany: of a multi-use pool every request gets one of the codes,
// or the very one, and how often each was issued is told exactly.
func TestIssueByHandMany(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	pool := draft("many")
	pool.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", pool, false); err != nil {
		t.Fatal(err)
	}
	d.Fill("many", "m", 3)
	pool = d.Launch("many")
	p := d.Claim(0, "one")
	runs := p.Refill("many", 10)
	want := map[string]int64{"m0": 0, "m1": 0, "m2": 0}
	for n := range 5 {
		request := fmt.Sprint("hand-", n)
		for range 2 {
			i, err := d.IssueCode(d.ctx, "test", "m1", byHand("many", request), "")
			if err != nil || i.Code != "m1" || i.Seq%3 != 1 {
				t.Fatalf("got %+v, %v", i, err)
			}
		}
		want["m1"]++
	}
	_, err := d.IssueCode(d.ctx, "test", "m2", byHand("many", "hand-0"), "")
	wantDenied(t, "another code", err, domain.DeniedConflict)
	i, err := d.IssueNext(d.ctx, "test", byHand("many", "next"), "")
	if err != nil {
		t.Fatal(err)
	}
	want[i.Code]++
	if err := p.Issue("many", runs, "a", "b", "c", "d"); err != nil { // what it holds is untouched
		t.Fatal(err)
	}
	want["m0"], want["m1"], want["m2"] = want["m0"]+2, want["m1"]+1, want["m2"]+1
	rows, err := d.Codes(d.ctx, &pool, "", domain.Place{Seq: -1}, 10)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, r := range rows {
		got[r.Code] = r.Times
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times issued (-want +got):\n%s", diff)
	}
	story, err := d.Code(d.ctx, "many", "m1")
	if err != nil || story.Issue != nil || len(story.History) < 6 {
		t.Errorf("got %+v, %v", story, err)
	}
	d.Sound()
}

// TestIssueByHandGenerated: codes that are stored nowhere are found by their texts.
func TestIssueByHandGenerated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Generate("p", "S-####", 100)
	d.Generate("p", "S-####", 50)
	pool := d.Launch("p")
	first, err := d.IssueNext(d.ctx, "test", byHand("p", "first"), "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.IssueCode(d.ctx, "test", first.Code, byHand("p", "first"), "")
	if err != nil || again.Place != first.Place {
		t.Errorf("got %+v, %v, want %+v", again, err, first)
	}
	texts := d.generatedTexts("p", 148, 150)
	i, err := d.IssueCode(d.ctx, "test", texts[0], byHand("p", "second"), "")
	if err != nil || i.Code != texts[0] || i.Seq != 48 {
		t.Errorf("got %+v, %v", i, err)
	}
	for _, code := range []string{first.Code, texts[1]} {
		if story, err := d.BlockCode(d.ctx, "anna", "p", code, ""); err != nil || story.State != domain.CodeBlocked {
			t.Errorf("got %+v, %v", story, err)
		}
	}
	rows, err := d.Codes(d.ctx, &pool, "", domain.Place{Seq: -1}, 10)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]domain.CodeState{}
	for _, r := range rows {
		got[r.Code] = r.State
	}
	want := map[string]domain.CodeState{first.Code: domain.CodeBlocked, texts[0]: domain.CodeIssued, texts[1]: domain.CodeBlocked}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if rows, err = d.Codes(d.ctx, &pool, domain.CodeBlocked, domain.Place{Seq: -1}, 10); err != nil || len(rows) != 2 {
		t.Errorf("got %d blocked codes, %v, want 2", len(rows), err)
	}
	if story, err := d.UnblockCode(d.ctx, "anna", "p", texts[1], ""); err != nil || story.State != domain.CodeAvailable {
		t.Errorf("got %+v, %v", story, err)
	}
	if _, err := d.IssueCode(d.ctx, "test", texts[1], byHand("p", "third"), ""); err != nil {
		t.Error(err)
	}
	d.Sound()
}

// generatedTexts are codes of the only pattern of a pool, by their numbers.
func (d *desk) generatedTexts(id string, from, till int64) []string {
	d.t.Helper()
	var text, alphabet string
	var key []byte
	if err := d.sql.QueryRow(d.ctx, "SELECT pattern, alphabet, key FROM generators JOIN pools USING (pool) WHERE id = $1", id).Scan(&text, &alphabet, &key); err != nil {
		d.t.Fatal(err)
	}
	p, err := domain.ParsePattern(text, alphabet)
	if err != nil {
		d.t.Fatal(err)
	}
	g, err := domain.NewGenerator(p, key)
	if err != nil {
		d.t.Fatal(err)
	}
	return g.Codes(from, int(till-from))
}

// TestBlock: the life of a code that is blocked and unblocked.
func TestBlock(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 3)
	if _, err := d.BlockCode(d.ctx, "anna", "p", "c0", ""); !errors.Is(err, domain.ErrDraft) {
		t.Errorf("in a draft: got %v", err)
	}
	d.Launch("p")
	if _, err := d.IssueCode(d.ctx, "test", "c0", byHand("p", "r-0"), ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code    string
		block   bool
		state   domain.CodeState
		moments int
	}{
		{"c0", true, domain.CodeBlocked, 3}, {"c0", true, domain.CodeBlocked, 3}, {"c0", false, domain.CodeIssued, 4}, {"c0", false, domain.CodeIssued, 4},
		{"c1", false, domain.CodeAvailable, 1}, {"c1", true, domain.CodeBlocked, 2}, {"c1", false, domain.CodeAvailable, 3}, {"c1", true, domain.CodeBlocked, 4},
	} {
		change := d.UnblockCode
		if c.block {
			change = d.BlockCode
		}
		story, err := change(d.ctx, "anna", "p", c.code, "leaked")
		if err != nil || story.State != c.state || len(story.History) != c.moments {
			t.Errorf("%s, block %t: got %+v, %v", c.code, c.block, story, err)
		}
		if m := story.History[len(story.History)-1]; c.moments > 1 && (m.Actor != "anna" || m.Note != "leaked" || m.At.IsZero()) {
			t.Errorf("%s: the last moment is %+v", c.code, m)
		}
	}
	i, err := d.IssueNext(d.ctx, "test", byHand("p", "r-1"), "")
	if err != nil || i.Code != "c2" {
		t.Errorf("got %s, %v, want c2", i.Code, err)
	}
	_, err = d.IssueNext(d.ctx, "test", byHand("p", "r-2"), "")
	wantDenied(t, "with the last blocked", err, domain.DeniedExhausted)
	if _, err := d.ArchivePool(d.ctx, "test", "p", 0); err != nil {
		t.Fatal(err)
	}
	if story, err := d.UnblockCode(d.ctx, "anna", "p", "c1", ""); err != nil || story.State != domain.CodeAvailable {
		t.Errorf("in an archived pool: got %+v, %v", story, err)
	}
	if _, err := d.BlockCode(d.ctx, "anna", "p", "none", ""); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	d.Sound()
}

// TestByHandLostCommit: a change whose COMMIT had no answer is made once, and told
// once.
func TestByHandLostCommit(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t, postgres.Migrate)
	w := newWire(t, url)
	d := openDesk(t, url, w.url)
	d.Create("p")
	d.Fill("p", "c", 5)
	d.Launch("p")
	for name, do := range map[string]func() error{
		"Next":  func() error { _, err := d.IssueNext(d.ctx, "test", byHand("p", "next"), ""); return err },
		"Code":  func() error { _, err := d.IssueCode(d.ctx, "test", "c3", byHand("p", "code"), ""); return err },
		"Block": func() error { _, err := d.BlockCode(d.ctx, "test", "p", "c4", ""); return err },
	} {
		w.arm.Store(true)
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w.arm.Load() {
			t.Errorf("%s: no COMMIT was cut off", name)
		}
	}
	if issuances, events, entries := d.Int("SELECT count(*) FROM issuances"), d.Int("SELECT count(*) FROM outbox WHERE topic = 'code-outcomes'"), d.Int("SELECT count(*) FROM code_history"); issuances != 2 || events != 2 || entries != 3 {
		t.Errorf("got %d issuances, %d events, %d entries, want 2, 2, 3", issuances, events, entries)
	}
	d.Sound()
}

// TestByHandRace: everything that is done by hand, to the same few codes, while
// partitions issue them.
func TestByHandRace(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 400)
	many := draft("many")
	many.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", many, false); err != nil {
		t.Fatal(err)
	}
	d.Fill("many", "c", 5)
	d.Launch("p")
	d.Launch("many")
	d.Exec("UPDATE service SET partitions = 3")
	var group sync.WaitGroup
	failed := func(what string, err error) {
		var denied *domain.Denied
		if err != nil && !errors.As(err, &denied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for worker := range 4 {
		group.Go(func() {
			for n := range 40 {
				id := []string{"p", "many"}[n%2]
				code := fmt.Sprint("c", (n*7+worker*3)%map[string]int{"p": 400, "many": 5}[id])
				r := byHand(id, fmt.Sprint("r-", n, "-", worker%2)) // two ask for the same
				switch n % 5 {
				case 0:
					_, err := d.IssueNext(d.ctx, "test", r, "")
					failed("next", err)
				case 1, 2:
					_, err := d.IssueCode(d.ctx, "test", code, r, "")
					failed("code", err)
				case 3:
					_, err := d.BlockCode(d.ctx, "test", id, code, "")
					failed("block", err)
				case 4:
					_, err := d.UnblockCode(d.ctx, "test", id, code, "")
					failed("unblock", err)
				}
			}
		})
	}
	for number := range 2 {
		p := d.Claim(number, "worker")
		d.Exec("UPDATE service SET partitions = 3")
		group.Go(func() {
			for n := range 40 {
				id := []string{"p", "many"}[n%2]
				for {
					_, err := p.locked(id, nil, fmt.Sprint("r-", n, "-", number))
					if err == nil {
						break
					}
					if !errors.Is(err, issuing.ErrAgain) && !errors.Is(err, issuing.ErrRaced) && !errors.Is(err, issuing.ErrBlocked) {
						t.Errorf("batch: %v", err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	d.Sound()
}
