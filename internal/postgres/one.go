package postgres

import (
	"context"

	"promopool/internal/crashpoint"
	"promopool/internal/postgres/internal/db"
)

// writer is whatever writes by one statement: the store's connections, or a session.
type writer interface {
	One(ctx context.Context, p *crashpoint.Point, work func(ctx context.Context, q *db.Queries) error) error
}

// answered writes by one statement at a point, and returns what it answers.
func answered[T any](ctx context.Context, w writer, p *crashpoint.Point, ask func(ctx context.Context, q *db.Queries) (T, error)) (T, error) {
	var answer T
	err := w.One(ctx, p, func(ctx context.Context, q *db.Queries) (err error) {
		answer, err = ask(ctx, q)
		return err
	})
	return answer, err
}
