package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// changeAttempts bounds how often a change by staff is tried. A wait for a lock
// ends after a second, so the last answer may take some ten.
const changeAttempts = 8

// change runs work in a transaction of its own, again after a deadlock, a wait
// that was too long or a lost connection. maybe tells work that the COMMIT of
// an earlier attempt had no answer: it looks first whether its change is
// there, and if so returns nil without making it twice.
//
// An error of work is returned as it is, and nothing has changed. After
// domain.ErrAway nothing has changed either; only domain.ErrUnsure leaves the
// caller in doubt.
func (s *Store) change(ctx context.Context, point *crashpoint.Point, work func(q *db.Queries, maybe bool) error) error {
	maybe := false
	for attempt := 1; ; attempt++ {
		unanswered, err := s.attempt(ctx, point, maybe, work)
		if err == nil {
			return nil
		}
		maybe = maybe || unanswered
		if !unanswered && !passing(err) {
			return meaning(err)
		}
		if attempt == changeAttempts || pause(ctx, attempt) != nil {
			return doubt(maybe, err)
		}
	}
}

// attempt is one transaction. unanswered: the COMMIT was sent, and what became
// of it is not known.
func (s *Store) attempt(ctx context.Context, point *crashpoint.Point, maybe bool, work func(q *db.Queries, maybe bool) error) (unanswered bool, err error) {
	tx, err := s.conns.Begin(ctx, point)
	if err != nil {
		return false, lost{err}
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after a COMMIT it does nothing
	if err := work(s.q.WithTx(tx), maybe); err != nil {
		if tx.Conn().IsClosed() {
			return false, lost{err}
		}
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return !refusedCommit(err), err
	}
	return false, nil
}

// lost is the error of a connection that is no more.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// errAgain is returned by work that lost a race which it will win next time.
var errAgain = errors.New("lost a race")

// passing reports whether the same may succeed a little later.
func passing(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "40P01", "40001", "55P03": // deadlock, serialization, lock_timeout
			return true
		case "57P01", "57P02", "57P03", "53300": // ended, crashed, starting up, too many connections
			return true
		}
		return false
	}
	return errors.Is(err, errAgain) || errors.As(err, new(lost))
}

// refusedCommit reports whether the database said that it has not committed.
func refusedCommit(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code[:2] == "40" || pg.Code[:2] == "23"
	}
	return errors.Is(err, pgx.ErrTxCommitRollback)
}

// pause waits a little, longer each time and never twice the same.
func pause(ctx context.Context, attempt int) error {
	most := 20 * time.Millisecond << min(attempt, 5)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(most/4 + rand.N(most)):
		return nil
	}
}

func doubt(maybe bool, err error) error {
	if maybe {
		return fmt.Errorf("%w: %w", domain.ErrUnsure, err)
	}
	return fmt.Errorf("%w: %w", domain.ErrAway, err)
}

// asked maps the error of a question put outside a transaction.
func asked(err error) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return domain.ErrNotFound
	case errors.As(err, &pg) && !passing(err):
		return err
	}
	return doubt(false, err)
}
