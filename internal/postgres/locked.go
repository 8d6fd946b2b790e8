package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// rollbackTime bounds the wait for a ROLLBACK on a connection that may be gone.
const rollbackTime = time.Second

// CommitLocked decides and commits under locks (protocol: BATCH, with V).
func (s *Store) CommitLocked(ctx context.Context, l issuing.Locking, decide func(issuing.Locked) issuing.Decision) error {
	tx, err := s.conns.Begin(ctx, crashpoint.CommitLocked)
	if err != nil {
		return decisionError(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
		defer cancel()
		_ = tx.Rollback(ctx) // after a COMMIT it does nothing
	}()
	t := lockedBatch{store: s, tx: tx, q: s.q.WithTx(tx), l: l}
	if err := t.lock(ctx); err != nil {
		return decisionError(err)
	}
	for {
		seen, err := t.see(ctx)
		if err != nil {
			return decisionError(err)
		}
		d := decide(seen)
		if len(d.HandBack) > 0 {
			// Their runs are locked already, so this waits for nobody.
			if err := t.q.HandBack(ctx, db.HandBackParams{Ids: d.HandBack}); err != nil {
				return decisionError(err)
			}
			continue
		}
		if d.Plan == nil {
			return nil
		}
		if !t.holds(d.Plan) {
			return issuing.ErrCursor
		}
		if err := t.write(ctx, d); err != nil {
			return decisionError(err)
		}
		crossed, err := t.tellSoldOut(ctx, d.Plan.Evidence)
		if err != nil {
			return decisionError(err)
		}
		err = tx.Commit(ctx)
		if err == nil {
			s.crossings.count(crossed)
		}
		return decisionError(err)
	}
}

// lockedBatch is one transaction of CommitLocked.
type lockedBatch struct {
	store *Store
	tx    pgx.Tx
	q     *db.Queries
	l     issuing.Locking

	locked map[cursor]bool // from lock
}

// cursor is a run that a partition holds.
type cursor struct {
	pool, lot int32
	lo        int64
	partition int32
}

// lock takes every lock of the decision in the one order: names, pools, runs.
// What they guard is read by see, in later statements. Nothing is known to
// hold a name back that no pool bears but its lock, so all names are locked
// where one of them may be missing.
func (t *lockedBatch) lock(ctx context.Context) error {
	var partitions, epochs = make([]int32, 0, len(t.l.Claims)), make([]int64, 0, len(t.l.Claims))
	for _, c := range t.l.Claims {
		partitions, epochs = append(partitions, c.Partition), append(epochs, c.Epoch)
	}
	ids := slices.Concat(t.l.Sure, t.l.Whole)
	var b pgx.Batch
	b.Queue(db.Enter, partitions, epochs)
	b.Queue(db.LockNames, t.l.Sure)
	b.Queue(db.LockPools, ids)
	b.Queue(db.LockRuns, t.l.Whole, partitions, t.l.Cursors).Query(t.lockedRuns)
	if len(t.l.Whole) > 0 {
		b.Queue(db.HandBack, partitions, t.l.Whole)
	}
	return t.tx.SendBatch(ctx, &b).Close()
}

func (t *lockedBatch) lockedRuns(rows pgx.Rows) error {
	t.locked = map[cursor]bool{}
	var c cursor
	_, err := pgx.ForEachRow(rows, []any{&c.pool, &c.lot, &c.lo, &c.partition}, func() error {
		t.locked[c] = true
		return nil
	})
	return err
}

// holds reports whether the cursors that a plan takes from are locked. One that is
// not has been handed back, and may be another's by now, who waits for us: nobody
// may wait for him.
func (t *lockedBatch) holds(plan *domain.Plan) bool {
	return !slices.ContainsFunc(plan.Takes, func(take domain.Take) bool {
		r := take.Run
		return r.Holder != 0 && !t.locked[cursor{r.Lot.Pool, r.Lot.No, r.Lo, r.Holder}]
	})
}

// see reads what the locks guard.
func (t *lockedBatch) see(ctx context.Context) (issuing.Locked, error) {
	seen := issuing.Locked{Shelves: map[string]*domain.Shelf{}}
	var err error
	if seen.Pools, err = poolsByID(ctx, t.q, slices.Concat(t.l.Sure, t.l.Whole)); err != nil {
		return seen, err
	}
	byKey := make(map[int32]*domain.Pool, len(seen.Pools))
	var keys []domain.Key
	for id, pool := range seen.Pools {
		byKey[pool.Key] = pool
		for _, r := range t.l.Requests[id] {
			keys = append(keys, domain.Key{Pool: pool.Key, RequestID: r})
		}
	}
	if seen.Known, seen.Now, err = t.store.lookUp(ctx, t.tx.Conn(), keys, byKey); err != nil {
		return seen, err
	}
	return seen, t.shelves(ctx, &seen)
}

// shelves lays out the free codes of the whole pools.
func (t *lockedBatch) shelves(ctx context.Context, seen *issuing.Locked) error {
	if len(t.l.Whole) == 0 {
		return nil
	}
	byKey, needs := map[int32]*domain.Shelf{}, map[int32]int{}
	for _, id := range t.l.Whole {
		s := &domain.Shelf{Pool: seen.Pools[id], Locked: true, Whole: true}
		seen.Shelves[id] = s
		if s.Pool != nil {
			byKey[s.Pool.Key], needs[s.Pool.Key] = s, len(t.l.Requests[id])
		}
	}
	l := t.store.shelving(t.q, seen.Now)
	if err := l.free(ctx, byKey, needs); err != nil {
		return err
	}
	for key, s := range byKey {
		if s.Pool.MultiUse {
			if err := l.usable(ctx, s, needs[key]); err != nil {
				return err
			}
		}
	}
	if err := t.others(ctx, l, byKey, needs); err != nil {
		return err
	}
	return t.turning(ctx, seen)
}

// others counts what the shelves do not lay out: what partitions hold, and where
// a shelf is short what may be issued later only.
func (t *lockedBatch) others(ctx context.Context, l shelving, shelves map[int32]*domain.Shelf, needs map[int32]int) error {
	held, err := t.q.HeldOf(ctx, db.HeldOfParams{Pools: slices.Collect(maps.Keys(shelves)), Now: stamp(l.now)})
	if err != nil {
		return err
	}
	for _, h := range held {
		shelves[h.Pool].Others = h.Held
	}
	for key, s := range shelves {
		if has(s.Runs, needs[key]) {
			continue
		}
		if err := l.later(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether runs have n codes.
func has(runs []*domain.Run, n int) bool {
	left := int64(n)
	for _, r := range runs {
		if left <= 0 {
			break
		}
		left -= r.Usable()
	}
	return left <= 0
}

// turning finds the ample pools whose free stock is below the scarce mark.
func (t *lockedBatch) turning(ctx context.Context, seen *issuing.Locked) error {
	var ample []int32
	for _, id := range t.l.Whole {
		if p := seen.Pools[id]; p != nil && p.Mode == domain.Ample && !p.MultiUse {
			ample = append(ample, p.Key)
		}
	}
	if len(ample) == 0 {
		return nil
	}
	var err error
	seen.Turning, err = t.q.Turning(ctx, ample)
	return err
}

// write loads the texts of codes taken from the free stock, which were not at
// hand, and makes the plan true.
func (t *lockedBatch) write(ctx context.Context, d issuing.Decision) error {
	if err := loadTaken(ctx, t.q, d.Plan); err != nil {
		return err
	}
	params, err := commitParams(d.Entries, d.Plan)
	if err != nil {
		return err
	}
	return t.q.CommitBatches(ctx, params)
}

// loadTaken loads the texts of codes that a plan takes from free runs. Between those
// of a lot with blocked codes may lie many that are passed over: they are loaded one
// by one.
func loadTaken(ctx context.Context, q *db.Queries, plan *domain.Plan) error {
	var free []stretch
	place := make([]int, len(plan.Takes)) // in free, from 1
	for i, take := range plan.Takes {
		if take.Run.Texts == nil && len(take.Run.Lot.Blocked) == 0 {
			free = append(free, stretch{lot: take.Run.Lot, from: take.Run.Next, till: take.Run.Next + take.N})
			place[i] = len(free)
		}
	}
	var alone []*domain.Issuance
	first := len(free)
	for _, issue := range plan.Issues {
		if run := plan.Takes[issue.Take].Run; run.Texts == nil && len(run.Lot.Blocked) > 0 {
			n := issue.Issuance.Seq
			free = append(free, stretch{lot: run.Lot, from: n, till: n + 1})
			alone = append(alone, issue.Issuance)
		}
	}
	loaded, err := texts(ctx, q, free)
	if err != nil {
		return err
	}
	for _, issue := range plan.Issues {
		if at := place[issue.Take]; at > 0 {
			issue.Issuance.Code = loaded[at-1][issue.At]
		}
	}
	for i, issue := range alone {
		issue.Code = loaded[first+i][0]
	}
	return nil
}

// tellSoldOut tells of pools that were found to have nothing left, the first time
// that they are: whoever hears "exhausted" can read of it at once.
func (t *lockedBatch) tellSoldOut(ctx context.Context, found []domain.Evidence) (crossed []domain.Crossing, err error) {
	var pools []int32
	for _, e := range found {
		if e.Left == 0 {
			pools = append(pools, e.Pool)
		}
	}
	if len(pools) == 0 {
		return nil, nil
	}
	if pools, err = t.q.UntoldSoldOut(ctx, pools); err != nil {
		return nil, err
	}
	var all []domain.Event
	for _, pool := range pools {
		judged, events, err := t.store.judge(ctx, t.q, pool)
		if err != nil {
			return nil, err
		}
		crossed, all = append(crossed, judged.Crossed...), append(all, events...)
	}
	return crossed, addEvents(ctx, t.q, all...)
}
