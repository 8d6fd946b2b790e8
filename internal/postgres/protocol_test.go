package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// The rules of the transactions (docs/issuing.md, "The order of locks"), each by the
// turn of events that it is there for, on PostgreSQL and with certainty: whoever must
// wait is seen to wait. The simulation tries such turns at random, on a model.

// held is a transaction beside the store that holds locks.
type held struct {
	*desk
	conn *pgx.Conn
}

func (d *desk) hold(sql string, args ...any) *held {
	d.t.Helper()
	conn, err := pgx.Connect(d.ctx, d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.Background()) })
	h := &held{d, conn}
	h.do("BEGIN")
	h.do(sql, args...)
	return h
}

func (h *held) do(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.conn.Exec(h.ctx, sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

// before has what wait for this transaction, does a last thing and commits, and
// returns what came of the one that waited.
func (h *held) before(what func() error, sql string, args ...any) error {
	h.t.Helper()
	done := make(chan error, 1)
	go func() { done <- what() }()
	for waits := 0; waits == 0; time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-done:
			h.t.Errorf("nobody waited for the lock, and what came of it is: %v", err)
			h.do("COMMIT")
			return err
		default:
		}
		if err := h.sql.QueryRow(h.ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waits); err != nil {
			h.t.Fatal(err)
		}
	}
	h.do(sql, args...)
	h.do("COMMIT")
	return <-done
}

// slow reports whether a busy machine was too slow for the patience of a batch: then
// what came of it says nothing.
func slow(err error) bool {
	return errors.Is(err, issuing.ErrAgain) || errors.Is(err, issuing.ErrBlocked)
}

func TestProtocol(t *testing.T) {
	rules := map[string]func(*desk) error{
		"ClaimedInFlight": claimedInFlight, "AnswerLost": answerLost, "CursorGone": cursorGone, "Retaken": retaken,
		"RequestTwice": requestTwice, "PlaceTwice": placeTwice, "StaleDecision": staleDecision, "ReadAgain": readAgain,
		"FilledMeanwhile": filledMeanwhile, "ArchivedMeanwhile": archivedMeanwhile, "CreatedMeanwhile": createdMeanwhile,
		"IssuedMeanwhile": issuedMeanwhile, "HeldByOthers": heldByOthers, "CursorElsewhere": cursorElsewhere, "FreeRunLocked": freeRunLocked, "Revoked": revoked, "Blocked": blocked, "BlockedInFlight": blockedInFlight,
		"GateClosed": gateClosed, "Frozen": frozen, "RedeemedMeanwhile": redeemedMeanwhile,
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for try := 1; ; try++ {
				d := openDesk(t, pgtest.Recycled(t, postgres.Migrate), "")
				err := rule(d)
				if slow(err) && try < 10 {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				d.Sound()
				return
			}
		})
	}
}

// Unwanted is what a rule was answered instead of what it wants.
func unwanted(got, want error) error {
	switch {
	case errors.Is(got, want), got == nil && want == nil:
		return nil
	case got != nil:
		return got
	}
	return errors.New("committed, want: " + want.Error())
}

// ample is a launched pool with many codes.
func (d *desk) ample(id string) {
	d.Create(id)
	d.Fill(id, id+"-", 10_000)
	d.Launch(id)
}
