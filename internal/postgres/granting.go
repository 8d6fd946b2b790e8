package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// PoolsByID reads pools; ids without a pool are absent.
func (s *Store) PoolsByID(ctx context.Context, ids []string) (map[string]*domain.Pool, error) {
	return poolsByID(ctx, s.q, ids)
}

func poolsByID(ctx context.Context, q *db.Queries, ids []string) (map[string]*domain.Pool, error) {
	rows, err := q.PoolsByID(ctx, ids)
	if err != nil {
		return nil, decisionError(err)
	}
	pools := make(map[string]*domain.Pool, len(rows))
	for _, row := range rows {
		pool, err := poolOf(row.Pool, row.CampaignID)
		if err != nil {
			return nil, err
		}
		pools[pool.ID] = &pool
	}
	return pools, nil
}

// Held reads what the partition holds.
func (s *Store) Held(ctx context.Context, partition int32) (map[string]*issuing.Stock, error) {
	rows, err := s.q.HeldRuns(ctx, &partition)
	if err != nil {
		return nil, decisionError(err)
	}
	held := map[string]*issuing.Stock{}
	lots := s.lots(s.q)
	for _, row := range rows {
		st := held[row.Pool.ID]
		if st == nil {
			pool, err := poolOf(row.Pool, row.CampaignID)
			if err != nil {
				return nil, err
			}
			st = &issuing.Stock{Pool: &pool}
			held[pool.ID] = st
		}
		lot, err := lots.of(ctx, row.Lot)
		if err != nil {
			return nil, decisionError(err)
		}
		st.Runs = append(st.Runs, &domain.Run{Lot: lot, Lo: row.Lo, Next: row.Next, Hi: row.Hi, GrantNo: row.GrantNo, Holder: partition})
	}
	return held, nil
}

// Refill grants codes to the partition (protocol: REFILL). The settings and
// lots are read after the grant: whatever changes them later hands it back.
func (s *Store) Refill(ctx context.Context, partition int32, pool *domain.Pool, want int64) (issuing.Stock, error) {
	granted, err := answered(ctx, s.conns, crashpoint.Refill, func(ctx context.Context, q *db.Queries) ([]db.RefillRow, error) {
		return q.Refill(ctx, db.RefillParams{Partition: partition, Pool: pool.Key, Want: want})
	})
	if err != nil {
		return issuing.Stock{}, decisionError(err)
	}
	pools, err := s.PoolsByID(ctx, []string{pool.ID})
	if err != nil {
		return issuing.Stock{}, err
	}
	st := issuing.Stock{Pool: pools[pool.ID]}
	if st.Pool == nil || len(granted) == 0 {
		return issuing.Stock{Pool: cmp.Or(st.Pool, pool)}, nil
	}
	numbers := make([]int32, len(granted))
	for i, g := range granted {
		numbers[i] = g.Lot
	}
	rows, err := s.q.LotsOf(ctx, db.LotsOfParams{Pool: pool.Key, Lots: numbers})
	if err != nil {
		return issuing.Stock{}, decisionError(err)
	}
	lots := s.lots(s.q)
	for _, l := range rows {
		if _, err := lots.of(ctx, l); err != nil {
			return issuing.Stock{}, decisionError(err)
		}
	}
	for _, g := range granted {
		lot := lots.known[[2]int32{pool.Key, g.Lot}]
		if lot == nil {
			return issuing.Stock{}, fmt.Errorf("pool %s, lot %d: %w: granted, but gone", pool.ID, g.Lot, issuing.ErrCorrupt)
		}
		st.Runs = append(st.Runs, &domain.Run{Lot: lot, Lo: g.Lo, Next: g.Next, Hi: g.Hi, GrantNo: g.GrantNo, Holder: partition})
	}
	return st, nil
}

// GiveBack returns what the partition holds of the pool.
func (s *Store) GiveBack(ctx context.Context, partition int32, pool int32) error {
	return decisionError(s.conns.One(ctx, crashpoint.GiveBack, func(ctx context.Context, q *db.Queries) error {
		return q.GiveBack(ctx, db.GiveBackParams{Partition: partition, Pool: pool})
	}))
}

// Texts loads the codes of the unissued ordinals of runs, in their order.
// issuing.ErrCursor: a run is no longer as it was granted.
func (s *Store) Texts(ctx context.Context, runs []*domain.Run) ([][]string, error) {
	stretches := make([]stretch, len(runs))
	for i, r := range runs {
		stretches[i] = stretch{lot: r.Lot, from: r.Next, till: r.Hi, lo: r.Lo, grantNo: r.GrantNo}
	}
	return texts(ctx, s.q, stretches)
}

// stretch is ordinals from…till−1 of a lot; those of a run as it was granted,
// or with grantNo 0 free ones of a locked pool.
type stretch struct {
	lot        *domain.Lot
	from, till int64
	lo         int64
	grantNo    int64
}

// texts makes the codes of stretches of generated lots, and loads the others with
// one question.
func texts(ctx context.Context, q *db.Queries, stretches []stretch) ([][]string, error) {
	all := make([][]string, len(stretches))
	var parts []part
	var arg db.TextsOfPoolsParams
	for i, s := range stretches {
		if s.lot.Generator != nil {
			all[i] = s.lot.Codes(s.from, s.till)
			continue
		}
		all[i] = make([]string, 0, s.till-s.from)
		for _, p := range s.parts(i) {
			parts = append(parts, p)
			arg.Pools, arg.Lots = append(arg.Pools, s.lot.Pool), append(arg.Lots, s.lot.No)
			arg.FromSeqs, arg.TillSeqs = append(arg.FromSeqs, p.from), append(arg.TillSeqs, p.till)
			arg.Los, arg.GrantNos = append(arg.Los, s.lo), append(arg.GrantNos, s.grantNo)
		}
	}
	found, err := textsOf(ctx, q, arg)
	if err != nil {
		return nil, decisionError(err)
	}
	for i, p := range parts {
		s := stretches[p.stretch]
		switch {
		case found[i] == nil && s.grantNo != 0:
			return nil, fmt.Errorf("lot %d of pool %d from %d: %w", s.lot.No, s.lot.Pool, s.lo, issuing.ErrCursor)
		case int64(len(found[i])) != p.till-p.from:
			return nil, fmt.Errorf("lot %d of pool %d, %d codes from %d: %w: %d found", s.lot.No, s.lot.Pool, p.till-p.from, p.from, issuing.ErrCorrupt, len(found[i]))
		}
		for range p.times {
			all[p.stretch] = append(all[p.stretch], found[i]...)
		}
	}
	return all, nil
}

// textsOf asks for stored texts, by place in the question. One pool's are had for
// less than those of several, which are one call of a function each.
func textsOf(ctx context.Context, q *db.Queries, arg db.TextsOfPoolsParams) ([][]string, error) {
	found := make([][]string, len(arg.Pools))
	if len(arg.Pools) == 0 {
		return found, nil
	}
	if !slices.ContainsFunc(arg.Pools, func(pool int32) bool { return pool != arg.Pools[0] }) {
		rows, err := q.Texts(ctx, db.TextsParams{Pool: arg.Pools[0], Lots: arg.Lots, FromSeqs: arg.FromSeqs, TillSeqs: arg.TillSeqs, Los: arg.Los, GrantNos: arg.GrantNos})
		for _, r := range rows {
			found[r.Idx-1] = r.Codes
		}
		return found, err
	}
	rows, err := q.TextsOfPools(ctx, arg)
	for _, r := range rows {
		found[r.Idx-1] = r.Codes
	}
	return found, err
}

// part is codes of a stretch whose numbers do not wrap.
type part struct {
	stretch    int
	from, till int64 // seq
	times      int64 // the whole lot over and over is read once
}

// parts cuts a stretch where the lot's codes begin anew, as they do in
// multi-use pools.
func (s stretch) parts(i int) []part {
	var all []part
	for from := s.from; from < s.till; {
		seq := from % s.lot.Size
		p := part{stretch: i, from: seq, till: min(seq+s.till-from, s.lot.Size), times: 1}
		if n := p.till - p.from; n == s.lot.Size {
			p.times = (s.till - from) / n
		}
		from += (p.till - p.from) * p.times
		all = append(all, p)
	}
	return all
}
