package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
	// together takes the codes of a batch in one statement.
	together bool
	codes    int64
}

var (
	plain = variant{name: "c", table: "baseline", codes: baselineCodes, batch: 1, take: `
		UPDATE baseline SET issued_at = now(), request_id = $2, customer_id = $3
		 WHERE id = (SELECT id FROM baseline WHERE pool = $1 AND issued_at IS NULL
		              ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING code`}
	tuned = variant{name: "c'", table: "baseline_tuned", codes: baselineCodes, random: true, batch: 100, take: `
		UPDATE baseline_tuned SET issued_at = now(), request_id = $2, customer_id = $3
		 WHERE id = (SELECT id FROM baseline_tuned WHERE pool = $1 AND issued_at IS NULL AND id >= $4
		              ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING code`}
	processed = variant{name: "s", table: "baseline_stream", codes: baselineCodes, take: strings.ReplaceAll(plain.take, plain.table, "baseline_stream")}
	batched   = variant{name: "c''", table: "baseline_batched", codes: batchedCodes, random: true, batch: 500, together: true, take: `
		WITH free AS (SELECT id, row_number() OVER () AS n FROM (
		       SELECT id FROM baseline_batched WHERE pool = $1 AND issued_at IS NULL AND id >= $4
		        ORDER BY id FOR UPDATE SKIP LOCKED LIMIT cardinality($2::text[])) f)
		UPDATE baseline_batched b SET issued_at = now(), request_id = a.request_id, customer_id = a.customer_id
		  FROM unnest($2::text[], $3::text[]) WITH ORDINALITY a(request_id, customer_id, n) JOIN free USING (n)
		 WHERE b.id = free.id RETURNING a.n, b.code`}
)

const (
	baselineCodes = 300_000
	batchedCodes  = 3_000_000
	// settling and window are what a baseline runs before and while it is
	// measured: it is slow, but steady.
	settling    = 700 * time.Millisecond
	window      = 2500 * time.Millisecond
	shortWindow = 1200 * time.Millisecond
)

func (w *world) fillBaselines(ctx context.Context) error {
	for _, v := range []variant{plain, tuned, batched, processed} {
		if !w.wants(v.name) {
			continue
		}
		for _, sql := range []string{
			// By id through a hash index: through an ordered one the planner would
			// also look for the first free code, past all those that are not.
			`CREATE TABLE %[1]s (id bigint NOT NULL, pool int NOT NULL, code text NOT NULL, issued_at timestamptz, request_id text, customer_id text)`,
			fmt.Sprintf(`INSERT INTO %%[1]s SELECT n, %d, 'BASE-' || n, NULL, NULL, NULL FROM generate_series(1, %d) n`, key, v.codes),
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
	}{{plain, &w.settings.Workers}, {tuned, &w.settings.TunedWorkers}, {batched, &w.settings.BatchedWorkers}} {
		if !w.wants(choice.v.name) {
			continue
		}
		best := 0.0
		for _, n := range []int{3, 6, 12} {
			rate, err := w.baseline(ctx, choice.v, n, shortWindow)
			if err != nil {
				return fmt.Errorf("(%s) with %d workers: %w", choice.v.name, n, err)
			}
			w.say("  %-3s %v, with %d workers", choice.v.name, rate, n)
			if rate.PerSecond > best {
				best, *choice.workers = rate.PerSecond, n
			}
		}
	}
	s.Workers, s.TunedWorkers, s.BatchedWorkers = w.settings.Workers, w.settings.TunedWorkers, w.settings.BatchedWorkers
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
		Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, BatchSize: v.batch,
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
		answers, err := v.answers(ctx, pool, messages)
		if err != nil {
			return err
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

// wish is a request as the baselines see it.
type wish struct {
	RequestID  string          `json:"request_id"`
	PoolID     string          `json:"pool_id"`
	CustomerID string          `json:"customer_id"`
	Context    json.RawMessage `json:"context"`
}

func (v variant) answers(ctx context.Context, pool *pgxpool.Pool, messages []kafka.Message) ([]kafka.Message, error) {
	wishes := make([]wish, len(messages))
	for i := range messages {
		if err := json.Unmarshal(messages[i].Value, &wishes[i]); err != nil {
			return nil, err
		}
	}
	codes, err := v.obtain(ctx, pool, wishes)
	if err != nil {
		return nil, fmt.Errorf("take a code: %w", err)
	}
	answers := make([]kafka.Message, len(messages))
	for i, r := range wishes {
		value, err := json.Marshal(map[string]any{
			"request_id": r.RequestID, "pool_id": r.PoolID, "customer_id": r.CustomerID,
			"code": codes[i], "issued_at": time.Now(), "context": r.Context,
		})
		if err != nil {
			return nil, err
		}
		answers[i] = kafka.Message{Key: messages[i].Key, Value: value, Headers: messages[i].Headers}
	}
	return answers, nil
}

// key is that of the pool, which a real consumer would have to look up.
const key = 1

func (v variant) obtain(ctx context.Context, pool *pgxpool.Pool, wishes []wish) ([]string, error) {
	if v.together {
		return v.obtainTogether(ctx, pool, wishes)
	}
	codes := make([]string, len(wishes))
	for i, r := range wishes {
		args := []any{key, r.RequestID, r.CustomerID}
		if v.random {
			args = append(args, 1+rand.Int64N(v.codes))
		}
		err := pool.QueryRow(ctx, v.take, args...).Scan(&codes[i])
		if errors.Is(err, pgx.ErrNoRows) && v.random {
			args[3] = int64(0)
			err = pool.QueryRow(ctx, v.take, args...).Scan(&codes[i])
		}
		if err != nil {
			return nil, err
		}
	}
	return codes, nil
}

// taken is a code for the request with that number in a statement.
type taken struct {
	At   int
	Code string
}

func (v variant) obtainTogether(ctx context.Context, pool *pgxpool.Pool, wishes []wish) ([]string, error) {
	codes := make([]string, 0, len(wishes))
	for from := 1 + rand.Int64N(v.codes); len(codes) < len(wishes); from = 0 {
		left := wishes[len(codes):]
		requests, customers := make([]string, len(left)), make([]string, len(left))
		for i, r := range left {
			requests[i], customers[i] = r.RequestID, r.CustomerID
		}
		rows, err := pool.Query(ctx, v.take, key, requests, customers, from)
		if err != nil {
			return nil, err
		}
		got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[taken])
		if err != nil {
			return nil, err
		}
		if len(got) == 0 && from == 0 {
			return nil, pgx.ErrNoRows
		}
		// It is the first requests that have got one.
		slices.SortFunc(got, func(a, b taken) int { return a.At - b.At })
		for _, t := range got {
			codes = append(codes, t.Code)
		}
	}
	return codes, nil
}
