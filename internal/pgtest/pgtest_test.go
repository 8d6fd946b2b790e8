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

// migrateMore leaves rows and a sequence that has moved.
func migrateMore(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `CREATE TABLE things (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE); INSERT INTO things (name) VALUES ('first')`)
	return err
}

func TestRecycled(t *testing.T) {
	used := map[string]bool{}
	for _, c := range []struct{ name, sql string }{
		{"Rows", "DELETE FROM things; INSERT INTO things (name) VALUES ('x'), ('y')"},
		{"Constraint", "ALTER TABLE things DROP CONSTRAINT things_name_key"},
		{"Table", "CREATE TABLE more ()"},
		{"Function", "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'"},
		{"Nothing", "SELECT 1"},
		{"Again", "SELECT 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := pgtest.Recycled(t, migrateMore)
			if fresh, want := !used[url], c.name != "Constraint" && c.name != "Again"; fresh != want {
				t.Errorf("a fresh database: got %v, want %v", fresh, want)
			}
			used[url] = true
			conn := connect(t, url)
			var next, rows int
			var constraint bool
			if err := conn.QueryRow(t.Context(), `INSERT INTO things (name) VALUES ('second')
				RETURNING id, (SELECT count(*) FROM things WHERE name = 'first'), EXISTS (SELECT FROM pg_constraint WHERE conname = 'things_name_key')`).Scan(&next, &rows, &constraint); err != nil {
				t.Fatal(err)
			}
			if next != 2 || rows != 1 || !constraint {
				t.Errorf("got next id %d, %d rows, constraint %v", next, rows, constraint)
			}
			if _, err := conn.Exec(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
		})
	}
}
