package simulation

import (
	"cmp"
	"slices"
	"time"

	"promopool/internal/domain"
)

// The rows of the model. They are values: whoever changes one puts a changed copy.

type poolRow struct {
	domain.Pool
	grantNo int64
}

type lotKey struct{ pool, no int32 }

func (a lotKey) compare(b lotKey) int {
	return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.no, b.no))
}

type lotRow struct {
	lotKey
	window                       domain.Window
	size, done, moved, withdrawn int64
	revision                     int64
	texts                        []string // by seq; of codes that have moved ""
}

type runKey struct {
	pool, lot int32
	lo        int64
}

func (a runKey) compare(b runKey) int {
	return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.lot, b.lot), cmp.Compare(a.lo, b.lo))
}

type runRow struct {
	runKey
	next, hi int64
	holder   int32 // the partition's key; 0: free
	grantNo  int64
}

func (r runRow) left() int64 { return r.hi - r.next }

type place struct {
	pool, lot int32
	seq       int64
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.lot, b.lot), cmp.Compare(a.seq, b.seq))
}

type issueRow struct {
	place
	request, customer string
	context           string
	at, from, until   time.Time
}

type partitionRow struct {
	key        int32
	stream     string
	number     int
	epoch      int64
	worker     string
	batchNo    int64
	nextOffset int64
}

type batchKey struct {
	partition int32
	first     int64
}

type batchRow struct {
	batchKey
	end      int64
	at       time.Time
	verdicts []byte
	evidence []domain.Evidence
}

// table is the committed rows of one kind.
type table[K comparable, V any] map[K]V

// overlay is a table as a transaction sees it: what others have committed, by now,
// and what it has written itself.
type overlay[K comparable, V any] struct {
	base table[K, V]
	own  map[K]*V // nil: deleted
}

func (o *overlay[K, V]) get(k K) (v V, ok bool) {
	if own, ok := o.own[k]; ok {
		if own == nil {
			return v, false
		}
		return *own, true
	}
	v, ok = o.base[k]
	return v, ok
}

func (o *overlay[K, V]) put(k K, v V) {
	if o.own == nil {
		o.own = map[K]*V{}
	}
	o.own[k] = &v
}

func (o *overlay[K, V]) remove(k K) {
	if o.own == nil {
		o.own = map[K]*V{}
	}
	o.own[k] = nil
}

// where returns the rows that fit, in the order of the comparison.
func (o *overlay[K, V]) where(fits func(V) bool, order func(a, b V) int) []V {
	var all []V
	for k, v := range o.base {
		if _, changed := o.own[k]; !changed && fits(v) {
			all = append(all, v)
		}
	}
	for _, v := range o.own {
		if v != nil && fits(*v) {
			all = append(all, *v)
		}
	}
	slices.SortFunc(all, order)
	return all
}

func (o *overlay[K, V]) commit() {
	for k, v := range o.own {
		if v == nil {
			delete(o.base, k)
		} else {
			o.base[k] = *v
		}
	}
}

// tables are the committed state.
type tables struct {
	pools      table[int32, poolRow]
	lots       table[lotKey, lotRow]
	runs       table[runKey, runRow]
	issued     table[place, issueRow]
	requests   table[domain.Key, place]
	partitions table[int32, partitionRow]
	batches    table[batchKey, batchRow]
	withdrawn  table[place, bool]
	gate       string
}

func newTables() *tables {
	return &tables{
		pools: table[int32, poolRow]{}, lots: table[lotKey, lotRow]{}, runs: table[runKey, runRow]{},
		issued: table[place, issueRow]{}, requests: table[domain.Key, place]{},
		partitions: table[int32, partitionRow]{}, batches: table[batchKey, batchRow]{}, withdrawn: table[place, bool]{},
	}
}

// tx is what a transaction has written and not committed.
type tx struct {
	pools      overlay[int32, poolRow]
	lots       overlay[lotKey, lotRow]
	runs       overlay[runKey, runRow]
	issued     overlay[place, issueRow]
	requests   overlay[domain.Key, place]
	partitions overlay[int32, partitionRow]
	batches    overlay[batchKey, batchRow]
	withdrawn  overlay[place, bool]
}

func (t *tables) begin() *tx {
	return &tx{
		pools: overlay[int32, poolRow]{base: t.pools}, lots: overlay[lotKey, lotRow]{base: t.lots}, runs: overlay[runKey, runRow]{base: t.runs},
		issued: overlay[place, issueRow]{base: t.issued}, requests: overlay[domain.Key, place]{base: t.requests},
		partitions: overlay[int32, partitionRow]{base: t.partitions}, batches: overlay[batchKey, batchRow]{base: t.batches},
		withdrawn: overlay[place, bool]{base: t.withdrawn},
	}
}

func (x *tx) commit() {
	x.pools.commit()
	x.lots.commit()
	x.runs.commit()
	x.issued.commit()
	x.requests.commit()
	x.partitions.commit()
	x.batches.commit()
	x.withdrawn.commit()
}

func byRunKey(a, b runRow) int { return a.compare(b.runKey) }

// runsOf are the runs of a pool that fit, in the order of their key.
func (x *tx) runsOf(pool int32, fits func(runRow) bool) []runRow {
	return x.runs.where(func(r runRow) bool { return r.pool == pool && fits(r) }, byRunKey)
}

// free are the runs of a pool with codes that nobody holds and whose windows fit,
// first expiring first.
func (x *tx) free(pool int32, fits func(*domain.Window) bool) []runRow {
	runs := x.runsOf(pool, func(r runRow) bool {
		if r.holder != 0 || r.next >= r.hi {
			return false
		}
		l, _ := x.lots.get(lotKey{pool, r.lot})
		return fits(&l.window)
	})
	slices.SortStableFunc(runs, func(a, b runRow) int {
		v, _ := x.lots.get(lotKey{pool, a.lot})
		w, _ := x.lots.get(lotKey{pool, b.lot})
		return cmp.Or(compareEnds(v.window.IssueEnd, w.window.IssueEnd), compareEnds(v.window.AvailableTill, w.window.AvailableTill), a.compare(b.runKey))
	})
	return runs
}

// compareEnds orders times of which zero is never.
func compareEnds(a, b time.Time) int {
	switch {
	case a.Equal(b):
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

// lapsed and open are the model's own reading of a window.
func lapsed(w *domain.Window, now time.Time) bool {
	return compareEnds(w.IssueEnd, now) <= 0 && !w.IssueEnd.IsZero() || compareEnds(w.AvailableTill, now) <= 0 && !w.AvailableTill.IsZero()
}

func open(w *domain.Window, now time.Time) bool {
	return !lapsed(w, now) && w.IssueStart.Compare(now) <= 0
}

// freeStock is what nobody holds of the pool and has not lapsed.
func (x *tx) freeStock(pool int32, now time.Time) (n int64) {
	for _, r := range x.free(pool, func(w *domain.Window) bool { return !lapsed(w, now) }) {
		n += r.left()
	}
	return n
}

// scattered: the free stock begins with small pieces.
func (x *tx) scattered(pool int32, now time.Time) bool {
	pieces, n := 0, int64(0)
	for _, r := range x.free(pool, func(w *domain.Window) bool { return !lapsed(w, now) }) {
		if pieces == 100 {
			break
		}
		pieces, n = pieces+1, n+r.left()
	}
	return pieces == 100 && n < 800
}

// fold adds the codes of finished runs to their lot.
func (x *tx) fold(r runRow) {
	l, _ := x.lots.get(lotKey{r.pool, r.lot})
	l.done += r.hi - r.lo
	x.lots.put(l.lotKey, l)
	x.runs.remove(r.runKey)
}

// tidy folds the finished free runs of lots and joins their free neighbours.
func (x *tx) tidy(pool int32, lots map[int32]bool, locked func(runKey) bool) {
	for _, r := range x.runsOf(pool, func(r runRow) bool { return lots[r.lot] && r.holder == 0 && r.next == r.hi }) {
		if !locked(r.runKey) {
			x.fold(r)
		}
	}
	var head, before *runRow
	for _, r := range x.runsOf(pool, func(r runRow) bool { return lots[r.lot] && r.holder == 0 }) {
		if before != nil && before.lot == r.lot && before.hi == r.lo && r.next == r.lo {
			head.hi = r.hi
			x.runs.put(head.runKey, *head)
			x.runs.remove(r.runKey)
			before = &r
			continue
		}
		head, before = &r, &r
	}
}
