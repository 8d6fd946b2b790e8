package postgres

import (
	"cmp"
	"context"
	"fmt"

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
	granted, err := s.q.Refill(ctx, db.RefillParams{Partition: partition, Pool: pool.Key, Want: want})
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
	return decisionError(s.q.GiveBack(ctx, db.GiveBackParams{Partition: partition, Pool: pool}))
}

// Texts loads the codes of the run's unissued ordinals.
func (s *Store) Texts(ctx context.Context, run *domain.Run) ([]string, error) {
	return texts(ctx, s.q, run.Lot, run.Next, run.Hi)
}

// texts loads the codes of ordinals from…till−1, or makes them. Beyond the lot's
// size, as in multi-use pools, they begin anew.
func texts(ctx context.Context, q *db.Queries, lot *domain.Lot, from, till int64) ([]string, error) {
	if lot.Generator != nil {
		return lot.Codes(from, till), nil
	}
	all := make([]string, 0, till-from)
	for from < till {
		seq := from % lot.Size
		n := min(till-from, lot.Size-seq)
		some, err := q.Texts(ctx, db.TextsParams{Pool: lot.Pool, Lot: lot.No, FromSeq: seq, TillSeq: seq + n})
		if err != nil {
			return nil, decisionError(err)
		}
		if int64(len(some)) != n {
			return nil, fmt.Errorf("lot %d of pool %d, %d codes from %d: %w: %d found", lot.No, lot.Pool, n, seq, issuing.ErrCorrupt, len(some))
		}
		if n == lot.Size && till-from > n {
			// The whole lot over and over: read it once.
			for ; till-from >= n; from += n {
				all = append(all, some...)
			}
			continue
		}
		all = append(all, some...)
		from += n
	}
	return all, nil
}
