package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// variant is a baseline: the consumer that everybody writes.
type variant struct {
	name  string
	table string
	take  string // the statement that takes a code
	// random starts looking at a random code, so that workers do not all want
	// the same rows.
	random bool
	// batch is how many messages share a write and a commit to Kafka.
	batch int
}

var (
	plain = variant{name: "c", table: "baseline", batch: 1, take: `
		UPDATE baseline SET issued_at = now(), request_id = $2, customer_id = $3
		 WHERE id = (SELECT id FROM baseline WHERE pool = $1 AND issued_at IS NULL
		              ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING code`}
	tuned = variant{name: "c'", table: "baseline_tuned", random: true, batch: 100, take: `
		UPDATE baseline_tuned SET issued_at = now(), request_id = $2, customer_id = $3
		 WHERE id = (SELECT id FROM baseline_tuned WHERE pool = $1 AND issued_at IS NULL AND id >= $4
		              ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING code`}
)

const (
	baselineCodes = 300_000
	// settling and window are what a baseline runs before and while it is
	// measured: it is slow, but steady.
	settling    = 700 * time.Millisecond
	window      = 2500 * time.Millisecond
	shortWindow = 1200 * time.Millisecond
)

func (w *world) fillBaselines(ctx context.Context, pool int32) error {
	for _, v := range []variant{plain, tuned} {
		if !w.wants(v.name) {
			continue
		}
		for _, sql := range []string{
			// By id through a hash index: through an ordered one the planner would
			// also look for the first free code, past all those that are not.
			`CREATE TABLE %[1]s (id bigint NOT NULL, pool int NOT NULL, code text NOT NULL, issued_at timestamptz, request_id text, customer_id text)`,
			fmt.Sprintf(`INSERT INTO %%[1]s SELECT n, %d, 'BASE-' || n, NULL, NULL, NULL FROM generate_series(1, %d) n`, pool, baselineCodes),
			`CREATE INDEX %[1]s_free ON %[1]s (pool, id) WHERE issued_at IS NULL`,
			`CREATE INDEX ON %[1]s USING hash (id)`,
			`VACUUM ANALYZE %[1]s`,
		} {
			if _, err := w.db.Exec(ctx, fmt.Sprintf(sql, v.table)); err != nil {
				return fmt.Errorf("baseline: %w", err)
			}
		}
	}
	return nil
}

// chooseWorkers tries how many workers help each baseline most.
func (w *world) chooseWorkers(ctx context.Context, s *Settings) error {
	for _, choice := range []struct {
		v       variant
		workers *int
	}{{plain, &w.settings.Workers}, {tuned, &w.settings.TunedWorkers}} {
		if !w.wants(choice.v.name) {
			continue
		}
		best := 0.0
		for _, n := range []int{3, 6, 12} {
			rate, err := w.baseline(ctx, choice.v, n, shortWindow)
			if err != nil {
				return fmt.Errorf("(%s) with %d workers: %w", choice.v.name, n, err)
			}
			w.say("  %-2s %v, with %d workers", choice.v.name, rate, n)
			if rate.PerSecond > best {
				best, *choice.workers = rate.PerSecond, n
			}
		}
	}
	s.Workers, s.TunedWorkers = w.settings.Workers, w.settings.TunedWorkers
	return nil
}

// baseline runs a variant with some workers for a while and returns its rate.
func (w *world) baseline(ctx context.Context, v variant, workers int, window time.Duration) (Rate, error) {
	// Kindly: autovacuum would come later, or in the middle.
	if _, err := w.db.Exec(ctx, "VACUUM (INDEX_CLEANUP on) "+v.table); err != nil {
		return Rate{}, err
	}
	cfg, err := pgxpool.ParseConfig(w.database)
	if err != nil {
		return Rate{}, err
	}
	cfg.MaxConns = int32(workers)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return Rate{}, err
	}
	defer pool.Close()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	out := &kafka.Writer{
		Addr: kafka.TCP(w.brokers...), Topic: w.scratch.RedemptionOutcomes, Transport: transport,
		Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond,
	}
	defer out.Close() //nolint:errcheck // every write was waited for
	ends, err := w.ends(ctx, w.scratch.RedemptionOutcomes)
	if err != nil {
		return Rate{}, err
	}

	working, stop := context.WithCancel(ctx)
	defer stop()
	all, working := errgroup.WithContext(working)
	group := fmt.Sprintf("%sbaseline-%d", w.prefix, time.Now().UnixNano())
	for range workers {
		all.Go(func() error {
			in := kafka.NewReader(kafka.ReaderConfig{
				Brokers: w.brokers, GroupID: group, Topic: w.names.Requests, StartOffset: kafka.FirstOffset,
				MaxWait: 500 * time.Millisecond, HeartbeatInterval: 250 * time.Millisecond, SessionTimeout: 6 * time.Second,
				RebalanceTimeout: 6 * time.Second, JoinGroupBackoff: 100 * time.Millisecond,
			})
			defer in.Close() //nolint:errcheck // what is not committed does not matter here
			err := v.work(working, in, out, pool)
			if working.Err() != nil {
				return nil
			}
			return err
		})
	}
	before := spend(0)
	m, err := w.watch(working, w.scratch.RedemptionOutcomes, sum(ends), 0, func(first, now time.Time) bool {
		return now.Sub(first) > settling+window
	})
	cost := spend(0).since(before)
	stop()
	if failed := all.Wait(); failed != nil {
		return Rate{}, failed
	}
	if err != nil {
		return Rate{}, err
	}
	return Rate{m.after(settling), cost.per(m.total())}, nil
}

// work is one worker.
func (v variant) work(ctx context.Context, in *kafka.Reader, out *kafka.Writer, pool *pgxpool.Pool) error {
	for {
		first, err := in.FetchMessage(ctx)
		if err != nil {
			return err
		}
		messages := []kafka.Message{first}
		for len(messages) < v.batch {
			soon, cancel := context.WithTimeout(ctx, time.Millisecond)
			next, err := in.FetchMessage(soon)
			cancel()
			if err != nil {
				break
			}
			messages = append(messages, next)
		}
		answers := make([]kafka.Message, len(messages))
		for i := range messages {
			if answers[i], err = v.answer(ctx, pool, &messages[i]); err != nil {
				return err
			}
		}
		if err := out.WriteMessages(ctx, answers...); err != nil {
			return err
		}
		// A fresh broker may still be moving the group about.
		var code kafka.Error
		if err := in.CommitMessages(ctx, messages...); err != nil && (!errors.As(err, &code) || !code.Temporary()) {
			return err
		}
	}
}

func (v variant) answer(ctx context.Context, pool *pgxpool.Pool, m *kafka.Message) (kafka.Message, error) {
	var request struct {
		RequestID  string          `json:"request_id"`
		PoolID     string          `json:"pool_id"`
		CustomerID string          `json:"customer_id"`
		Context    json.RawMessage `json:"context"`
	}
	if err := json.Unmarshal(m.Value, &request); err != nil {
		return kafka.Message{}, err
	}
	const key = 1 // of the pool, which a real one would have to look up
	args := []any{key, request.RequestID, request.CustomerID}
	if v.random {
		args = append(args, 1+rand.Int64N(baselineCodes))
	}
	var code string
	err := pool.QueryRow(ctx, v.take, args...).Scan(&code)
	if errors.Is(err, pgx.ErrNoRows) && v.random {
		args[3] = int64(0)
		err = pool.QueryRow(ctx, v.take, args...).Scan(&code)
	}
	if err != nil {
		return kafka.Message{}, fmt.Errorf("take a code: %w", err)
	}
	value, err := json.Marshal(map[string]any{
		"request_id": request.RequestID, "pool_id": request.PoolID, "customer_id": request.CustomerID,
		"code": code, "issued_at": time.Now(), "context": request.Context,
	})
	return kafka.Message{Key: m.Key, Value: value, Headers: m.Headers}, err
}
