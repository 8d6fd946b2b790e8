package postgres_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// TestTakenOut withdraws codes and puts them back, blocks and moves them, while
// partitions take others ahead and issue them, in any order, and holds all of it
// against a plain list of codes.
func TestTakenOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	runs, outOfBuffers := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		w := newShelfModel(t, d, fmt.Sprintf("p%d", runs))
		t.Repeat(map[string]func(*rapid.T){
			"refill": w.refill, "issue": w.issue, "issueAgain": w.issue, "issueLocked": w.issueLocked, "giveBack": w.giveBack,
			"block": w.block, "blockAnother": w.block, "unblock": w.unblock, "redeem": w.redeem, "move": w.move,
			"": w.check,
		})
		w.checkSound(t)
		outOfBuffers += w.cursors
	})
	if outOfBuffers == 0 {
		t.Error("no code was ever taken out of a buffer")
	}
}

// shelfModel is a single-use pool, and what must be true of each of its codes.
type shelfModel struct {
	*desk
	id      string
	pool    domain.Pool
	codes   map[string]*modelCode
	parts   []*partition
	inHand  map[*partition][]*domain.Run
	asked   int
	cursors int // commits that found their codes gone
}

// modelCode is one code.
type modelCode struct {
	lot     int32
	seq     int64
	issued  bool
	out     string // why it is withdrawn; "": it is not
	blocked bool
}

func newShelfModel(t *rapid.T, d *desk, id string) *shelfModel {
	w := &shelfModel{desk: d, id: id, codes: map[string]*modelCode{}, inHand: map[*partition][]*domain.Run{}}
	// The runs before have nothing to say about this one.
	for _, table := range []string{"runs", "lots", "lot_changes", "codes", "issuances", "withdrawn", "blocks", "code_history", "batches", "partitions"} {
		d.Exec("DELETE FROM " + table)
	}
	d.Create(id)
	for l, size := range []int{25, 15} {
		prefix := fmt.Sprintf("%s-%d-", id, l)
		lot := d.Fill(id, prefix, size)
		for seq := range size {
			w.codes[fmt.Sprint(prefix, seq)] = &modelCode{lot: lot, seq: int64(seq)}
		}
	}
	w.pool = d.Launch(id)
	d.Exec("UPDATE pools SET mode = 'ample' WHERE id = $1", id)
	d.Exec("UPDATE service SET partitions = 2")
	for n := range 2 {
		p := d.Claim(n, "worker")
		d.Exec("UPDATE service SET partitions = 2")
		w.parts = append(w.parts, p)
	}
	return w
}

func (w *shelfModel) part(t *rapid.T) *partition {
	return rapid.SampledFrom(w.parts).Draw(t, "partition")
}

func (w *shelfModel) code(t *rapid.T) (string, *modelCode) {
	c := rapid.SampledFrom(slices.Sorted(maps.Keys(w.codes))).Draw(t, "code")
	return c, w.codes[c]
}

func (w *shelfModel) refill(t *rapid.T) {
	w.Exec("UPDATE pools SET mode = 'ample' WHERE id = $1", w.id)
	p := w.part(t)
	w.inHand[p] = append(w.inHand[p], p.Refill(w.id, rapid.Int64Range(1, 8).Draw(t, "want"))...)
}

func (w *shelfModel) ask() string {
	w.asked++
	return fmt.Sprint(w.id, "-", w.asked)
}

// given takes down that a code went to a request.
func (w *shelfModel) given(t *rapid.T, o *domain.Outcome) {
	c := w.codes[o.Issue.Code]
	switch {
	case c == nil:
		t.Fatal("a code was issued that the pool does not have")
	case c.issued || c.out != "" || c.blocked || c.lot != o.Issue.Lot || c.seq != o.Issue.Seq:
		t.Fatalf("issued %d/%d, against %+v", o.Issue.Lot, o.Issue.Seq, *c)
	}
	c.issued = true
}

func (w *shelfModel) issue(t *rapid.T) {
	p := w.part(t)
	if left(w.inHand[p]) == 0 {
		t.Skip("nothing in hand")
	}
	ids := make([]string, rapid.Int64Range(1, min(left(w.inHand[p]), 3)).Draw(t, "requests"))
	for i := range ids {
		ids[i] = w.ask()
	}
	entries, plan := p.plan(w.id, w.inHand[p], ids...)
	err := p.Commit(w.ctx, entries, plan)
	if errors.Is(err, issuing.ErrCursor) {
		w.cursors++
		w.reload(t, p)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range plan.Outcomes[0] {
		w.given(t, &plan.Outcomes[0][i])
	}
	for _, take := range plan.Takes {
		take.Run.Next += take.N
		take.Run.Texts = take.Run.Texts[take.N:]
	}
	p.BatchNo++
	p.at += int64(len(ids))
}

// reload reads what the partition still has.
func (w *shelfModel) reload(t *rapid.T, p *partition) {
	held, err := p.Held(w.ctx, p.Partition)
	if err != nil {
		t.Fatal(err)
	}
	w.inHand[p] = nil
	if held[w.id] == nil {
		return
	}
	w.inHand[p] = held[w.id].Runs
	texts, err := p.Texts(w.ctx, held[w.id].Runs)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range held[w.id].Runs {
		r.Texts = texts[i]
	}
}

func (w *shelfModel) issueLocked(t *rapid.T) {
	p := w.part(t)
	outcomes, err := p.locked(w.id, nil, w.ask())
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, c := range w.codes {
		if !c.issued && c.out == "" {
			left++
		}
	}
	switch o := &outcomes[0]; {
	case left == 0 && o.Reason != domain.PoolExhausted:
		t.Fatalf("got %+v from an empty pool", o)
	case left > 0 && o.Verdict != domain.Issued:
		t.Fatalf("got %s while %d codes are left", o.Reason, left)
	case left > 0:
		w.given(t, o)
	}
}

func (w *shelfModel) giveBack(t *rapid.T) {
	p := w.part(t)
	if err := p.GiveBack(w.ctx, p.Partition, w.pool.Key); err != nil {
		t.Fatal(err)
	}
}

// told asks a function of the schema that answers yes or no, under the pool's lock.
func (w *shelfModel) told(t *rapid.T, sql string, args ...any) (yes bool) {
	tx, err := w.sql.Begin(w.ctx)
	if err == nil {
		_, err = tx.Exec(w.ctx, "SELECT FROM pools WHERE id = $1 FOR UPDATE", w.id)
	}
	if err == nil {
		err = tx.QueryRow(w.ctx, sql, args...).Scan(&yes)
	}
	if err == nil {
		err = tx.Commit(w.ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

func (w *shelfModel) block(t *rapid.T) {
	_, c := w.code(t)
	if got := w.told(t, "SELECT block_code($1, $2, $3, 'anna', '')", w.pool.Key, c.lot, c.seq); got != !c.blocked {
		t.Fatalf("blocked: %v, against %+v", got, *c)
	}
	c.blocked = true
	if !c.issued && c.out == "" {
		c.out = "blocked"
	}
}

func (w *shelfModel) unblock(t *rapid.T) {
	_, c := w.code(t)
	if got := w.told(t, "SELECT unblock_code($1, $2, $3, 'anna', '')", w.pool.Key, c.lot, c.seq); got != c.blocked {
		t.Fatalf("unblocked: %v, against %+v", got, *c)
	}
	c.blocked = false
	if c.out == "blocked" {
		c.out = ""
	}
}

func (w *shelfModel) redeem(t *rapid.T) {
	_, c := w.code(t)
	want := !c.issued && c.out == ""
	if got := w.told(t, "SELECT withdraw($1, $2, $3, 'redeemed', now())", w.pool.Key, c.lot, c.seq); got != want {
		t.Fatalf("withdrawn: %v, against %+v", got, *c)
	}
	if want {
		c.out = "redeemed"
	}
}

// move takes codes out as a file does that gives them other dates.
func (w *shelfModel) move(t *rapid.T) {
	texts := rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(w.codes))), 1, 6, rapid.ID[string]).Draw(t, "codes")
	var lots []int32
	var seqs []int64
	for _, c := range texts {
		lots, seqs = append(lots, w.codes[c].lot), append(seqs, w.codes[c].seq)
	}
	tx, err := w.sql.Begin(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(w.ctx) //nolint:errcheck // after a COMMIT it does nothing
	rows, err := tx.Query(w.ctx, "SELECT take_out($1, $2, $3)", w.pool.Key, lots, seqs)
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]bool{}
	var order []string
	for rows.Next() {
		var idx int
		if err := rows.Scan(&idx); err != nil {
			t.Fatal(err)
		}
		taken[texts[idx-1]] = true
		order = append(order, texts[idx-1])
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	var into int32
	if err := tx.QueryRow(w.ctx, "SELECT nextval('lot_numbers')::int").Scan(&into); err != nil {
		t.Fatal(err)
	}
	for at, text := range order {
		c := w.codes[text]
		if _, err := tx.Exec(w.ctx, "SELECT move_codes($1, ARRAY[$2::int], ARRAY[$3::bigint], ARRAY[$4::int], ARRAY[$5::bigint])", w.pool.Key, c.lot, c.seq, into, at); err != nil {
			t.Fatal(err)
		}
		c.lot, c.seq = into, int64(at)
	}
	for _, text := range texts {
		if c := w.codes[text]; taken[text] == (c.issued || c.out != "") {
			t.Fatalf("moved: %v, against %+v", taken[text], *c)
		}
	}
	if len(order) > 0 {
		if _, err := tx.Exec(w.ctx, "SELECT add_lot($1, $2, $3, NULL, NULL, $4, NULL, NULL)", w.pool.Key, into, len(order), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(w.ctx); err != nil {
		t.Fatal(err)
	}
}

func (w *shelfModel) check(t *rapid.T) {
	want := domain.Stock{Total: int64(len(w.codes))}
	for _, c := range w.codes {
		switch {
		case c.issued:
			want.Issued++
		case c.out != "":
			want.Withdrawn++
		default:
			want.Available++
		}
	}
	got, err := w.Stock(w.ctx, w.id)
	if err != nil {
		t.Fatal(err)
	}
	got.Held = 0
	if diff := cmp.Diff(want, got, countsOnly); diff != "" {
		t.Fatalf("stock (-want +got):\n%s", diff)
	}
	if w.asked%4 == 0 {
		w.checkSound(t)
	}
}

func (w *shelfModel) checkSound(t *rapid.T) {
	if broken := w.broken(); len(broken) > 0 {
		t.Fatal(broken)
	}
}

// TestPieces: of a lot in many pieces codes are taken ahead and handed back in a
// moment, though the planner was told last that it is in one.
func TestPieces(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "c", 70_000)
	d.Launch("p")
	d.Exec("VACUUM ANALYZE")
	p := d.Claim(0, "one")
	p.Refill("p", 200)
	d.Exec(`SELECT count(*) FROM take_out((SELECT pool FROM pools), (SELECT array_fill(lot, ARRAY[20000]) FROM lots),
		ARRAY(SELECT g::bigint FROM generate_series(1300, 61299, 3) g))`) // what is free does not begin with pieces
	start := time.Now()
	if runs := p.Refill("p", 2_900); len(runs) < 200 {
		t.Errorf("%d pieces were taken ahead", len(runs))
	}
	d.Exec("SELECT hand_back(pool, NULL) FROM pools")
	if took, pieces := time.Since(start), d.Int("SELECT count(*) FROM runs"); took > 3*time.Second || pieces < 20_000 {
		t.Errorf("%d pieces took %v", pieces, took)
	}
}
