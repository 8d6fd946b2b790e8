package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// BeginErasure notes that a customer is to be erased, or returns the erasure of the
// customer that is under way. What was issued until then is old.
func (s *Store) BeginErasure(ctx context.Context, who domain.Actor, customer string) (domain.Erasure, error) {
	var begun domain.Erasure
	err := s.change(ctx, crashpoint.BeginErasure, func(q *db.Queries, _ bool) error {
		pseudonyms, err := s.pseudonyms(ctx, q)
		if err == nil && pseudonyms == nil {
			pseudonyms, err = makePseudonyms(ctx, q)
		}
		if err != nil {
			return fmt.Errorf("key of pseudonyms: %w", err)
		}
		alias := pseudonyms.Customer(customer)
		if err := q.BeginErasure(ctx, db.BeginErasureParams{Pseudonym: alias, CustomerID: customer, Actor: string(who)}); err != nil {
			return err
		}
		row, err := q.OpenErasure(ctx, alias)
		if errors.Is(err, pgx.ErrNoRows) {
			return errAgain // it was under way, and is done by now
		}
		begun = erasureOf(row)
		return err
	})
	return begun, err
}

// makePseudonyms makes the key of a database that has none, unless another does.
func makePseudonyms(ctx context.Context, q *db.Queries) (*domain.Pseudonyms, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // does not fail
	if err := q.MakePseudonymKey(ctx, key); err != nil {
		return nil, err
	}
	key, err := q.PseudonymKey(ctx)
	return domain.NewPseudonyms(key), err
}

// Erasure returns an erasure, or domain.ErrNotFound.
func (s *Store) Erasure(ctx context.Context, no int64) (domain.Erasure, error) {
	row, err := s.q.ErasureByNo(ctx, no)
	return erasureOf(row), asked(err)
}

// OpenErasures returns those that are not done and were begun so long ago, the oldest
// first.
func (s *Store) OpenErasures(ctx context.Context, ago time.Duration) ([]domain.Erasure, error) {
	rows, err := s.q.OpenErasures(ctx, ago.Seconds())
	open := make([]domain.Erasure, len(rows))
	for i, r := range rows {
		open[i] = erasureOf(r)
	}
	return open, asked(err)
}

func erasureOf(r db.Erasure) domain.Erasure {
	e := domain.Erasure{
		No: r.Erasure, Actor: domain.Actor(r.Actor), BegunAt: fromStamp(r.BegunAt), DoneAt: fromStamp(r.DoneAt),
		Issuances: r.Issuances, Redemptions: r.Redemptions, ListedNo: r.ListedNo,
	}
	if r.CustomerID != nil {
		e.CustomerID = *r.CustomerID
	}
	if r.Stream != nil {
		e.Marks = &domain.ErasureMarks{Stream: *r.Stream, Ends: r.Ends, RedemptionEnds: r.RedemptionEnds}
	}
	return e
}

// ErasePiece erases some rows of an erasure's customer, and reports whether there may
// be more. It must not begin before all that is old is listed.
func (s *Store) ErasePiece(ctx context.Context, e domain.Erasure, atMost int) (more bool, err error) {
	err = s.change(ctx, crashpoint.ErasePiece, func(q *db.Queries, _ bool) error {
		n, err := q.EraseCodes(ctx, db.EraseCodesParams{Erasure: e.No, AtMost: int32(atMost)})
		if err == nil && n == 0 {
			n, err = q.EraseRedemptions(ctx, db.EraseRedemptionsParams{Erasure: e.No, AtMost: int32(atMost)})
		}
		if more = n > 0; err == nil && !more {
			more, err = q.StillNamed(ctx, e.No)
		}
		return err
	})
	return more, err
}

// Listed reports whether all that is old is listed.
func (s *Store) Listed(ctx context.Context, e domain.Erasure) (bool, error) {
	done, err := s.q.ListedUpTo(ctx, e.ListedNo)
	return done, asked(err)
}

// MarkErasure keeps what the topics hold now that the rows are erased. The first
// marks stay.
func (s *Store) MarkErasure(ctx context.Context, e domain.Erasure, marks domain.ErasureMarks) error {
	return asked(s.conns.One(ctx, crashpoint.MarkErasure, func(ctx context.Context, q *db.Queries) error {
		return q.MarkErasure(ctx, db.MarkErasureParams{
			Erasure: e.No, Stream: marks.Stream, Ends: marks.Ends, RedemptionEnds: marks.RedemptionEnds,
		})
	}))
}

// FinishErasure forgets the id, once the outbox has published what it had when the
// rows were erased, and reports whether it is forgotten.
func (s *Store) FinishErasure(ctx context.Context, e domain.Erasure) (bool, error) {
	done, err := answered(ctx, s.conns, crashpoint.FinishErasure, func(ctx context.Context, q *db.Queries) (bool, error) { return q.FinishErasure(ctx, e.No) })
	return done, asked(err)
}

// Erased returns those of the customers who were erased.
func (s *Store) Erased(ctx context.Context, c issuing.Claim, customers []string) (map[string]issuing.Erased, error) {
	pseudonyms, err := s.pseudonyms(ctx, s.q)
	if err != nil || pseudonyms == nil {
		return nil, decisionError(err)
	}
	whose, aliases := make(map[string]string, len(customers)), make([]string, len(customers))
	for i, customer := range customers {
		aliases[i] = pseudonyms.Customer(customer)
		whose[aliases[i]] = customer
	}
	rows, err := s.q.ErasedAmong(ctx, db.ErasedAmongParams{Pseudonyms: aliases, Stream: &c.Stream, Place: int64(c.Number) + 1})
	if err != nil {
		return nil, decisionError(err)
	}
	erased := make(map[string]issuing.Erased, len(rows))
	for _, r := range rows {
		erased[whose[r.Pseudonym]] = issuing.Erased{Alias: r.Pseudonym, Before: r.Before}
	}
	return erased, nil
}
