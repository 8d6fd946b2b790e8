package postgres

import (
	"context"

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
	r := rows[0]
	return domain.Issuance{
		Pool: &pool, Place: domain.Place{Lot: r.Lot, Seq: r.Seq}, Code: r.Code,
		RequestID: requestID, CustomerID: r.CustomerID, Context: r.Context,
		IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
	}, nil
}

// Code tells where a code of the pool is in its life, or domain.ErrNotFound.
func (s *Store) Code(ctx context.Context, poolID, code string) (domain.CodeStory, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.CodeStory{}, err
	}
	r, err := s.q.FindCode(ctx, db.FindCodeParams{Pool: pool.Key, Code: code})
	if err != nil {
		return domain.CodeStory{}, asked(err)
	}
	story := domain.CodeStory{Code: code, AddedAt: fromStamp(r.Lot.CreatedAt), Window: windowOf(r.Lot)}
	window := pool.Narrow(story.Window)
	story.State = window.Unissued(fromStamp(r.AskedAt))
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

func windowOf(l db.Lot) domain.Window {
	return domain.Window{
		IssueStart: fromStamp(l.IssueStart), IssueEnd: fromStamp(l.IssueEnd),
		AvailableFrom: fromStamp(l.AvailableFrom), AvailableTill: fromStamp(l.AvailableTill),
	}
}
