package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// Stock tells what the pool has now.
func (s *Store) Stock(ctx context.Context, poolID string) (domain.Stock, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.Stock{}, err
	}
	r, err := s.q.Stock(ctx, pool.Key)
	return domain.Stock{
		Total: r.Total, Available: r.Available, Scheduled: r.Scheduled, Held: r.Held, Issued: r.Issued, Expired: r.Expired,
	}, asked(err)
}

// Issuance returns what a request was given, or domain.ErrNotFound.
func (s *Store) Issuance(ctx context.Context, poolID, requestID string) (domain.Issuance, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.Issuance{}, err
	}
	rows, err := s.q.LookUp(ctx, db.LookUpParams{Pools: []int32{pool.Key}, Requests: []string{requestID}})
	if err != nil {
		return domain.Issuance{}, asked(err)
	}
	if len(rows) == 0 {
		return domain.Issuance{}, domain.ErrNotFound
	}
	issue, err := s.knownIssue(ctx, s.q, &pool, domain.Key{Pool: pool.Key, RequestID: requestID}, rows[0])
	return *issue, asked(err)
}

// Code tells where a code of the pool is in its life, or domain.ErrNotFound.
func (s *Store) Code(ctx context.Context, poolID, code string) (domain.CodeStory, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.CodeStory{}, err
	}
	r, err := s.q.FindCode(ctx, db.FindCodeParams{Pool: pool.Key, Code: code})
	if errors.Is(err, pgx.ErrNoRows) {
		r, err = s.findGenerated(ctx, pool.Key, code)
	}
	if err != nil {
		return domain.CodeStory{}, asked(err)
	}
	story := domain.CodeStory{Code: code, AddedAt: fromStamp(r.Lot.CreatedAt), Window: windowOf(r.Lot)}
	story.State = story.Window.Unissued(fromStamp(r.AskedAt))
	if r.IssuedAt.Valid {
		story.State = domain.CodeIssued
		story.Issue = &domain.Issuance{
			Pool: &pool, Place: domain.Place{Lot: r.Lot.Lot, Seq: r.Seq}, Code: code,
			RequestID: r.RequestID, CustomerID: r.CustomerID,
			IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
		}
	}
	return story, nil
}

// findGenerated finds a code that is stored nowhere by the number that its text
// means to one of the pool's generators.
func (s *Store) findGenerated(ctx context.Context, pool int32, code string) (db.FindCodeRow, error) {
	all, err := s.q.GeneratorsOf(ctx, pool)
	if err != nil {
		return db.FindCodeRow{}, err
	}
	for _, g := range all {
		generator, err := s.generators.of(ctx, s.q, pool, g.Generator)
		if err != nil {
			return db.FindCodeRow{}, err
		}
		number, ok := generator.Number(code)
		if !ok {
			continue
		}
		// Its patterns have no text in common: no other can have it.
		r, err := s.q.FindGenerated(ctx, db.FindGeneratedParams{Pool: pool, Generator: g.Generator, Number: number})
		return db.FindCodeRow(r), err
	}
	return db.FindCodeRow{}, pgx.ErrNoRows
}

func windowOf(l db.Lot) domain.Window {
	return domain.Window{
		IssueStart: fromStamp(l.IssueStart), IssueEnd: fromStamp(l.IssueEnd),
		AvailableFrom: fromStamp(l.AvailableFrom), AvailableTill: fromStamp(l.AvailableTill),
	}
}
