package postgres

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/crashpoint"
	"promopool/internal/customers"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// volumeCodes is how many codes a volume of customer_codes takes, about: the part of
// its index that is written to then has some 90 MB. Smaller volumes make more of them,
// and each is a probe for whoever looks a customer up.
const volumeCodes = 1_000_000

// ListCodes lists about so many issued codes under their customers.
func (s *Store) ListCodes(ctx context.Context, atMost int) (customers.Listed, error) {
	var done customers.Listed
	err := s.change(ctx, crashpoint.ListCodes, func(q *db.Queries, _ bool) error {
		r, err := q.ListCodes(ctx, db.ListCodesParams{AtMost: int64(atMost), VolumeCodes: volumeCodes})
		if err != nil {
			return err
		}
		done = customers.Listed{Codes: r.Listed, Left: r.LeftSince.Valid}
		if r.LeftSince.Valid {
			done.Lag, done.Quiet = r.AskedAt.Time.Sub(r.LeftSince.Time), r.AskedAt.Time.Sub(r.IssuedLast.Time)
		}
		return nil
	})
	return done, err
}

// CustomerCodes returns codes of a customer behind a place in the order of their
// issue, the last first; a zero time is before the first. They are all that were
// issued when it was asked, whatever is listed by then.
func (s *Store) CustomerCodes(ctx context.Context, customer string, after domain.IssuePlace, limit int) ([]domain.CustomerCode, error) {
	a, b := sketchHash(customer)
	arg := db.CodesOfCustomerParams{
		Customer: customer, A: int64(a), B: int64(b),
		IssuedAt: stamp(after.At), Pool: after.Pool, Lot: after.Lot, Seq: after.Seq, AtMost: int32(limit),
	}
	if after.At.IsZero() {
		arg.IssuedAt = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
		arg.Pool, arg.Lot, arg.Seq = math.MaxInt32, math.MaxInt32, math.MaxInt64
	}
	rows, err := s.q.CodesOfCustomer(ctx, arg)
	if err != nil {
		return nil, asked(err)
	}
	pools, err := s.poolsByKey(ctx, rows)
	if err != nil {
		return nil, asked(err)
	}
	codes := make([]domain.CustomerCode, len(rows))
	for i, r := range rows {
		if codes[i], err = s.customerCode(ctx, pools[r.Pool], customer, r); err != nil {
			return nil, asked(err)
		}
	}
	return codes, nil
}

func (s *Store) poolsByKey(ctx context.Context, codes []db.CodesOfCustomerRow) (map[int32]*domain.Pool, error) {
	pools := map[int32]*domain.Pool{}
	var keys []int32
	for _, c := range codes {
		if _, ok := pools[c.Pool]; !ok {
			pools[c.Pool] = nil
			keys = append(keys, c.Pool)
		}
	}
	rows, err := s.q.PoolsByKey(ctx, keys)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		pool, err := poolOf(r.Pool, r.CampaignID)
		if err != nil {
			return nil, err
		}
		pools[pool.Key] = &pool
	}
	return pools, nil
}

func (s *Store) customerCode(ctx context.Context, pool *domain.Pool, customer string, r db.CodesOfCustomerRow) (domain.CustomerCode, error) {
	code, err := s.generators.issued(ctx, s.q, r.Pool, db.LookUpRow{Lot: r.Lot, Seq: r.Seq, Code: r.Code, Generator: r.Generator, Number: r.Number})
	c := domain.CustomerCode{
		Issuance: domain.Issuance{
			Pool: pool, Place: domain.Place{Lot: r.Lot, Seq: r.Seq}, Code: code, RequestID: r.RequestID, CustomerID: customer,
			IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
		},
		State: domain.CodeIssued, RedeemedAt: fromStamp(r.RedeemedAt),
	}
	switch {
	case r.Blocked:
		c.State = domain.CodeBlocked
	case r.RedeemedAt.Valid:
		c.State = domain.CodeRedeemed
	}
	return c, err
}

// pseudonyms are those of the database's key; nil: it has none, for nobody was ever
// erased. A key once made stays the same.
func (s *Store) pseudonyms(ctx context.Context, q *db.Queries) (*domain.Pseudonyms, error) {
	if p := s.erased.Load(); p != nil {
		return p, nil
	}
	key, err := q.PseudonymKey(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := domain.NewPseudonyms(key)
	s.erased.Store(p)
	return p, nil
}

// signed gives an issuance what its customer is recognised by, where that is a
// pseudonym.
func (s *Store) signed(ctx context.Context, q *db.Queries, i *domain.Issuance) (err error) {
	if domain.IsPseudonym(i.CustomerID) {
		i.Pseudonyms, err = s.pseudonyms(ctx, q)
	}
	return err
}
