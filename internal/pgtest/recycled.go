package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Recycled returns the URL of a database as Database does with migrate, at a tenth
// of the time: an earlier test of the binary may have had it, and its rows and
// sequences are as migrate leaves them again. For tests that are many and small.
// Those that change more than rows may use it too: what they had nobody gets.
func Recycled(t testing.TB, migrate func(ctx context.Context, url string) error) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	template, err := s.template(t.Context(), "template0", migrate)
	if err != nil {
		t.Fatalf("migrated template: %v", err)
	}
	b := s.idle(template)
	if b.name == "" {
		if b.name, err = s.create(t.Context(), template); err == nil {
			b.shape, err = s.row(b.name, keep+shape)
		}
	}
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(func() {
		switch found, err := s.row(b.name, reset+shape); {
		case err != nil:
			t.Errorf("reset test database: %v", err)
		case found == b.shape:
			s.release(template, b)
		default:
			if err := s.exec(context.Background(), "DROP DATABASE "+b.name+" WITH (FORCE)"); err != nil {
				t.Errorf("drop test database: %v", err)
			}
		}
	})
	return s.url(b.name)
}

// bottle is a database that waits for another test.
type bottle struct{ name, shape string }

func (s *server) idle(template string) (b bottle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.bottles[template]; len(all) > 0 {
		b = all[len(all)-1]
		s.bottles[template] = all[:len(all)-1]
	}
	return b
}

func (s *server) release(template string, b bottle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bottles[template] = append(s.bottles[template], b)
}

const (
	// keep puts aside the rows and where the sequences are.
	keep = `
CREATE SCHEMA kept;
DO $$ DECLARE r record; filled boolean; BEGIN
    FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', r.relname) INTO filled;
        IF filled THEN
            EXECUTE format('CREATE TABLE kept.%I AS TABLE public.%I', r.relname, r.relname);
        END IF;
    END LOOP;
END $$;`

	reset = `
SET session_replication_role = replica;
SET synchronous_commit = off;
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('DELETE FROM public.%I', r.relname);
    END LOOP;
    FOR r IN SELECT k.relname, c.relkind FROM pg_class k LEFT JOIN pg_class c ON c.relname = k.relname AND c.relnamespace = 'public'::regnamespace
              WHERE k.relnamespace = 'kept'::regnamespace LOOP
        IF r.relkind = 'r' THEN
            EXECUTE format('INSERT INTO public.%I OVERRIDING SYSTEM VALUE TABLE kept.%I', r.relname, r.relname);
        ELSIF r.relkind = 'S' THEN
            EXECUTE format('SELECT setval(%L, last_value, is_called) FROM kept.%I', 'public.' || r.relname, r.relname);
        END IF;
    END LOOP;
END $$;`

	// shape changes with tables, constraints, indexes, triggers and functions.
	shape = `
SELECT md5(string_agg(x, ',' ORDER BY x)) FROM (
    SELECT c.oid::text AS x FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s', a.attrelid, a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT oid::text FROM pg_constraint
    UNION ALL SELECT format('%s %s', oid, tgenabled) FROM pg_trigger
    UNION ALL SELECT format('%s %s', oid, xmin) FROM pg_proc WHERE pronamespace = 'public'::regnamespace) s`
)

// row runs statements in a database and returns what the last one says.
func (s *server) row(database, sql string) (text string, err error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(database))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	return string(results[len(results)-1].Rows[0][0]), nil
}
