package postgres

import (
	"context"
	"maps"
	"slices"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// RollBack rolls a redemption back, under its code's lock. first: it was not
// before.
func (s *Store) RollBack(ctx context.Context, who domain.Actor, poolID, redemptionID, traceparent string) (done domain.Redemption, first bool, err error) {
	err = s.change(ctx, crashpoint.RollBack, func(q *db.Queries, maybe bool) error {
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
		// As it is by now: its customer may have been erased since it was read, and
		// is not until we are done, for the row is ours.
		if done, err = redemption(ctx, q, poolID, redemptionID); err != nil || !moved {
			return err
		}
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

// CloseGateUnless stops the whole service unless each of the redemptions is stored
// as one that succeeded: the topics tell of them.
func (s *Store) CloseGateUnless(ctx context.Context, redeemed []domain.RedemptionKey, reason string) error {
	pools := map[string]int32{}
	for _, k := range redeemed {
		pools[k.PoolID] = 0
	}
	rows, err := s.q.PoolsByID(ctx, slices.Sorted(maps.Keys(pools)))
	if err != nil {
		return asked(err)
	}
	for _, row := range rows {
		pools[row.Pool.ID] = row.Pool.Pool
	}
	var arg db.FirstAnswersParams
	all := map[domain.RedemptionKey]bool{}
	for _, k := range redeemed {
		if !all[k] {
			all[k] = true
			arg.Pools, arg.Ids = append(arg.Pools, pools[k.PoolID]), append(arg.Ids, k.RedemptionID)
		}
	}
	known, err := s.q.FirstAnswers(ctx, arg)
	if err != nil {
		return asked(err)
	}
	known = slices.DeleteFunc(known, func(r db.FirstAnswersRow) bool { return r.Reason != int32(domain.NotRejected) })
	if len(known) == len(all) {
		return nil
	}
	return asked(s.conns.One(ctx, crashpoint.CloseGateFor, func(ctx context.Context, q *db.Queries) error { return q.CloseGateFor(ctx, reason) }))
}

// mostRedemptions bounds what is told of those of one code.
const mostRedemptions = 100

// redemptionsOf adds to a code's story how it was redeemed.
func redemptionsOf(ctx context.Context, q *db.Queries, pool *domain.Pool, at domain.Place, story *domain.CodeStory) error {
	rows, err := q.RedemptionsOf(ctx, db.RedemptionsOfParams{Pool: pool.Key, Lot: &at.Lot, Seq: &at.Seq, AtMost: mostRedemptions})
	if err != nil {
		return err
	}
	for _, row := range rows {
		r := domain.Redemption{
			RedemptionRequest: domain.RedemptionRequest{PoolID: pool.ID, RedemptionID: row.RedemptionID, CustomerID: row.CustomerID, OrderID: row.OrderID},
			Pool:              pool, Place: at, Known: true, DecidedAt: fromStamp(row.DecidedAt), Processing: domain.Internal, RolledBackAt: fromStamp(row.RolledBackAt),
		}
		if row.External {
			r.Processing = domain.External
		}
		story.Redemptions = append(story.Redemptions, r)
		story.History = append(story.History, domain.CodeMoment{At: r.DecidedAt, Action: domain.CodeWasRedeemed, RedemptionID: r.RedemptionID})
		if r.RolledBackAt.IsZero() {
			story.Redeemed++
			continue
		}
		story.History = append(story.History, domain.CodeMoment{
			At: r.RolledBackAt, Action: domain.CodeRolledBack, Actor: domain.Actor(row.RolledBackBy), RedemptionID: r.RedemptionID,
		})
	}
	if pool.MultiUse {
		story.Redeemed, err = q.UsesOf(ctx, db.UsesOfParams{Pool: pool.Key, Lot: at.Lot, Seq: at.Seq})
		return err
	}
	story.State = redeemedState(story.State, story.Redeemed > 0)
	return nil
}

// redeemedState is the state of a single-use code, which so far is told without
// its redemptions.
func redeemedState(state domain.CodeState, redeemed bool) domain.CodeState {
	switch {
	case state == domain.CodeBlocked:
		return state
	case redeemed:
		return domain.CodeRedeemed
	case state == domain.CodeRedeemed: // and rolled back
		return domain.CodeWithdrawn
	}
	return state
}

// markRedeemed says of codes of a list which are redeemed.
func (s *Store) markRedeemed(ctx context.Context, pool *domain.Pool, codes []domain.CodeRow) error {
	if pool.MultiUse || len(codes) == 0 {
		return nil
	}
	arg := db.RedeemedOfParams{Pool: pool.Key}
	for i := range codes {
		arg.Lots, arg.Seqs = append(arg.Lots, codes[i].Lot), append(arg.Seqs, codes[i].Seq)
	}
	redeemed, err := s.q.RedeemedOf(ctx, arg)
	if err != nil {
		return err
	}
	is := make([]bool, len(codes))
	for _, idx := range redeemed {
		is[idx-1] = true
	}
	for i := range codes {
		codes[i].State = redeemedState(codes[i].State, is[i])
	}
	return nil
}

// PruneRedemptions drops rejections that need not be remembered any more, and
// returns how many.
func (s *Store) PruneRedemptions(ctx context.Context) (n int64, err error) {
	for _, drop := range []struct {
		at   *crashpoint.Point
		some func(q *db.Queries, ctx context.Context, atMost int32) (int64, error)
	}{
		{crashpoint.PruneRedemptions, (*db.Queries).PruneRedemptions},
		{crashpoint.PruneRefused, (*db.Queries).PruneRefusedRedemptions},
	} {
		if err := inPieces(rejectionsAtOnce, func() (int64, error) {
			dropped, err := answered(ctx, s.conns, drop.at, func(ctx context.Context, q *db.Queries) (int64, error) { return drop.some(q, ctx, rejectionsAtOnce) })
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
