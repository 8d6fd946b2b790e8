package conn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"promopool/internal/crashpoint"
	"promopool/internal/pgtest"
	"promopool/internal/postgres/internal/conn"
	"promopool/internal/postgres/internal/db"
)

func open(t *testing.T) *conn.Conns {
	t.Helper()
	c, err := conn.Open(t.Context(), pgtest.Database(t, schema), "test", 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// schema is as much of it as two queries need.
func schema(ctx context.Context, url string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, "CREATE TABLE campaigns (campaign int, id text, name text, created_at timestamptz); INSERT INTO campaigns VALUES (1, 'c', 'C', now()); CREATE SEQUENCE lot_numbers")
	return err
}

// TestReads tries to write over what is for reading.
func TestReads(t *testing.T) {
	c := open(t)
	session, err := c.Session(t.Context(), "SET lock_timeout = '5s'")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for name, q := range map[string]*db.Queries{"Pool": db.New(c.Reads()), "Session": session.Reads()} {
		t.Run(name, func(t *testing.T) {
			if _, err := q.CampaignByID(t.Context(), "c"); err != nil {
				t.Errorf("read: %v", err)
			}
			for what, write := range map[string]func() error{
				"Update": func() error {
					return q.RenameCampaign(t.Context(), db.RenameCampaignParams{Campaign: 1, Name: "other"})
				},
				"Delete":   func() error { _, err := q.DeleteCampaign(t.Context(), "c"); return err },
				"Lock":     func() error { return q.LockCampaign(t.Context(), "c") },
				"Sequence": func() error { _, err := q.LotNumbers(t.Context(), 1); return err },
			} {
				var pg *pgconn.PgError
				if err := write(); !errors.As(err, &pg) || pg.Code != "25006" {
					t.Errorf("%s: got %v, want SQLSTATE 25006 (read_only_sql_transaction)", what, err)
				}
			}
		})
	}
}

// TestPoints follows each way to write past its point.
func TestPoints(t *testing.T) {
	c := open(t)
	session, err := c.Session(t.Context(), "SET lock_timeout = '5s'")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	rename := func(q *db.Queries, to string) error {
		return q.RenameCampaign(t.Context(), db.RenameCampaignParams{Campaign: 1, Name: to})
	}
	name := func() string {
		row, err := db.New(c.Reads()).CampaignByID(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		return row.Name
	}
	for _, way := range []struct {
		name  string
		write func(to string) error
	}{
		{"One", func(to string) error {
			return c.One(t.Context(), crashpoint.RenameCampaign, func(_ context.Context, q *db.Queries) error { return rename(q, to) })
		}},
		{"Begin", func(to string) error {
			tx, err := c.Begin(t.Context(), crashpoint.RenameCampaign)
			if err != nil {
				return err
			}
			defer tx.Rollback(t.Context()) //nolint:errcheck // after a COMMIT it does nothing
			if err := rename(db.New(tx), to); err != nil {
				return err
			}
			return tx.Commit(t.Context())
		}},
		{"Session", func(to string) error {
			return session.InTx(t.Context(), crashpoint.RenameCampaign, func(_ pgx.Tx, q *db.Queries) error { return rename(q, to) })
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			if err := way.write("before"); err != nil || name() != "before" {
				t.Fatalf("unarmed: %v, %q", err, name())
			}
			lost := errors.New("lost")
			applied := false
			crashpoint.Arm(func(_ context.Context, p *crashpoint.Point, write func() error) error {
				if p != crashpoint.RenameCampaign {
					t.Errorf("at %s", p.Name)
				}
				if applied {
					if err := write(); err != nil {
						t.Error(err)
					}
				}
				return lost
			})
			defer crashpoint.Arm(nil)
			if err := way.write("failed"); !errors.Is(err, lost) || name() != "before" {
				t.Errorf("failed: %v, %q", err, name())
			}
			applied = true
			if err := way.write("unheard"); !errors.Is(err, lost) || name() != "unheard" {
				t.Errorf("answer lost: %v, %q", err, name())
			}
		})
	}
}

// TestSecond: what one point guards is one statement.
func TestSecond(t *testing.T) {
	c := open(t)
	err := c.One(t.Context(), crashpoint.RenameCampaign, func(_ context.Context, q *db.Queries) error {
		if err := q.RenameCampaign(t.Context(), db.RenameCampaignParams{Campaign: 1, Name: "first"}); err != nil {
			t.Fatal(err)
		}
		_, byRow := q.CampaignByID(t.Context(), "c")
		_, byRows := q.LotNumbers(t.Context(), 1)
		byExec := q.LockCampaign(t.Context(), "c")
		for _, err := range []error{byRow, byRows, byExec} {
			if err == nil {
				t.Error("a second statement was let through")
			}
		}
		return byExec
	})
	if err == nil {
		t.Error("want an error")
	}
}
