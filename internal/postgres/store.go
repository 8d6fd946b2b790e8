// Package postgres is the store. Its tables hold what is true: who holds which
// codes, which request has which, and how far each partition is decided. One
// public method is one transaction; what the database refuses by a named
// constraint or a PP code is mapped to an error in one place, errors.go. The
// order of locks is told in docs/issuing.md and kept by every statement here.
package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/conn"
	"promopool/internal/postgres/internal/db"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Errors of opening the store.
var (
	ErrSchemaOld = errors.New("the database's schema is older than this program: run promopool migrate")
	ErrUnsafe    = errors.New("the database may lose what it has acknowledged")
)

// Store is the service's state in PostgreSQL. Its methods may be called from
// several goroutines.
type Store struct {
	// PublicURL is where staff reach the HTTP interface, without a / at its end:
	// notices lead there. To be set before there are any.
	PublicURL string

	conns *conn.Conns
	q     *db.Queries // refuses to write

	generators  generators
	withdrawing withdrawing
	crossings   crossings
	erased      atomic.Pointer[domain.Pseudonyms]
}

// Open connects to the database and checks that its schema is this program's
// and that it keeps what it acknowledges. connections bounds those that read and
// those that write together; a connection waits at most a second for a lock.
func Open(ctx context.Context, url, application string, connections int) (*Store, error) {
	conns, err := conn.Open(ctx, url, application, connections)
	if err != nil {
		return nil, err
	}
	s := newStore(conns)
	if err := s.check(ctx); err != nil {
		conns.Close()
		return nil, err
	}
	return s, nil
}

func newStore(conns *conn.Conns) *Store { return &Store{conns: conns, q: db.New(conns.Reads())} }

// check refuses a database that would break a promise.
func (s *Store) check(ctx context.Context) error {
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := s.conns.Reads().QueryRow(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return fmt.Errorf("read setting %s: %w", setting, err)
		}
		if value == "off" {
			return fmt.Errorf("%w: %s is off, turn it on", ErrUnsafe, setting)
		}
	}
	var have int64
	if err := s.conns.Reads().QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&have); err != nil {
		return fmt.Errorf("%w (%w)", ErrSchemaOld, err)
	}
	if want := newestMigration(); have < want {
		return fmt.Errorf("%w (it is at %d, this program needs %d)", ErrSchemaOld, have, want)
	}
	return nil
}

// Close ends all connections.
func (s *Store) Close() { s.conns.Close() }

func migrator(url string) (*goose.Provider, func() error, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, nil, fmt.Errorf("database url: %w", err)
	}
	cfg.RuntimeParams["application_name"] = "promopool migrate"
	database := stdlib.OpenDB(*cfg)
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, database, files, goose.WithSessionLocker(locker))
	return p, database.Close, err
}

// Migrate brings the schema up to date. Several processes may call it at once:
// one works, under goose's session lock, and the others wait.
func Migrate(ctx context.Context, url string) error {
	p, closeDB, err := migrator(url)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer closeDB() //nolint:errcheck // nothing is written through it any more
	err = crashpoint.Do(ctx, crashpoint.Migrate, func() error {
		_, err := p.Up(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// newestMigration is the version that this program's queries need.
func newestMigration() int64 {
	entries, _ := fs.ReadDir(migrations, "migrations")
	var newest int64
	for _, e := range entries {
		var v int64
		if _, err := fmt.Sscanf(e.Name(), "%d_", &v); err == nil && v > newest {
			newest = v
		}
	}
	return newest
}
