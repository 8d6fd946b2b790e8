package postgres

import (
	"context"

	"promopool/internal/crashpoint"
	"promopool/internal/postgres/internal/db"
)

// answered writes by one statement at a point, and returns what it answers.
func answered[T any](ctx context.Context, s *Store, p *crashpoint.Point, ask func(ctx context.Context, q *db.Queries) (T, error)) (T, error) {
	var answer T
	err := s.conns.One(ctx, p, func(ctx context.Context, q *db.Queries) (err error) {
		answer, err = ask(ctx, q)
		return err
	})
	return answer, err
}
