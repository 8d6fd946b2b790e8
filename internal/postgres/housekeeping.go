package postgres

import (
	"context"
	"time"

	"promopool/internal/crashpoint"
	"promopool/internal/postgres/internal/db"
)

// Totals are figures of the whole store.
type Totals struct {
	Free, Held        int64 // unissued, unexpired codes of active single-use pools
	Scarce            int64 // active scarce pools
	OldestTransaction time.Duration
}

// Totals reads them, from runs and lots alone.
func (s *Store) Totals(ctx context.Context) (Totals, error) {
	r, err := s.q.Totals(ctx)
	return Totals{Free: r.Free, Held: r.Held, Scarce: r.Scarce, OldestTransaction: time.Duration(r.OldestSeconds * float64(time.Second))}, err
}

// PruneBatches drops the decided batches of a partition that end at or below
// the offset, where its log begins: they cannot be delivered again. It returns
// how many.
func (s *Store) PruneBatches(ctx context.Context, stream string, number int, logStart int64) (int64, error) {
	return answered(ctx, s.conns, crashpoint.PruneBatches, func(ctx context.Context, q *db.Queries) (int64, error) {
		return q.PruneBatches(ctx, db.PruneBatchesParams{Stream: stream, Number: int32(number), LogStart: logStart})
	})
}
