package conn

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"promopool/internal/postgres/internal/db"
)

// errSecond: what a point guards is one write, or nobody could say what is true
// when it fails.
var errSecond = errors.New("a second statement at one crash point: make it a transaction")

// once lets one statement through.
type once struct {
	db   db.DBTX
	used bool
}

func (o *once) use() error {
	if o.used {
		return errSecond
	}
	o.used = true
	return nil
}

func (o *once) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := o.use(); err != nil {
		return pgconn.CommandTag{}, err
	}
	return o.db.Exec(ctx, sql, args...)
}

func (o *once) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := o.use(); err != nil {
		return nil, err
	}
	return o.db.Query(ctx, sql, args...) //nolint:rowserrcheck // the caller's
}

func (o *once) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := o.use(); err != nil {
		return noRow{err}
	}
	return o.db.QueryRow(ctx, sql, args...)
}

// noRow is the row of a statement that was not let through.
type noRow struct{ err error }

func (r noRow) Scan(...any) error { return r.err }
