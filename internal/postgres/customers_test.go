package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/redeeming"
)

// For issues codes of a pool to customers, a request each.
func (p *partition) For(id string, runs []*domain.Run, customers ...string) {
	p.t.Helper()
	pool, err := p.Pool(p.ctx, id)
	if err != nil {
		p.t.Fatal(err)
	}
	_, now, err := p.LookUp(p.ctx, nil, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	requests := make([]domain.Request, len(customers))
	for i, c := range customers {
		requests[i] = domain.Request{
			Offset: p.at + int64(i), PoolID: id, RequestID: fmt.Sprintf("r-%s-%d-%d", id, p.Number, p.at+int64(i)), CustomerID: c, Context: fmt.Appendf(nil, `{"of":%q}`, c),
		}
	}
	plan := domain.Assign(now, []domain.Batch{{Requests: requests, Shelves: map[string]*domain.Shelf{id: {Pool: &pool, Runs: runs}}}}, nil)
	if !plan.Whole() {
		p.t.Fatalf("too few codes in hand for %d requests", len(customers))
	}
	claim := p.Claim
	if err := p.Commit(p.ctx, []issuing.Entry{{Claim: &claim, First: p.at, End: p.at + int64(len(requests))}}, &plan); err != nil {
		p.t.Fatal(err)
	}
	for _, t := range plan.Takes {
		t.Run.Next += t.N
		t.Run.Texts = t.Run.Texts[t.N:]
	}
	p.BatchNo++
	p.at += int64(len(requests))
}

// Of are the requests of a customer as the store tells them, page by page.
func (d *desk) Of(customer string, limit int) (requests []string) {
	d.t.Helper()
	for after := (domain.IssuePlace{}); ; {
		page, err := d.CustomerCodes(d.ctx, customer, after, limit)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, c := range page {
			requests = append(requests, c.RequestID)
			after = domain.IssuePlace{At: c.IssuedAt, Pool: c.Pool.Key, Place: c.Place}
		}
		if len(page) < limit {
			return requests
		}
	}
}

// Truth are the same by a look at all issuances.
func (d *desk) Truth(customer string) (requests []string) {
	d.t.Helper()
	rows, err := d.sql.Query(d.ctx, "SELECT request_id FROM issuances WHERE customer_id = $1 ORDER BY issued_at DESC, pool DESC, lot DESC, seq DESC", customer)
	if err != nil {
		d.t.Fatal(err)
	}
	if requests, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		d.t.Fatal(err)
	}
	return requests
}

// ListAll lists until nothing is left.
func (d *desk) ListAll(atMost int) (steps int) {
	d.t.Helper()
	for {
		done, err := d.ListCodes(d.ctx, atMost)
		if err != nil {
			d.t.Fatal(err)
		}
		steps++
		if !done.Left {
			return steps
		}
	}
}

// TestCustomerCodes: all codes of a customer, whether they are listed or not, in
// pages, with what became of them.
func TestCustomerCodes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, id := range []string{"p", "q", "many"} {
		d.shopOf(id, 1000)
	}
	d.GenerateInto("made", 1000)
	a, b := d.Claim(0, "a"), d.Claim(1, "b")
	runs := map[string][]*domain.Run{}
	for _, id := range []string{"p", "q", "many", "made"} {
		runs[id] = a.Refill(id, 20)
	}
	more := b.Refill("p", 20)
	check := func(when string) {
		t.Helper()
		for _, c := range []string{"ann", "bob", "nobody"} {
			for _, limit := range []int{1, 3, 100} {
				if diff := cmp.Diff(d.Truth(c), d.Of(c, limit), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s, %s by %d (-want +got)\n%s", when, c, limit, diff)
				}
			}
		}
	}
	a.For("p", runs["p"], "ann", "bob", "ann")
	check("nothing is listed")
	d.ListAll(2)
	check("all are listed")
	a.For("q", runs["q"], "bob", "ann")
	a.For("many", runs["many"], "ann", "ann", "ann")
	b.For("p", more, "ann")
	check("some are listed")
	d.ListAll(1000)
	a.For("made", runs["made"], "ann")
	check("one is not")
	if _, err := d.IssueCode(d.ctx, "anna", "p999", domain.Request{PoolID: "p", RequestID: "by hand", CustomerID: "ann"}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := d.IssueNext(d.ctx, "anna", domain.Request{PoolID: "many", RequestID: "next", CustomerID: "ann"}, ""); err != nil {
		t.Fatal(err)
	}
	check("by hand")
	d.ListAll(1000)
	check("by hand, and listed")

	first, err := d.CustomerCodes(d.ctx, "ann", domain.IssuePlace{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c := first[0]; c.RequestID != "next" || c.Pool.ID != "many" {
		t.Errorf("got %+v", c)
	}
	if first, err = d.CustomerCodes(d.ctx, "ann", domain.IssuePlace{}, 3); err != nil {
		t.Fatal(err)
	}
	if c := first[2]; c.Pool.ID != "made" || c.State != domain.CodeIssued || !strings.HasPrefix(c.Code, "SUN-") || c.ValidFrom.IsZero() {
		t.Errorf("got %+v", c)
	}
	d.Exec("INSERT INTO blocks (pool, lot, seq, at, actor, note) SELECT pool, lot, seq, now(), 'a', '' FROM issuances WHERE request_id = 'r-p-1-0'")
	d.Want([]string{"redeemed"}, wish("q", "x", d.Text("r-q-0-4"), "ann"))
	got := map[string]domain.CodeState{}
	codes, err := d.CustomerCodes(d.ctx, "ann", domain.IssuePlace{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range codes {
		got[c.RequestID] = c.State
		if (c.State == domain.CodeRedeemed) != !c.RedeemedAt.IsZero() {
			t.Errorf("%s is %s, redeemed at %s", c.RequestID, c.State, c.RedeemedAt)
		}
	}
	want := map[string]domain.CodeState{
		"r-p-0-0": "issued", "r-p-0-2": "issued", "r-q-0-4": "redeemed", "r-many-0-5": "issued", "r-many-0-6": "issued", "r-many-0-7": "issued",
		"r-p-1-0": "blocked", "r-made-0-8": "issued", "by hand": "issued", "next": "issued",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// shopOf makes a launched pool of n codes; many may use those of "many".
func (d *desk) shopOf(id string, n int) {
	d.t.Helper()
	p := draft(id)
	p.MultiUse = id == "many"
	if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
		d.t.Fatal(err)
	}
	d.Fill(id, id, n)
	d.Launch(id)
	d.Exec("UPDATE pools SET mode = 'ample'")
}

// GenerateInto makes a launched pool of n codes that are stored nowhere.
func (d *desk) GenerateInto(id string, n int64) {
	d.t.Helper()
	d.Create(id)
	d.Generate(id, "SUN-####-####", n)
	d.Launch(id)
	d.Exec("UPDATE pools SET mode = 'ample'")
}

// Text is the code that a request has.
func (d *desk) Text(request string) (code string) {
	d.t.Helper()
	if err := d.sql.QueryRow(d.ctx, "SELECT c.code FROM issuances i JOIN codes c USING (pool, lot, seq) WHERE i.request_id = $1", request).Scan(&code); err != nil {
		d.t.Fatal(err)
	}
	return code
}

// TestListLongStretches: what was issued before there were lists is listed in parts,
// and so is what stands between.
func TestListLongStretches(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shopOf("p", 3000)
	a := d.Claim(0, "a")
	runs := a.Refill("p", 100)
	for range 4 {
		a.For("p", runs, slices.Repeat([]string{"ann"}, 20)...)
	}
	// As the migration leaves it: one stretch, beside what came later.
	d.Exec("UPDATE unlisted SET firsts = ARRAY[0], counts = ARRAY[60], sketch = NULL WHERE no = 1")
	d.Exec("DELETE FROM unlisted WHERE no IN (2, 3)")
	for steps := 1; ; steps++ {
		if diff := cmp.Diff(d.Truth("ann"), d.Of("ann", 7)); diff != "" {
			t.Fatalf("step %d (-want +got)\n%s", steps, diff)
		}
		done, err := d.ListCodes(d.ctx, 25)
		if err != nil {
			t.Fatal(err)
		}
		if done.Codes >= 25+20 {
			t.Errorf("%d codes in one step", done.Codes)
		}
		if !done.Left {
			break
		}
	}
	if n := d.Int("SELECT count(*) FROM customer_codes"); n != 80 {
		t.Errorf("%d codes are listed, want 80", n)
	}
}

// TestPseudonyms: the database and the program call customers and orders the same.
func TestPseudonyms(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if _, err := d.BeginErasure(d.ctx, "test", "x"); err != nil {
		t.Fatal(err)
	}
	var key []byte
	if err := d.sql.QueryRow(d.ctx, "SELECT key FROM customer_key").Scan(&key); err != nil {
		t.Fatal(err)
	}
	p := domain.NewPseudonyms(key)
	for _, id := range []string{"x", "c-1001", strings.Repeat("ü", 100), "order", " ", "a/b\n"} {
		var sum []byte
		var order, customer string
		if err := d.sql.QueryRow(d.ctx, "SELECT keyed(convert_to($1, 'UTF8')), order_pseudonym($1), customer_pseudonym($1)", id).Scan(&sum, &order, &customer); err != nil {
			t.Fatal(err)
		}
		if want := p.Sum([]byte(id)); !bytes.Equal(sum, want[:]) || order != p.Order(id) || customer != p.Customer(id) {
			t.Errorf("%q: got %x and %s, want %x and %s", id, sum, order, want, p.Order(id))
		}
	}
	if got := d.Int("SELECT count(*) FROM erasures WHERE pseudonym = $1", p.Customer("x")); got != 1 {
		t.Errorf("the erasure has another pseudonym than %s", p.Customer("x"))
	}
}

// TestEraseCustomer: the customer goes from every table, and is still known.
func TestEraseCustomer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shopOf("p", 1000)
	d.shopOf("many", 3)
	d.Exec("UPDATE pools SET redemption_limit_per_customer = 2 WHERE multi_use")
	a := d.Claim(0, "a")
	runs, uses := a.Refill("p", 30), a.Refill("many", 30)
	a.For("p", runs, "ann-4711", "bob", "ann-4711")
	a.For("many", uses, "ann-4711")
	d.ListAll(1000)

	order := wish("p", "d-1", "p0", "ann-4711")
	order.OrderID, order.Context = "order-4711", []byte(`{"who":"ann-4711"}`)
	nameless := wish("p", "d-2", "p2", "")
	nameless.OrderID, nameless.Context = "order-4712", []byte(`{"of":"ann-4711"}`)
	bobs := wish("p", "d-3", "p0", "bob")
	bobs.OrderID = "order-bob"
	conflict := wish("p", "d-1", "p1", "ann-4711")
	uses1, uses2 := wish("many", "m-1", "many0", "ann-4711"), wish("many", "m-2", "many0", "ann-4711")
	lost := wish("none", "n-1", "x", "ann-4711")
	asks := []domain.RedemptionRequest{order, nameless, bobs, conflict, uses1, lost}
	before := d.Want([]string{"redeemed", "redeemed", "already_redeemed", "redemption_conflict", "redeemed", "pool_not_found"}, asks...)
	d.Exec("DELETE FROM outbox")

	erased := d.Erase("ann-4711")
	if erased.Issuances != 3 || erased.Redemptions != 6 {
		t.Errorf("erased %d issuances and %d redemptions, want 3 and 6", erased.Issuances, erased.Redemptions)
	}
	if done, err := d.FinishErasure(d.ctx, erased); !done || err != nil {
		t.Errorf("whoever asked at the same time hears %t, %v, not that it is done", done, err)
	}
	if left := d.Named("4711"); len(left) > 0 {
		t.Errorf("still named: %q", left)
	}
	if left := d.Named("order-bob"); len(left) != 1 {
		t.Errorf("another's order is named in %q", left)
	}
	if got := d.Of("ann-4711", 10); len(got) != 0 {
		t.Errorf("the erased customer has %q", got)
	}
	if got := len(d.Of("bob", 10)); got != 1 {
		t.Errorf("bob has %d codes", got)
	}

	after := d.Want([]string{"redeemed+", "redeemed+", "already_redeemed+", "redemption_conflict+", "redeemed+", "pool_not_found+"}, asks...)
	for i := range after {
		was, is := before[i].Event(), after[i].Event()
		if was.ID != is.ID || !was.At.Equal(is.At) {
			t.Errorf("%s: known as %s of %s, was %s of %s", asks[i].RedemptionID, is.ID, is.At, was.ID, was.At)
		}
		if bytes.Contains(is.Value, []byte("4711")) || bytes.Contains(is.Value, []byte("4712")) {
			t.Errorf("%s: named in %s", asks[i].RedemptionID, is.Value)
		}
	}
	// The limit counts what was redeemed before; another order is another redemption.
	other := order
	other.OrderID = "order-4713"
	d.Want([]string{"redeemed", "limit_reached", "redemption_conflict", "redeemed"},
		uses2, wish("many", "m-3", "many0", "ann-4711"), other, wish("many", "m-4", "many0", "bob"))

	// By hand a repeat is known, too.
	again := domain.Request{PoolID: "p", RequestID: "r-p-0-0", CustomerID: "ann-4711"}
	if i, err := d.IssueNext(d.ctx, "anna", again, ""); err != nil || i.Code != "p0" || !domain.IsPseudonym(i.CustomerID) {
		t.Errorf("asked again by hand: %+v, %v", i, err)
	}
	if i, err := d.IssueCode(d.ctx, "anna", "p0", again, ""); err != nil || !domain.IsPseudonym(i.CustomerID) {
		t.Errorf("asked again for the code by hand: %+v, %v", i, err)
	}
	again.CustomerID = "bob"
	if _, err := d.IssueNext(d.ctx, "anna", again, ""); fmt.Sprint(err) != domain.DeniedConflict.Detail() {
		t.Errorf("another asks: %v", err)
	}

	// What comes afterwards is new.
	a.For("p", runs, "ann-4711")
	if got := d.Of("ann-4711", 10); len(got) != 1 {
		t.Errorf("has %q", got)
	}
	d.Exec("DELETE FROM outbox")
	if e := d.Erase("ann-4711"); e.Issuances != 1 || e.Redemptions != 3 || e.No == erased.No {
		t.Errorf("erased again: %+v", e)
	}
	if n := d.Int("SELECT count(DISTINCT customer_id) FROM issuances"); n != 2 {
		t.Errorf("%d customers, want bob and one who was erased", n)
	}
	if none := d.Erase("nobody"); none.Issuances != 0 || none.Redemptions != 0 {
		t.Errorf("erased of nobody: %+v", none)
	}
}

// TestErasedWhileRolledBack: a redemption that is rolled back while its customer is
// erased names nobody afterwards, in the event neither.
func TestErasedWhileRolledBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(*domain.Pool) {})
	d.Want([]string{"redeemed", "redeemed"}, wish("p", "first", "c0", "ann-4711"), wish("p", "then", "c1", "bob-4712"))
	d.Exec("DELETE FROM outbox")
	answered := make(chan error, 1)

	// It has read the redemption, and waits for its code.
	held, err := d.sql.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(d.ctx, "SELECT lock_codes(ARRAY[pool], ARRAY[lot], ARRAY[seq]) FROM codes WHERE code = 'c0'"); err != nil {
		t.Fatal(err)
	}
	go func() { _, _, err := d.RollBack(d.ctx, "test", "p", "first", ""); answered <- err }()
	d.AwaitWaiting(answered)
	d.Erase("ann-4711")
	if err := held.Commit(d.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if left := d.Named("4711"); len(left) > 0 {
		t.Errorf("still named: %q", left)
	}
	d.Exec("DELETE FROM outbox")

	// It is written, and not committed.
	written, err := d.sql.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := written.Exec(d.ctx, "SELECT roll_back_redemption(pool, redemption_id, clock_timestamp(), 'test') FROM redemptions WHERE redemption_id = 'then'"); err != nil {
		t.Fatal(err)
	}
	e, err := d.BeginErasure(d.ctx, "test", "bob-4712")
	if err != nil {
		t.Fatal(err)
	}
	more := make(chan bool, 1)
	go func() { left, err := d.ErasePiece(d.ctx, e, 2); more <- left; answered <- err }()
	d.AwaitWaiting(answered)
	if err := written.Commit(d.ctx); err != nil {
		t.Fatal(err)
	}
	for left := <-more; left; {
		if left, err = d.ErasePiece(d.ctx, e, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if left := d.Named("4712"); !slices.Equal(left, []string{"erasures.customer_id"}) {
		t.Errorf("still named: %q", left)
	}
	d.Sound()
}

// TestFirstErasedWhileRedeemed: what a customer redeemed counts though the customer,
// the first ever, is erased while another redemption is judged.
func TestFirstErasedWhileRedeemed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shopOf("many", 3)
	d.Exec("UPDATE pools SET redemption_limit_per_customer = 1")
	d.Want([]string{"redeemed"}, wish("many", "r-1", "many0", "ann"))
	held, err := d.sql.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(d.ctx, "LOCK TABLE refused_redemptions"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		judged, err := d.Redeem(d.ctx, []redeeming.Ask{{RedemptionRequest: wish("many", "r-2", "many0", "ann")}})
		if err == nil && !slices.Equal(said(judged), []string{"limit_reached"}) {
			err = fmt.Errorf("said %q", said(judged))
		}
		answered <- err
	}()
	d.AwaitWaiting(answered)
	e, err := d.BeginErasure(d.ctx, "test", "ann")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(d.ctx, "SELECT erase_redemptions($1, 10)", e.No); err != nil {
		t.Fatal(err)
	}
	if err := held.Commit(d.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// Erase does what internal/customers does, without Kafka.
func (d *desk) Erase(customer string) domain.Erasure {
	d.t.Helper()
	e, err := d.BeginErasure(d.ctx, "test", customer)
	if err != nil {
		d.t.Fatal(err)
	}
	d.ListAll(1000)
	for more := true; more; {
		if more, err = d.ErasePiece(d.ctx, e, 2); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.MarkErasure(d.ctx, e, domain.ErasureMarks{Stream: "stream", Ends: make([]int64, 12), RedemptionEnds: make([]int64, 12)}); err != nil {
		d.t.Fatal(err)
	}
	if done, err := d.FinishErasure(d.ctx, e); !done || err != nil {
		d.t.Fatal(done, err)
	}
	if e, err = d.Erasure(d.ctx, e.No); err != nil {
		d.t.Fatal(err)
	}
	return e
}

// Named are the columns of the database in which a text stands.
func (d *desk) Named(text string) (where []string) {
	d.t.Helper()
	rows, err := d.sql.Query(d.ctx, `SELECT table_name, column_name, data_type FROM information_schema.columns
		WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'jsonb')`)
	if err != nil {
		d.t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Table, Column, Type string }])
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range columns {
		look := fmt.Sprintf("SELECT count(*) FROM %s WHERE %s::text LIKE '%%' || $1 || '%%'", c.Table, c.Column)
		if c.Type == "bytea" {
			look = fmt.Sprintf("SELECT count(*) FROM %s WHERE position(convert_to($1, 'UTF8') IN %s) > 0", c.Table, c.Column)
		}
		if d.Int(look, text) > 0 {
			where = append(where, c.Table+"."+c.Column)
		}
	}
	return where
}

// TestCustomersMigration: a batch that is under way while the schema is brought up to
// date is listed, and one that begins meanwhile does not go on as it would have.
func TestCustomersMigration(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := pgtest.Database(t)
	if err := postgres.MigrateTo(ctx, url, 11); err != nil {
		t.Fatal(err)
	}
	conns := make([]*pgx.Conn, 4)
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(ctx, url); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close(context.WithoutCancel(ctx))
	}
	// A batch of one code, as the version before commits it.
	issue := func(c *pgx.Conn, epoch, no int64, request string) error {
		_, err := c.Exec(ctx, `SELECT commit_batches(clock_timestamp(), ARRAY[1], ARRAY[$1::bigint], ARRAY[$2::bigint], ARRAY[$2::bigint], ARRAY[$2::bigint + 1], ARRAY[''::bytea], ARRAY[''],
			ARRAY[1], ARRAY[1], ARRAY[0::bigint], ARRAY[1], ARRAY[$2::bigint], ARRAY[0::bigint], ARRAY[1::bigint], ARRAY[now()], ARRAY[NULL::timestamptz],
			ARRAY[1], ARRAY[0], ARRAY[$3], ARRAY['ann'], ARRAY[NULL::bytea])`, epoch, no, request)
		return err
	}
	if _, err := conns[0].Exec(ctx, `INSERT INTO campaigns (id, name, created_at) VALUES ('c', 'C', now());
		INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at, state, launched_at, mode)
		VALUES ('p', 1, 'P', 'p', 'code', false, false, false, 'internal', now(), 'active', now(), 'ample');
		INSERT INTO lots (pool, lot, size, revision, created_at) VALUES (1, 1, 50, 1, now());
		INSERT INTO codes (pool, lot, seq, code) SELECT 1, 1, s, 'c' || s FROM generate_series(0, 49) s;
		INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no) VALUES (1, 1, 0, 0, 20, 1, 0), (1, 1, 20, 20, 50, NULL, 0);
		INSERT INTO partitions (stream, number, epoch, worker, next_offset) VALUES ('s', 0, 1, 'w', 0)`); err != nil {
		t.Fatal(err)
	}
	for no := range int64(3) {
		if err := issue(conns[0], 1, no, fmt.Sprint("before-", no)); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := conns[0].Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := issue(conns[0], 1, 3, "under way"); err != nil {
		t.Fatal(err)
	}
	migrated, late := make(chan error, 1), make(chan error, 1)
	go func() { migrated <- postgres.Migrate(ctx, url) }()
	await(ctx, t, conns[3], "AccessExclusiveLock")
	go func() { late <- issue(conns[1], 1, 4, "late") }()
	await(ctx, t, conns[3], "AccessShareLock")
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-migrated; err != nil {
		t.Fatal(err)
	}
	if err := <-late; err == nil || !strings.Contains(err.Error(), "PP001") {
		t.Errorf("the batch that began meanwhile: %v", err)
	}
	// The version before goes on, without sketches.
	if err := issue(conns[2], 2, 4, "afterwards"); err != nil {
		t.Fatal(err)
	}
	d := openDesk(t, url, "")
	for _, when := range []string{"not listed", "listed"} {
		if diff := cmp.Diff([]string{"afterwards", "under way", "before-2", "before-1", "before-0"}, d.Of("ann", 10)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", when, diff)
		}
		d.ListAll(1000)
	}
	if n := d.Int("SELECT count(*) FROM customer_codes"); n != 5 {
		t.Errorf("%d codes are listed, want 5", n)
	}
}

// await waits until somebody waits for such a lock of the table service.
func await(ctx context.Context, t *testing.T, c *pgx.Conn, mode string) {
	t.Helper()
	for waiting := false; !waiting; {
		if err := c.QueryRow(ctx, "SELECT pg_sleep(0.005), EXISTS (SELECT FROM pg_locks WHERE relation = 'service'::regclass AND mode = $1 AND NOT granted)", mode).Scan(nil, &waiting); err != nil {
			t.Fatal(err)
		}
	}
}
