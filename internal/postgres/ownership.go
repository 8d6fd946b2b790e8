package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// takeoverTries bounds how often a claim ends whoever blocks it.
const takeoverTries = 5

// Claim takes the partition over (protocol: CLAIM).
func (s *Store) Claim(ctx context.Context, stream string, number int, worker string, partitions int) (issuing.Claim, error) {
	if err := s.conns.One(ctx, crashpoint.SetPartitions, func(ctx context.Context, q *db.Queries) error { return q.SetPartitions(ctx, int32(partitions)) }); err != nil {
		return issuing.Claim{}, decisionError(err)
	}
	for try := 1; ; try++ {
		row, err := answered(ctx, s.conns, crashpoint.Claim, func(ctx context.Context, q *db.Queries) (db.ClaimRow, error) {
			return q.Claim(ctx, db.ClaimParams{Stream: stream, Number: int32(number), Worker: worker})
		})
		if err == nil {
			c := issuing.Claim{Stream: stream, Number: number, Partition: row.Partition, Epoch: row.Epoch, BatchNo: row.BatchNo, NextOffset: row.NextOffset}
			return c, s.EndPredecessors(ctx, c)
		}
		if err = decisionError(err); !errors.Is(err, issuing.ErrBlocked) || try == takeoverTries {
			return issuing.Claim{}, err
		}
		if err := s.endBlocking(ctx, stream, number); err != nil {
			return issuing.Claim{}, err
		}
	}
}

// endBlocking ends whoever works under the partition's present epoch, because
// it holds a lock that the takeover needs.
func (s *Store) endBlocking(ctx context.Context, stream string, number int) error {
	p, err := s.q.PartitionByNumber(ctx, db.PartitionByNumberParams{Stream: stream, Number: int32(number)})
	if err != nil {
		return decisionError(err)
	}
	return s.EndPredecessors(ctx, issuing.Claim{Partition: p.Partition, Epoch: p.Epoch + 1})
}

// Resolve takes the partition over from oneself (protocol: RESOLVE).
func (s *Store) Resolve(ctx context.Context, c issuing.Claim, worker string) (issuing.Claim, error) {
	for try := 1; ; try++ {
		row, err := answered(ctx, s.conns, crashpoint.Resolve, func(ctx context.Context, q *db.Queries) (db.ResolveRow, error) {
			return q.Resolve(ctx, db.ResolveParams{Partition: c.Partition, Epoch: c.Epoch, Worker: worker})
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return s.resolveAgain(ctx, c, worker)
		}
		if err == nil {
			c.Epoch, c.BatchNo, c.NextOffset = row.Epoch, row.BatchNo, row.NextOffset
			return c, s.EndPredecessors(ctx, c)
		}
		if err = decisionError(err); !errors.Is(err, issuing.ErrBlocked) || try == takeoverTries {
			return issuing.Claim{}, err
		}
		if err := s.EndPredecessors(ctx, issuing.Claim{Partition: c.Partition, Epoch: c.Epoch + 1}); err != nil {
			return issuing.Claim{}, err
		}
	}
}

// resolveAgain tells whether the epoch moved because an earlier Resolve of
// ours took effect and its answer was lost, or because another has taken over.
func (s *Store) resolveAgain(ctx context.Context, c issuing.Claim, worker string) (issuing.Claim, error) {
	p, err := s.q.PartitionByNumber(ctx, db.PartitionByNumberParams{Stream: c.Stream, Number: int32(c.Number)})
	if err != nil {
		return issuing.Claim{}, decisionError(err)
	}
	if p.Worker != worker || p.Epoch == c.Epoch {
		return issuing.Claim{}, issuing.ErrFenced
	}
	c.Epoch = p.Epoch
	return s.Resolve(ctx, c, worker)
}

// CloseGate stops the whole service from issuing, because the topics hold an
// outcome of a delivery that this database has not decided: it has lost what
// it had acknowledged. ErrFenced when the partition is no longer the claim's.
func (s *Store) CloseGate(ctx context.Context, c issuing.Claim, offset int64, reason string) error {
	n, err := answered(ctx, s.conns, crashpoint.CloseGate, func(ctx context.Context, q *db.Queries) (int64, error) {
		return q.CloseGate(ctx, db.CloseGateParams{Reason: reason, Partition: c.Partition, Epoch: c.Epoch, OffsetSeen: offset})
	})
	if err == nil && n == 0 {
		return issuing.ErrFenced
	}
	return decisionError(err)
}

// CloseGateBeyond does the same where the topics hold an event with a number that
// this database has given to none, and reports whether that is so.
func (s *Store) CloseGateBeyond(ctx context.Context, number int64, reason string) (bool, error) {
	n, err := answered(ctx, s.conns, crashpoint.CloseGateBeyond, func(ctx context.Context, q *db.Queries) (int64, error) {
		return q.CloseGateBeyond(ctx, db.CloseGateBeyondParams{Reason: reason, Number: number})
	})
	return n > 0, asked(err)
}

// Gate is why nothing may be issued; "": it may.
func (s *Store) Gate(ctx context.Context) (string, error) {
	reason, err := s.q.Gate(ctx)
	return reason, asked(err)
}

// EndPredecessors ends the backends that work under older epochs.
func (s *Store) EndPredecessors(ctx context.Context, c issuing.Claim) error {
	_, err := s.q.EndPredecessors(ctx, db.EndPredecessorsParams{Partition: c.Partition, Epoch: c.Epoch})
	return decisionError(err)
}

// Ranges reads decided batches that end beyond the position.
func (s *Store) Ranges(ctx context.Context, partition int32, position int64, atMost int) ([]domain.Range, error) {
	rows, err := s.q.Ranges(ctx, db.RangesParams{Partition: partition, Position: position, AtMost: int32(atMost)})
	if err != nil {
		return nil, decisionError(err)
	}
	ranges := make([]domain.Range, len(rows))
	for i, row := range rows {
		rejections, err := domain.ParseVerdicts(row.Verdicts, row.FirstOffset)
		if err != nil {
			return nil, fmt.Errorf("batch at offset %d: %w: %w", row.FirstOffset, issuing.ErrCorrupt, err)
		}
		ranges[i] = domain.Range{First: row.FirstOffset, End: row.EndOffset, DecidedAt: fromStamp(row.DecidedAt), Rejections: rejections}
	}
	return ranges, nil
}
