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
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"promopool/internal/domain"
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

	pool *pgxpool.Pool
	q    *db.Queries

	generators generators
	crossings  crossings
	erased     atomic.Pointer[domain.Pseudonyms]
}

// Open connects to the database and checks that its schema is this program's
// and that it keeps what it acknowledges. connections bounds the pool; a
// connection waits at most a second for a lock.
func Open(ctx context.Context, url, application string, connections int) (*Store, error) {
	cfg, err := config(url, application, connections)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	s := &Store{pool: pool, q: db.New(pool)}
	if err := s.check(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

func config(url, application string, connections int) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	cfg.MaxConns = int32(connections)
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = application
	params["timezone"] = "UTC"
	params["lock_timeout"] = "1000"
	// A client frozen inside a transaction must not hold its locks for ever,
	// even when nobody takes its partitions over.
	params["idle_in_transaction_session_timeout"] = "5000"
	params["statement_timeout"] = "60000"
	// A plan that reads a whole table because it was small when the connection
	// first asked is kept when it has grown.
	params["enable_seqscan"] = "off"
	params["jit"] = "off"
	return cfg, nil
}

// check refuses a database that would break a promise.
func (s *Store) check(ctx context.Context) error {
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := s.pool.QueryRow(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return fmt.Errorf("read setting %s: %w", setting, err)
		}
		if value == "off" {
			return fmt.Errorf("%w: %s is off, turn it on", ErrUnsafe, setting)
		}
	}
	var have int64
	if err := s.pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&have); err != nil {
		return fmt.Errorf("%w (%w)", ErrSchemaOld, err)
	}
	if want := newestMigration(); have < want {
		return fmt.Errorf("%w (it is at %d, this program needs %d)", ErrSchemaOld, have, want)
	}
	return nil
}

// Close ends all connections.
func (s *Store) Close() { s.pool.Close() }

func migrator(url string) (*goose.Provider, func() error, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, nil, fmt.Errorf("database url: %w", err)
	}
	cfg.RuntimeParams["application_name"] = "promopool migrate"
	conn := stdlib.OpenDB(*cfg)
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, conn, files, goose.WithSessionLocker(locker))
	return p, conn.Close, err
}

// Migrate brings the schema up to date. Several processes may call it at once:
// one works, under goose's session lock, and the others wait.
func Migrate(ctx context.Context, url string) error {
	p, closeDB, err := migrator(url)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer closeDB() //nolint:errcheck // nothing is written through it any more
	if _, err := p.Up(ctx); err != nil {
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
