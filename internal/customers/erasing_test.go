package customers_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/customers"
	"promopool/internal/domain"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// cluster is what an eraser hears of Kafka.
type cluster struct {
	away, dumb atomic.Bool // nobody says what is held; nor what there is
	behind     atomic.Bool // not all is answered
	asked      atomic.Int64
}

func (c *cluster) Held(context.Context) ([]domain.Held, error) {
	if c.away.Load() {
		return nil, errors.New("no broker")
	}
	return []domain.Held{{Topic: "requests"}}, nil
}

func (c *cluster) Marks(context.Context) (domain.ErasureMarks, error) {
	if c.dumb.Load() {
		return domain.ErasureMarks{}, errors.New("no broker")
	}
	return domain.ErasureMarks{Stream: "stream", Ends: []int64{7 + c.asked.Add(1)}, RedemptionEnds: []int64{0}}, nil
}

func (c *cluster) Answered(_ context.Context, m domain.ErasureMarks) (bool, error) {
	if m.Ends[0] != 8 {
		return false, fmt.Errorf("the marks have become %v", m.Ends)
	}
	return !c.behind.Load(), nil
}

// bureau erases customers of a database of n codes, all of one customer.
type bureau struct {
	*customers.Eraser
	t       *testing.T
	store   *postgres.Store
	sql     *pgx.Conn
	cluster *cluster
}

func newBureau(t *testing.T, n int) *bureau {
	t.Helper()
	url := pgtest.Database(t, postgres.Migrate)
	store, err := postgres.Open(t.Context(), url, "test", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	b := &bureau{t: t, store: store, cluster: &cluster{}}
	if b.sql, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.sql.Close(context.Background()) })
	b.Eraser = customers.NewEraser(store, b.cluster, zerolog.Nop(), prometheus.NewRegistry())
	b.exec(`INSERT INTO campaigns (id, name, created_at) VALUES ('c', 'C', now());
		INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at, state, launched_at)
		SELECT 'p', campaign, 'P', 'p', 'code', false, false, false, 'internal', now(), 'active', now() FROM campaigns`)
	b.exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, 1, s, now(), now(), 'r-' || s, 'ann-4711' FROM pools, generate_series(0, $1::int - 1) s`, n)
	b.exec("INSERT INTO unlisted (at, pools, lots, firsts, counts) SELECT now(), ARRAY[pool], ARRAY[1], ARRAY[0], ARRAY[$1::bigint] FROM pools", n)
	return b
}

func (b *bureau) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.sql.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bureau) number(sql string) (n int64) {
	b.t.Helper()
	if err := b.sql.QueryRow(b.t.Context(), sql).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// hurried is a context that leaves an erasure no time to wait for others.
func hurried(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestErase: in pieces, once; a repeat erases what is new.
func TestErase(t *testing.T) {
	t.Parallel()
	b := newBureau(t, 1234)
	e, held, err := b.Erase(t.Context(), "test", "ann-4711")
	if err != nil || e.DoneAt.IsZero() || e.Issuances != 1234 || len(held) != 1 {
		t.Fatalf("got %+v, %v, %v", e, held, err)
	}
	if n := b.number("SELECT count(*) FROM issuances WHERE customer_id LIKE '%4711%'") + b.number("SELECT count(*) FROM customer_codes WHERE customer_id LIKE '%4711%'") +
		b.number("SELECT count(*) FROM erasures WHERE customer_id IS NOT NULL"); n != 0 {
		t.Errorf("%d rows still name the customer", n)
	}
	b.cluster.asked.Store(0)
	again, _, err := b.Erase(t.Context(), "test", "ann-4711")
	if err != nil || again.DoneAt.IsZero() || again.Issuances != 0 || again.No == e.No {
		t.Errorf("again: got %+v, %v", again, err)
	}
	if _, _, err := b.Erase(t.Context(), "test", domain.NewPseudonyms(make([]byte, 32)).Customer("x")); !errors.Is(err, domain.ErrPseudonym) {
		t.Errorf("a pseudonym: %v", err)
	}
}

// TestEraseWithoutKafka: nothing begins that cannot be told the end of; what has begun
// goes on when Kafka answers again, and is not done before.
func TestEraseWithoutKafka(t *testing.T) {
	t.Parallel()
	b := newBureau(t, 100)
	b.cluster.away.Store(true)
	if _, _, err := b.Erase(t.Context(), "test", "ann-4711"); !errors.Is(err, domain.ErrAway) || b.number("SELECT count(*) FROM erasures") != 0 {
		t.Errorf("Kafka is away: %v", err)
	}
	b.cluster.away.Store(false)
	b.cluster.dumb.Store(true)
	first, _, err := b.Erase(t.Context(), "anna", "ann-4711")
	if err != nil || !first.DoneAt.IsZero() || first.Issuances != 100 || first.Marks != nil {
		t.Errorf("without marks: got %+v, %v", first, err)
	}
	b.cluster.dumb.Store(false)
	b.cluster.behind.Store(true)
	if second, _, err := b.Erase(hurried(t), "bert", "ann-4711"); err == nil && !second.DoneAt.IsZero() {
		t.Errorf("done, though not all is answered: %+v", second)
	}
	open, err := b.store.OpenErasures(t.Context(), 0)
	if err != nil || len(open) != 1 || open[0].No != first.No || open[0].Actor != "anna" || open[0].Marks == nil {
		t.Errorf("open: %+v, %v", open, err)
	}
	b.cluster.behind.Store(false)
	b.exec("INSERT INTO outbox (topic, key, id, type, at, subject, value) VALUES ('code-outcomes', 'ann-4711', 'x', 'x', now(), 'p', 'ann-4711')")
	third, _, err := b.Erase(t.Context(), "bert", "ann-4711") // what came into the outbox since is not waited for
	if err != nil || third.DoneAt.IsZero() || third.No != first.No {
		t.Errorf("got %+v, %v", third, err)
	}
}

// TestEraseAwaitsOutbox: events that were committed before are published first.
func TestEraseAwaitsOutbox(t *testing.T) {
	t.Parallel()
	b := newBureau(t, 10)
	b.exec("INSERT INTO outbox (topic, key, id, type, at, subject, value) VALUES ('code-outcomes', 'ann-4711', 'x', 'x', now(), 'p', 'ann-4711')")
	done := make(chan domain.Erasure, 1)
	go func() {
		e, _, _ := b.Erase(t.Context(), "test", "ann-4711")
		done <- e
	}()
	for b.number("SELECT count(*) FROM erasures WHERE stream IS NOT NULL") == 0 {
	}
	if b.number("SELECT count(*) FROM erasures WHERE done_at IS NOT NULL") != 0 {
		t.Error("done, though an event waits")
	}
	events, err := b.store.Unpublished(t.Context(), 10)
	if err == nil {
		err = b.store.Published(t.Context(), []int64{events[0].No})
	}
	if err != nil {
		t.Fatal(err)
	}
	if e := <-done; e.DoneAt.IsZero() || e.Issuances != 10 {
		t.Errorf("got %+v", e)
	}
}

// TestEraserResumes: what nobody waits for any more is ended, whatever was left of it.
func TestEraserResumes(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"begun", "listed", "half erased", "erased", "marked"} {
		t.Run(left, func(t *testing.T) {
			t.Parallel()
			b := newBureau(t, 700)
			e, err := b.store.BeginErasure(t.Context(), "test", "ann-4711")
			if err != nil {
				t.Fatal(err)
			}
			if left != "begun" {
				if _, err := b.store.ListCodes(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			for more := left != "begun" && left != "listed"; more; {
				if more, err = b.store.ErasePiece(t.Context(), e, 300); err != nil {
					t.Fatal(err)
				}
				more = more && left != "half erased"
			}
			if left == "marked" {
				marks, err := b.cluster.Marks(t.Context())
				if err == nil {
					err = b.store.MarkErasure(t.Context(), e, marks)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			b.exec("UPDATE issuances SET issued_at = issued_at - interval '1 hour'")
			b.exec("UPDATE customer_codes SET issued_at = issued_at - interval '1 hour'")
			b.exec("UPDATE erasures SET begun_at = begun_at - interval '1 minute'")
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			for b.number("SELECT count(*) FROM erasures WHERE done_at IS NULL") > 0 {
				time.Sleep(5 * time.Millisecond)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := b.number("SELECT count(*) FROM issuances WHERE customer_id LIKE 'erased:%'"); n != 700 {
				t.Errorf("%d of 700 are erased", n)
			}
			if n := b.number("SELECT issuances FROM erasures"); n != 700 {
				t.Errorf("%d of 700 are counted", n)
			}
		})
	}
}
