package postgres

import (
	"context"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// RollBack rolls a redemption back, under its code's lock. first: it was not
// before.
func (s *Store) RollBack(ctx context.Context, who domain.Actor, poolID, redemptionID, traceparent string) (done domain.Redemption, first bool, err error) {
	err = s.change(ctx, func(q *db.Queries, maybe bool) error {
		gate, err := q.Gate(ctx)
		switch {
		case err != nil:
			return err
		case gate != "":
			return errGate
		}
		if done, err = redemption(ctx, q, poolID, redemptionID); err != nil {
			return err
		}
		if !done.Redeemed() {
			return domain.ErrNotRedeemed
		}
		if done.Known {
			if err := q.LockCodes(ctx, db.LockCodesParams{Pools: []int32{done.Pool.Key}, Lots: []int32{done.Place.Lot}, Seqs: []int64{done.Place.Seq}}); err != nil {
				return err
			}
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		moved, err := q.RollBackRedemption(ctx, db.RollBackRedemptionParams{Pool: done.Pool.Key, ID: redemptionID, At: now, Actor: string(who)})
		if err != nil {
			return err
		}
		first = moved || first && maybe
		if !moved {
			done, err = redemption(ctx, q, poolID, redemptionID)
			return err
		}
		done.RolledBackAt = fromStamp(now)
		e := done.RolledBackEvent()
		e.Traceparent = traceparent
		return addEvents(ctx, q, e)
	})
	return done, first && err == nil, err
}

// Redemption returns the remembered answer to a redemption.
func (s *Store) Redemption(ctx context.Context, poolID, redemptionID string) (domain.Redemption, error) {
	r, err := redemption(ctx, s.q, poolID, redemptionID)
	return r, asked(err)
}

func redemption(ctx context.Context, q *db.Queries, poolID, redemptionID string) (domain.Redemption, error) {
	key := domain.RedemptionKey{PoolID: poolID, RedemptionID: redemptionID}
	c := court{q: q, asks: []*domain.RedemptionRequest{{PoolID: poolID, RedemptionID: redemptionID}}}
	f := &domain.RedemptionFacts{First: map[domain.RedemptionKey]*domain.Redemption{}, Conflicts: map[domain.ConflictKey]*domain.Redemption{}}
	pools, err := q.PoolsByID(ctx, []string{poolID})
	if err != nil {
		return domain.Redemption{}, err
	}
	c.pools = map[string]*domain.Pool{}
	for _, row := range pools {
		pool, err := poolOf(row.Pool, row.CampaignID)
		if err != nil {
			return domain.Redemption{}, err
		}
		c.pools[poolID] = &pool
	}
	if err := c.firstAnswers(ctx, f); err != nil {
		return domain.Redemption{}, err
	}
	if err := c.refusals(ctx, f); err != nil {
		return domain.Redemption{}, err
	}
	if f.First[key] == nil {
		return domain.Redemption{}, domain.ErrNotFound
	}
	return *f.First[key], nil
}

// PruneRedemptions drops rejections that need not be remembered any more, and
// returns how many.
func (s *Store) PruneRedemptions(ctx context.Context) (n int64, err error) {
	for _, drop := range []func(context.Context, int32) (int64, error){s.q.PruneRedemptions, s.q.PruneRefusedRedemptions} {
		if err := inPieces(rejectionsAtOnce, func() (int64, error) {
			dropped, err := drop(ctx, rejectionsAtOnce)
			n += dropped
			return dropped, err
		}); err != nil {
			return n, err
		}
	}
	return n, nil
}

// rejectionsAtOnce bounds a transaction that drops some.
const rejectionsAtOnce = 20_000
