package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// rollbackTime bounds the wait for a ROLLBACK on a connection that may be gone.
const rollbackTime = time.Second

// CommitLocked decides and commits under locks (protocol: BATCH, with V).
func (s *Store) CommitLocked(ctx context.Context, l issuing.Locking, decide func(issuing.Locked) issuing.Decision) error {
	tx, err := s.pool.Begin(ctx)
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
	b.Queue(db.LockRuns, t.l.Whole, partitions, t.l.Cursors)
	if len(t.l.Whole) > 0 {
		b.Queue(db.HandBack, partitions, t.l.Whole)
	}
	return t.tx.SendBatch(ctx, &b).Close()
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

// shelves lays out the free codes of the whole pools, no more than are asked for:
// a pool may have very many windows.
func (t *lockedBatch) shelves(ctx context.Context, seen *issuing.Locked) error {
	if len(t.l.Whole) == 0 {
		return nil
	}
	byKey := map[int32]*domain.Shelf{}
	arg := db.FirstFreeParams{Now: stamp(seen.Now)}
	var keys []int32
	for _, id := range t.l.Whole {
		s := &domain.Shelf{Pool: seen.Pools[id], Locked: true, Whole: true}
		seen.Shelves[id] = s
		if s.Pool == nil {
			continue
		}
		byKey[s.Pool.Key] = s
		keys = append(keys, s.Pool.Key)
		if s.Pool.Open(seen.Now) {
			arg.Pools, arg.Needs = append(arg.Pools, s.Pool.Key), append(arg.Needs, int32(len(t.l.Requests[id])))
		}
	}
	rows, err := t.q.FirstFree(ctx, arg)
	if err != nil {
		return err
	}
	lots := t.store.lots(t.q)
	for _, r := range rows {
		lot, err := lots.of(ctx, r.Lot)
		if err != nil {
			return err
		}
		s := byKey[r.Lot.Pool]
		s.Runs = append(s.Runs, &domain.Run{Lot: lot, Lo: r.Lo, Next: r.Next, Hi: r.Hi, GrantNo: r.GrantNo})
	}
	if err := t.others(ctx, seen, keys, byKey); err != nil {
		return err
	}
	return t.turning(ctx, seen)
}

// others counts what the shelves do not lay out: what partitions hold, and where
// a shelf is short what may be issued later only.
func (t *lockedBatch) others(ctx context.Context, seen *issuing.Locked, keys []int32, shelves map[int32]*domain.Shelf) error {
	held, err := t.q.HeldOf(ctx, db.HeldOfParams{Pools: keys, Now: stamp(seen.Now)})
	if err != nil {
		return err
	}
	for _, h := range held {
		shelves[h.Pool].Others = h.Held
	}
	for key, s := range shelves {
		if has(s.Runs, len(t.l.Requests[s.Pool.ID])) {
			continue
		}
		if s.Later, err = t.q.FreeLater(ctx, db.FreeLaterParams{Pool: key, Now: stamp(seen.Now), Closed: !s.Pool.Open(seen.Now)}); err != nil {
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
		left -= r.Left()
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
	var free []stretch
	place := make([]int, len(d.Plan.Takes)) // in free, from 1
	for i, take := range d.Plan.Takes {
		if take.Run.Texts == nil {
			free = append(free, stretch{lot: take.Run.Lot, from: take.Run.Next, till: take.Run.Next + take.N})
			place[i] = len(free)
		}
	}
	loaded, err := texts(ctx, t.q, free)
	if err != nil {
		return err
	}
	for _, issue := range d.Plan.Issues {
		if at := place[issue.Take]; at > 0 {
			issue.Issuance.Code = loaded[at-1][issue.At]
		}
	}
	params, err := commitParams(d.Entries, d.Plan)
	if err != nil {
		return err
	}
	return t.q.CommitBatches(ctx, params)
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
