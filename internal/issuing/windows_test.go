package issuing_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
)

var windows = flag.Int("windows", 12_000, "codes, each with a window of its own, that TestWindows issues; 200000 for the figure that is published")

// dated is codes that share a window. A zero time is an open end.
type dated struct {
	codes            int64
	start, end, till time.Time
	lot              int32 // set by FillDated
}

// orForever makes an open end comparable.
func orForever(t time.Time) time.Time {
	if t.IsZero() {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return t
}

// FillDated lays a lot down for each, in their order.
func (w *world) FillDated(id string, all []dated) {
	w.Helper()
	ctx := context.Background()
	n := len(all)
	lots, none, sizes := make([]int32, n), make([]int64, n), make([]int64, n)
	starts, ends, tills := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	bound := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for i := range all {
		d := &all[i]
		sizes[i], starts[i], ends[i], tills[i] = d.codes, bound(d.start), bound(d.end), bound(d.till)
	}
	err := pgx.BeginFunc(ctx, w.sql, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT nextval('lot_numbers')::int FROM generate_series(1, $1::int)", n)
		if err != nil {
			return err
		}
		if lots, err = pgx.CollectRows(rows, pgx.RowTo[int32]); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO codes (pool, lot, seq, code)
			SELECT p.pool, l.lot, s, $1 || '-' || l.lot || '-' || s
			  FROM pools p, unnest($2::int[], $3::bigint[]) AS l(lot, size), generate_series(0, l.size - 1) s WHERE p.id = $1`, id, lots, sizes); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `SELECT add_codes(pool, NULL, clock_timestamp(), $2, $3, $4, $5, $6, $7, $8) FROM pools WHERE id = $1`,
			id, lots, none, sizes, starts, ends, make([]*time.Time, n), tills)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	for i := range all {
		all[i].lot = lots[i]
	}
}

// scattered are n windows of one code, that end one after the other, in an order
// that has nothing to do with it.
func scattered(n int) []dated {
	first := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Microsecond)
	all := make([]dated, n)
	for i := range all {
		at := int64(i) * 7919 % int64(n) // a prime: every one once, unless n is its multiple
		all[i] = dated{codes: 1, end: first.Add(time.Duration(at) * time.Second), till: first.Add(1000 * time.Hour)}
	}
	return all
}

// sooner is the order of issuing, said again.
func sooner(a, b dated) int {
	return cmp.Or(orForever(a.end).Compare(orForever(b.end)), orForever(a.till).Compare(orForever(b.till)), cmp.Compare(a.lot, b.lot))
}

// told is what one batch came to, as its requests' answers tell.
type told struct {
	at   time.Time
	lots []int32
	no   map[domain.Reason]int
}

// batches puts the answers together again by the time of their decision, in its
// order, which is that of the commits where they hold one lock.
func (w *world) batches() []told {
	byTime := map[time.Time]*told{}
	for n := range w.logs {
		for at := range int64(len(w.logs[n])) {
			o := w.answers[n][at]
			when := o.DecidedAt
			if o.Issue != nil {
				when = o.Issue.IssuedAt
			}
			b := byTime[when]
			if b == nil {
				b = &told{at: when, no: map[domain.Reason]int{}}
				byTime[when] = b
			}
			if o.Issue != nil {
				b.lots = append(b.lots, o.Issue.Lot)
			} else {
				b.no[o.Reason]++
			}
		}
	}
	var all []told
	for _, b := range byTime {
		all = append(all, *b)
	}
	slices.SortFunc(all, func(a, b told) int { return a.at.Compare(b.at) })
	return all
}

// Every code of a scarce pool has a window of its own: some are not open yet, some
// close meanwhile. Each batch takes exactly those that expire first, and no refusal
// is wrong.
func TestWindowsScarce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 4000
	id := "scarce"
	w.Pool(id, 0)
	all := scattered(n)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range all {
		d := &all[i]
		switch i % 8 {
		case 0: // opens meanwhile, and would be among the first
			d.start, d.end = now.Add(time.Duration(i)*time.Millisecond), now.Add(time.Hour+time.Duration(i)*time.Second)
		case 1: // closes meanwhile
			d.end = now.Add(300*time.Millisecond + time.Duration(i)*time.Millisecond/2)
		case 2: // is of no use meanwhile
			d.end, d.till = time.Time{}, now.Add(300*time.Millisecond+time.Duration(i)*time.Millisecond/2)
		case 3: // tells by the second date only
			d.end, d.till = all[3].end, now.Add(time.Duration(2*n-i)*time.Hour)
		}
	}
	w.FillDated(id, all)
	_, parts := crew(w, 3, 12)
	// Until it is empty, and for as long as some may still open.
	together(parts, func(p *part) error {
		for k := 0; ; k++ {
			w.Publish(p.n, asks(id, fmt.Sprintf("%d-%d", p.n, k), 10)...)
			if err := p.Work(10); err != nil {
				return err
			}
			w.mu.Lock()
			o := w.answers[p.n][p.at-1]
			w.mu.Unlock()
			if o.Reason == domain.PoolExhausted {
				return nil
			}
		}
	})

	left := map[int32]dated{}
	for _, d := range all {
		left[d.lot] = d
	}
	order := slices.Clone(all)
	slices.SortFunc(order, sooner)
	issued, lapsed, opened := 0, 0, 0
	for _, b := range w.batches() {
		fits := 0
		var want []int32
		for _, d := range order {
			if _, ok := left[d.lot]; !ok {
				continue
			}
			if !orForever(d.end).After(b.at) || !orForever(d.till).After(b.at) {
				delete(left, d.lot)
				lapsed++
				continue
			}
			if d.start.After(b.at) {
				continue
			}
			if fits++; fits <= len(b.lots) {
				want = append(want, d.lot)
			}
		}
		got := slices.Clone(b.lots)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("the batch of %v took %d codes that are not the first to expire", b.at, len(got))
		}
		for _, lot := range got {
			if !left[lot].start.IsZero() {
				opened++
			}
			delete(left, lot)
		}
		issued += len(got)
		if n := b.no[domain.PoolExhausted]; n > 0 && len(left) > 0 {
			t.Errorf("%d refused at %v as the pool was exhausted, with %d codes left", n, b.at, len(left))
		}
		if n := b.no[domain.NoCodeInWindow]; n > 0 && (len(left) == 0 || fits > len(b.lots)) {
			t.Errorf("%d refused at %v for no code in its window, with %d left, of which %d might have been issued", n, b.at, len(left), fits-len(b.lots))
		}
	}
	t.Logf("%d issued, of which %d had not been open at first, %d lapsed", issued, opened, lapsed)
	if issued+lapsed != n || opened == 0 || lapsed == 0 {
		t.Errorf("got %d issued and %d lapsed of %d, %d opened meanwhile", issued, lapsed, n, opened)
	}
	w.ownOrder(id, all)
	w.Check()
}

// ownOrder: while no code comes free, what a batch of one partition gets is in order.
func (w *world) ownOrder(id string, all []dated) {
	w.Helper()
	byLot := map[int32]dated{}
	for _, d := range all {
		byLot[d.lot] = d
	}
	for n := range w.logs {
		var last *domain.Issuance
		for at := range int64(len(w.logs[n])) {
			i := w.answers[n][at].Issue
			if i == nil || i.Pool.ID != id {
				continue
			}
			if last != nil && last.IssuedAt.Equal(i.IssuedAt) && sooner(byLot[last.Lot], byLot[i.Lot]) > 0 {
				w.Errorf("partition %d, offset %d: a code before one that expires sooner, of the same batch", n, at)
			}
			last = i
		}
	}
}

// A pool in which every code has a window of its own, sold out. Though it has many
// codes, it is allocated from inside its batches: nothing is issued too early.
func TestWindows(t *testing.T) {
	w := newWorld(t)
	id := "many"
	w.Pool(id, 0)
	all := scattered(*windows)
	for some := range slices.Chunk(all, 10_000) {
		w.FillDated(id, some)
	}
	w.sellOut(id, all)
}

// Ten codes a window are worth to be taken ahead. What is issued too early is no
// more than what buffers hold.
func TestWindowsAmple(t *testing.T) {
	w := newWorld(t)
	id := "ample"
	w.Pool(id, 0)
	all := scattered(*windows / 10)
	for i := range all {
		all[i].codes = 10
	}
	w.FillDated(id, all)
	if mode := w.Int("SELECT count(*) FROM pools WHERE mode = 'ample'"); mode != 1 {
		t.Error("the pool is not ample")
	}
	w.sellOut(id, all)
}

// sellOut issues a pool out through all partitions and holds the order against what
// buffers may do to it: nothing where there are none.
func (w *world) sellOut(id string, all []dated) {
	w.Helper()
	processes, parts := crew(w, 1, 12)
	codes := 0
	for _, d := range all {
		codes += int(d.codes)
	}
	const more = 1200
	for k := range codes + more {
		w.Publish(k%12, ask(id, fmt.Sprint("r", k)))
	}
	began := time.Now()
	together(parts, func(p *part) error { return p.Work(500) })
	took := time.Since(began)
	if issued := w.Count("issued"); issued != codes {
		w.Errorf("got %d issued, want %d", issued, codes)
	}
	if refused := w.Count("pool_exhausted"); refused != more {
		w.Errorf("got %d refused, want %d", refused, more)
	}
	early, refills := w.displaced(all), processes[0].Metric("promopool_refills_total", "")
	w.Logf("%d codes, %d windows: %v, %.0f/s, %v refills, codes issued before %d at most that expire sooner",
		codes, len(all), took.Round(time.Millisecond), float64(codes+more)/took.Seconds(), refills, early)
	// A partition holds half a grant when the next comes, which is at most a 24th of
	// what was left.
	most := codes / 24 * 3 / 2 * 12
	if refills == 0 {
		most = 0
	}
	if early > most {
		w.Errorf("a code was issued before %d that expire sooner, want at most the %d that buffers hold", early, most)
	}
	if len(all) <= 20_000 {
		w.ownOrder(id, all)
		w.Check()
	}
}

// displaced is the most codes that expire sooner than one and were issued later.
func (w *world) displaced(all []dated) int {
	rank, before := map[int32]int{}, map[int32]int{}
	order := slices.Clone(all)
	slices.SortFunc(order, sooner)
	codes := 0
	for i, d := range order {
		rank[d.lot], before[d.lot] = i, codes
		codes += int(d.codes)
	}
	// A tree of how many are issued, by rank of their lot.
	tree := make([]int, len(all)+1)
	issued := func(below int) (n int) {
		for i := below; i > 0; i -= i & -i {
			n += tree[i]
		}
		return n
	}
	most := 0
	for _, b := range w.batches() {
		for _, lot := range b.lots {
			for i := rank[lot] + 1; i < len(tree); i += i & -i {
				tree[i]++
			}
		}
		for _, lot := range b.lots {
			most = max(most, before[lot]-issued(rank[lot]))
		}
	}
	return most
}

// A pool of which no code is open yet says so at once, however many windows there
// are, and issues when some open.
func TestWindowsNotOpen(t *testing.T) {
	w := newWorld(t)
	id := "later"
	w.Pool(id, 0)
	all := scattered(*windows)
	open := time.Now().UTC().Truncate(time.Microsecond).Add(time.Hour)
	for i := range all {
		all[i].start = open
	}
	for some := range slices.Chunk(all, 10_000) {
		w.FillDated(id, some)
	}
	_, parts := crew(w, 1, 12)
	began := time.Now()
	for range 3 {
		for n := range 12 {
			w.Publish(n, asks(id, fmt.Sprint("no", n), 100)...)
		}
		together(parts, func(p *part) error { return p.Work(500) })
	}
	took := time.Since(began)
	if n := w.Count("no_code_in_window"); n != 3600 {
		t.Errorf("got %d refused, want 3600", n)
	}
	t.Logf("%d windows, none open: %v, %.0f refused/s", *windows, took.Round(time.Millisecond), 3600/took.Seconds())
	w.Fill(id, 24)
	for n := range 12 {
		w.Publish(n, asks(id, fmt.Sprint("yes", n), 3)...)
	}
	together(parts, func(p *part) error { return p.Work(500) })
	if n := w.Count("issued"); n != 24 {
		t.Errorf("got %d issued, want 24", n)
	}
	if *windows <= 20_000 {
		w.Check()
	}
}
