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
			b.shape, err = s.row(b.name, save("kept"))
		}
	}
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(func() {
		switch found, err := s.row(b.name, restored("kept")); {
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

// row runs statements in a database and returns what the last one says.
func (s *server) row(database, sql string) (string, error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(database))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return text(ctx, conn, sql)
}
