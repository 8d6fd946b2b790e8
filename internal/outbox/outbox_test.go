package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"promopool/internal/devstack"
	"promopool/internal/domain"
	"promopool/internal/outbox"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

// world is a store and a broker that are real, with a publisher between them
// that can lose its mind.
type world struct {
	*testing.T
	sql    *pgx.Conn
	store  *postgres.Store
	kafka  outbox.Publisher
	addr   string
	topic  string
	parts  int
	failed func(published int) error // nil: never
}

func newWorld(t *testing.T) *world {
	url := pgtest.Database(t, postgres.Migrate)
	store, err := postgres.Open(t.Context(), url, "test", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	sql, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sql.Close(context.Background()) })
	k, err := devstack.StartKafka(t.Context(), devstack.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	names := topics.Named("promo.")
	client := topics.Client([]string{k.Addr}, names.All()...)
	t.Cleanup(func() { topics.Close(client) })
	if err := topics.Ensure(t.Context(), client, names, 4); err != nil {
		t.Fatal(err)
	}
	events := producer.NewEvents(producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry()),
		map[domain.Topic]producer.EventTopic{domain.ToPoolEvents: {Name: names.PoolEvents, Partitions: 4}})
	return &world{T: t, sql: sql, store: store, kafka: events, addr: k.Addr, topic: names.PoolEvents, parts: 4}
}

// Add commits events numbered from…till−1, of seven keys.
func (w *world) Add(from, till int) {
	w.Helper()
	for i := from; i < till; i++ {
		if _, err := w.sql.Exec(w.Context(), `INSERT INTO outbox (topic, key, id, type, at, subject, value)
			VALUES ('pool-events', $1, $2, 'promopool.pool.low', clock_timestamp(), 'p', $3)`,
			[]byte(fmt.Sprint("key-", i%7)), fmt.Sprint("id-", i), fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			w.Fatal(err)
		}
	}
}

// Publish is the real one, after which it may fail.
func (w *world) Publish(ctx context.Context, events []domain.Event) ([]int64, error) {
	done, err := w.kafka.Publish(ctx, events)
	if err == nil && w.failed != nil {
		if err := w.failed(len(done)); err != nil {
			return nil, err
		}
	}
	return done, err
}

// Carry runs n carriers until nothing waits.
func (w *world) Carry(n int) {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	var all sync.WaitGroup
	for range n {
		c := outbox.New(w.store, w, zerolog.Nop(), prometheus.NewRegistry())
		all.Go(func() { _ = c.Run(ctx) })
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var waiting int
		if err := w.sql.QueryRow(w.Context(), "SELECT count(*) FROM outbox").Scan(&waiting); err != nil {
			w.Fatal(err)
		}
		if waiting == 0 {
			break
		}
		if time.Now().After(deadline) {
			w.Fatalf("%d events are left", waiting)
		}
	}
	stop()
	all.Wait()
}

// Read returns the ids of what is in Kafka, by key, at least n different ones.
func (w *world) Read(n int) map[string][]string {
	w.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(w.addr), kgo.ConsumeTopics(w.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	got, seen := map[string][]string{}, map[string]string{}
	for len(seen) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.Fatalf("%d of %d events: %v", len(seen), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var id string
			for _, h := range r.Headers {
				if h.Key == "ce_id" {
					id = string(h.Value)
				}
			}
			if before, twice := seen[id]; twice && before != string(r.Value) {
				w.Errorf("%s was %s and is %s", id, before, r.Value)
			}
			seen[id] = string(r.Value)
			got[string(r.Key)] = append(got[string(r.Key)], id)
		})
	}
	return got
}

// Check wants events 0…n−1, those of a key in their order but for repeats.
func (w *world) Check(n int) {
	w.Helper()
	got := w.Read(n)
	want := map[string][]string{}
	for i := range n {
		key := fmt.Sprint("key-", i%7)
		want[key] = append(want[key], fmt.Sprint("id-", i))
	}
	for key, ids := range want {
		var first []string
		for _, id := range got[key] {
			if !slices.Contains(first, id) {
				first = append(first, id)
			}
		}
		if !slices.Equal(first, ids) {
			w.Errorf("%s: got %v, want %v", key, first, ids)
		}
	}
}

func TestCarry(t *testing.T) {
	w := newWorld(t)
	w.Add(0, 2500) // more than one load
	w.Carry(1)
	w.Check(2500)
}

// What was published and not forgotten is published again, and nothing is lost.
func TestCarryCrashed(t *testing.T) {
	w := newWorld(t)
	w.Add(0, 1500)
	tries := 0
	w.failed = func(int) error {
		if tries++; tries%2 == 1 {
			return errors.New("died before the rows were gone")
		}
		return nil
	}
	w.Carry(1)
	w.Check(1500)
}

// Two that carry at once cost repeats only.
func TestCarryTwice(t *testing.T) {
	w := newWorld(t)
	w.Add(0, 1500)
	w.Carry(2)
	w.Check(1500)
}
