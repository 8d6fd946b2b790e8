package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// shelving lays out what is free of locked pools at one time, no more than is
// asked for: a pool may have very many windows.
type shelving struct {
	q    *db.Queries
	lots lots
	now  time.Time
}

func (s *Store) shelving(q *db.Queries, now time.Time) shelving {
	return shelving{q, s.lots(q), now}
}

// free lays out the first runs that may be issued from, on the shelf of each pool
// that is not multi-use, for as many requests as it has.
func (l shelving) free(ctx context.Context, shelves map[int32]*domain.Shelf, needs map[int32]int) error {
	arg := db.FirstFreeParams{Now: stamp(l.now)}
	for _, key := range slices.Sorted(maps.Keys(shelves)) {
		s := shelves[key]
		if !s.Pool.MultiUse && s.Pool.Open(l.now) {
			arg.Pools, arg.Needs = append(arg.Pools, key), append(arg.Needs, int32(needs[key]))
		}
	}
	rows, err := l.q.FirstFree(ctx, arg)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := l.add(ctx, shelves[r.Lot.Pool], r); err != nil {
			return err
		}
	}
	return nil
}

// usable lays out the runs of a multi-use pool of which some can be issued: where
// codes are blocked that is not all of them.
func (l shelving) usable(ctx context.Context, s *domain.Shelf, need int) error {
	if !s.Pool.Open(l.now) {
		return nil
	}
	rows, err := l.q.FirstUsable(ctx, db.FirstUsableParams{Pool: s.Pool.Key, Need: int32(need), Now: stamp(l.now)})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := l.add(ctx, s, db.FirstFreeRow(r)); err != nil {
			return err
		}
	}
	return nil
}

func (l shelving) add(ctx context.Context, s *domain.Shelf, r db.FirstFreeRow) error {
	lot, err := l.lots.of(ctx, r.Lot)
	s.Runs = append(s.Runs, &domain.Run{Lot: lot, Lo: r.Lo, Next: r.Next, Hi: r.Hi, GrantNo: r.GrantNo})
	return err
}

// later counts what of the pool may be issued later only.
func (l shelving) later(ctx context.Context, s *domain.Shelf) (err error) {
	s.Later, err = l.q.FreeLater(ctx, db.FreeLaterParams{
		Pool: s.Pool.Key, Now: stamp(l.now), Closed: !s.Pool.Open(l.now), MultiUse: s.Pool.MultiUse,
	})
	return err
}
