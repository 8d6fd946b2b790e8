// Package conn keeps the store's connections. Those that the store reads over refuse
// to write: PostgreSQL itself does, with SQLSTATE 25006. To write takes a registered
// point (package crashpoint), so that a write without one fails wherever it is tried.
package conn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"promopool/internal/crashpoint"
	"promopool/internal/postgres/internal/db"
)

// readOnly is PostgreSQL's setting for connections whose transactions may not write
// unless they say so when they begin.
const readOnly = "default_transaction_read_only"

// Conns are the connections of a process.
type Conns struct {
	reads, writes *pgxpool.Pool
}

// Open connects to the database. A third of the connections are for reading. On each,
// a wait for a lock lasts a second at most. tune may change how they are made.
func Open(ctx context.Context, url, application string, connections int, tune ...func(*pgx.ConnConfig)) (*Conns, error) {
	reading := max(1, connections/3)
	reads, err := open(ctx, url, application, reading, "on", tune)
	if err != nil {
		return nil, err
	}
	writes, err := open(ctx, url, application, max(1, connections-reading), "off", tune)
	if err != nil {
		reads.Close()
		return nil, err
	}
	return &Conns{reads: reads, writes: writes}, nil
}

func open(ctx context.Context, url, application string, connections int, only string, tune []func(*pgx.ConnConfig)) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	cfg.MaxConns = int32(connections)
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = application
	params[readOnly] = only
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
	for _, t := range tune {
		t(cfg.ConnConfig)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return pool, nil
}

// Close ends all connections but those of sessions.
func (c *Conns) Close() {
	c.reads.Close()
	c.writes.Close()
}

// Reads are connections that refuse to write.
func (c *Conns) Reads() *pgxpool.Pool { return c.reads }

// answerTime is for how long a write waits for its answer. Then it is lost, as it is
// where the connection is: a peer that is silent would else hold up for minutes
// whatever waits for it.
const answerTime = 20 * time.Second

// One writes by one statement, which is a transaction of its own.
func (c *Conns) One(ctx context.Context, p *crashpoint.Point, work func(ctx context.Context, q *db.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return crashpoint.Do(ctx, p, func() error {
		return work(ctx, db.New(&once{db: c.writes}))
	})
}

// Begin begins a transaction that may write. Its COMMIT is the point.
func (c *Conns) Begin(ctx context.Context, p *crashpoint.Point) (*Tx, error) {
	tx, err := c.writes.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &Tx{Tx: tx, point: p}, nil
}

// Tx is a transaction that may write.
type Tx struct {
	pgx.Tx
	point *crashpoint.Point
}

// Commit makes true what the transaction has done.
func (t *Tx) Commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return crashpoint.Do(ctx, t.point, func() error { return t.Tx.Commit(ctx) })
}

// Session is a connection of its own, for work that holds locks from one transaction
// to the next.
type Session struct {
	conn *pgx.Conn
}

// Session returns a connection after it has run settings.
func (c *Conns) Session(ctx context.Context, settings string) (*Session, error) {
	pooled, err := c.reads.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	s := &Session{conn: pooled.Hijack()}
	if _, err := s.conn.Exec(ctx, settings); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// closeTime bounds the farewell to a server that may be gone.
const closeTime = time.Second

// Close ends the connection, and with it what it has locked.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	s.conn.Close(ctx)
}

// Reads asks over the connection, which refuses to write.
func (s *Session) Reads() *db.Queries { return db.New(s.conn) }

// One writes by one statement, in a transaction of its own.
func (s *Session) One(ctx context.Context, p *crashpoint.Point, work func(ctx context.Context, q *db.Queries) error) error {
	return s.InTx(ctx, p, func(tx pgx.Tx, _ *db.Queries) error { return work(ctx, db.New(&once{db: tx})) })
}

// InTx works in a transaction that may write, whose COMMIT is the point, and rolls
// it back when work fails.
func (s *Session) InTx(ctx context.Context, p *crashpoint.Point, work func(tx pgx.Tx, q *db.Queries) error) error {
	begun, err := s.conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	tx := &Tx{Tx: begun, point: p}
	err = work(tx, db.New(tx))
	if err == nil {
		if err = tx.Commit(ctx); err == nil {
			return nil
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	if undone := tx.Rollback(ending); undone != nil && !errors.Is(undone, pgx.ErrTxClosed) {
		s.Close() // what it holds must not outlive this
	}
	return err
}
