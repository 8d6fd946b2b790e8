package pgtest_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"promopool/internal/devstack"
	"promopool/internal/pgtest"
)

var migrations atomic.Int32

func migrate(ctx context.Context, url string) error {
	migrations.Add(1)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE TABLE pools (id int PRIMARY KEY)")
	return err
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func TestDatabaseMigratedOnce(t *testing.T) {
	for _, name := range []string{"First", "Second", "Third"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, pgtest.Database(t, migrate))
			// Fails when the database is not the test's own.
			if _, err := conn.Exec(t.Context(), "INSERT INTO pools VALUES (1)"); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("Empty", func(t *testing.T) {
		conn := connect(t, pgtest.Database(t))
		var tables int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil {
			t.Fatal(err)
		}
		if tables != 0 {
			t.Errorf("got %d tables, want 0", tables)
		}
	})
	t.Cleanup(func() {
		if got := migrations.Load(); got != 1 {
			t.Errorf("got %d migrations, want 1", got)
		}
	})
}

func TestServerRestart(t *testing.T) {
	p := pgtest.Server(t)
	conn := connect(t, p.URL)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []devstack.StopMode{devstack.Fast, devstack.Immediate} {
		if err := p.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := connect(t, p.URL).QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 7 {
			t.Errorf("got %d, %v, want 7", n, err)
		}
	}
}
