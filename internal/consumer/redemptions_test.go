package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/redeeming"
	"promopool/internal/topics"
)

// till is a Kafka and a PostgreSQL with a pool "p" of ten codes C0…C9, for loops
// over partition 0 of its redemption requests.
type till struct {
	t      *testing.T
	names  topics.Names
	client *kafka.Client
	out    *producer.Producer
	store  *postgres.Store
	db     *pgx.Conn
}

func newTill(t *testing.T) *till {
	t.Helper()
	w := &till{t: t, names: topics.Named(kafkatest.Prefix(t))}
	w.client = topics.Client([]string{kafkatest.ForTest(t)}, w.names.All()...)
	t.Cleanup(func() { topics.Close(w.client) })
	w.must(topics.Ensure(t.Context(), w.client, w.names, 1))
	w.out = producer.New(w.client, nil, zerolog.Nop(), prometheus.NewRegistry())
	url := pgtest.Database(t, postgres.Migrate)
	var err error
	w.store, err = postgres.Open(t.Context(), url, "test", 8)
	w.must(err)
	t.Cleanup(w.store.Close)
	w.db, err = pgx.Connect(t.Context(), url)
	w.must(err)
	t.Cleanup(func() { w.db.Close(context.Background()) })
	for _, sql := range []string{
		`INSERT INTO campaigns (id, name, created_at) VALUES ('c', 'Campaign', now())`,
		`INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, state, launched_at, created_at)
		 SELECT 'p', campaign, 'p', 'for a test', 'promo_code', false, false, false, 'internal', 'active', now(), now() FROM campaigns`,
		`INSERT INTO codes (pool, lot, seq, code) SELECT pool, 1, s, 'C' || s FROM pools, generate_series(0, 9) s`,
		`SELECT add_lot(pool, 1, 10, NULL, NULL, NULL, NULL, NULL) FROM pools`,
	} {
		_, err := w.db.Exec(t.Context(), sql)
		w.must(err)
	}
	return w
}

func (w *till) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Send publishes redemptions of codes under ids, each "id code".
func (w *till) Send(wishes ...string) {
	w.t.Helper()
	var records []producer.Record
	for _, wish := range wishes {
		id, code, _ := strings.Cut(wish, " ")
		value := fmt.Sprintf(`{"redemption_id": %q, "pool_id": "p", "code": %q, "context": { "n":  1}}`, id, code)
		if code == "" {
			value = id
		}
		records = append(records, producer.Record{Key: []byte("key " + id), Value: []byte(value), Time: time.Now(),
			Headers: []kafka.Header{{Key: "traceparent", Value: []byte("trace " + id)}}})
	}
	w.must(w.out.Publish(w.t.Context(), w.names.RedemptionRequests, 0, records))
}

// owner is one loop over the partition.
type owner struct {
	committed chan int64
	health    *consumer.Health
	stop      func() error
}

// Start runs a loop from an offset on, over a store that is perhaps not all that
// well.
func (w *till) Start(store redeeming.Store, offset int64) *owner {
	w.t.Helper()
	described, err := topics.Describe(w.t.Context(), w.client, w.names.RedemptionRequests)
	w.must(err)
	o := &owner{committed: make(chan int64, 1000), health: &consumer.Health{}}
	r := &consumer.Redemptions{
		Fetcher:     consumer.NewFetcher(w.client, w.names.RedemptionRequests, 1<<20).Of(described),
		Redeemer:    redeeming.New(store, func() { w.t.Error("what is answered over Kafka was put into the outbox") }, prometheus.NewRegistry()),
		Outcomes:    producer.NewRedemptions(w.out, w.names.RedemptionOutcomes, 1, described.Stream, 1),
		DeadLetters: producer.NewDeadLetters(w.out, nil, w.names.DeadLetters, 1, w.names.RedemptionRequests, described.Stream),
		Told:        consumer.NewTold(w.client, described, topics.Topic{Name: w.names.RedemptionOutcomes, Partitions: 1}, w.store),
		Health:      o.health, Stop: func(err error) { w.t.Error(err) }, Metrics: consumer.NewMetrics(prometheus.NewRegistry()), Log: zerolog.Nop(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.Work(ctx, consumer.Assignment{Offset: offset, Commit: func(offset int64) { o.committed <- offset }, Progress: func() {}})
	}()
	o.stop = sync.OnceValue(func() error { cancel(); return <-done })
	return o
}

// Until waits for the group's offset and stops the loop.
func (w *till) Until(o *owner, offset int64) {
	w.t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case at := <-o.committed:
			if at >= offset {
				w.must(o.stop())
				return
			}
		case <-deadline:
			w.t.Fatal("the offset was not committed")
		}
	}
}

// heard is one record of the outcomes or dead letters, but for its offset.
type heard struct {
	Key, Value string
	Headers    map[string]string
}

// Heard reads a topic.
func (w *till) Heard(topic string) (all []heard) {
	w.t.Helper()
	_, ends, err := topics.Ends(w.t.Context(), w.client, topic, 1)
	w.must(err)
	f := consumer.NewFetcher(w.client, topic, 1<<20)
	for at := int64(0); at < ends[0]; {
		got, err := f.Fetch(w.t.Context(), 0, at)
		w.must(err)
		for _, r := range got.Records {
			h := heard{string(r.Key), string(r.Value), map[string]string{}}
			for _, header := range r.Headers {
				h.Headers[header.Key] = string(header.Value)
			}
			all = append(all, h)
		}
		at = got.Next
	}
	return all
}

// faulty is a store that is cut off once, before it does what it is asked or
// behind that. frozen: so is its process, for good.
type faulty struct {
	redeeming.Store
	after, frozen bool
	calls         int
	reached, thaw chan struct{}
}

func (f *faulty) Redeem(ctx context.Context, asks []redeeming.Ask) ([]domain.Judgement, error) {
	if f.calls++; f.calls > 1 {
		return f.Store.Redeem(ctx, asks)
	}
	if f.after {
		if _, err := f.Store.Redeem(ctx, asks); err != nil {
			return nil, err
		}
	}
	close(f.reached)
	if f.frozen {
		<-f.thaw
	}
	return nil, errors.New("cut off")
}

// TestRedemptionsCrash: after whichever step a process is killed or an answer
// lost, every delivery is answered, what is answered twice with the same bytes
// under the same id, and what was judged is judged once.
func TestRedemptionsCrash(t *testing.T) {
	wishes := []string{"r-1 C1", "r-2 C1", "r-1 C1", "{", "r-3 C2", "r-4 C9", "r-1 C2"}
	for _, c := range []struct {
		name  string
		store *faulty
		again bool // the process is killed before it has committed its offset
		twice int  // answers that are there twice
	}{
		{"Quiet", nil, false, 0},
		{"R1JudgingFails", &faulty{}, false, 0},
		{"R1Killed", &faulty{frozen: true}, true, 0},
		{"AnswerLost", &faulty{after: true}, false, 0},
		{"R2Killed", &faulty{after: true, frozen: true}, true, 0},
		{"R3Killed", nil, true, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTill(t)
			w.Send(wishes...)
			end := int64(len(wishes))
			var store redeeming.Store = w.store
			if c.store != nil {
				c.store.Store, c.store.reached, c.store.thaw = w.store, make(chan struct{}), make(chan struct{})
				store = c.store
			}
			first := w.Start(store, 0)
			switch {
			case c.store != nil && c.store.frozen:
				<-c.store.reached
				defer first.stop() //nolint:errcheck // whatever it does when it thaws
				defer close(c.store.thaw)
			default:
				w.Until(first, end)
			}
			if c.again {
				w.Until(w.Start(w.store, 0), end)
			}

			outcomes := w.Heard(w.names.RedemptionOutcomes)
			if got, want := len(outcomes), len(wishes)-1+c.twice; got != want {
				t.Errorf("%d answers, want %d", got, want)
			}
			byDelivery, byID := map[string]heard{}, map[string]string{}
			for _, h := range outcomes {
				at := h.Headers["ce_requestoffset"]
				if before, ok := byDelivery[at]; ok {
					if diff := cmp.Diff(before, h); diff != "" {
						t.Errorf("delivery %s was answered otherwise\n%s", at, diff)
					}
				}
				byDelivery[at] = h
				if before, ok := byID[h.Headers["ce_id"]]; ok && before != h.Value {
					t.Errorf("%s is told in other words: %s, then %s", h.Headers["ce_id"], before, h.Value)
				}
				byID[h.Headers["ce_id"]] = h.Value
				if id := strings.TrimPrefix(h.Key, "key "); h.Headers["traceparent"] != "trace "+id || !strings.Contains(h.Value, fmt.Sprintf(`"redemption_id":%q`, id)) {
					t.Errorf("got %+v", h)
				}
			}
			var said []string
			for _, at := range slices.Sorted(maps.Keys(byDelivery)) {
				_, reason, _ := strings.Cut(byDelivery[at].Value, `"reason":"`)
				reason, _, _ = strings.Cut(reason, `"`)
				said = append(said, at+" "+reason)
			}
			want := []string{"0 ", "1 already_redeemed", "2 ", "4 ", "5 ", "6 redemption_conflict"}
			if diff := cmp.Diff(want, said); diff != "" {
				t.Errorf("answers (-want +got)\n%s", diff)
			}
			if len(byID) != 5 { // r-1's repeat has its id
				t.Errorf("%d ids, want 5", len(byID))
			}
			letters := w.Heard(w.names.DeadLetters)
			if len(letters) != 1+min(c.twice, 1) || letters[0].Headers["dl_topic"] != w.names.RedemptionRequests || letters[0].Headers["dl_offset"] != "3" {
				t.Errorf("dead letters: %+v", letters)
			}
			var rows, withdrawn int
			w.must(w.db.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM redemptions), (SELECT count(*) FROM withdrawn)").Scan(&rows, &withdrawn))
			if rows != 4 || withdrawn != 3 {
				t.Errorf("%d redemptions are stored and %d codes withdrawn, want 4 and 3", rows, withdrawn)
			}
		})
	}
}

// refusing is a store that the database of which refuses a code.
type refusing struct {
	redeeming.Store
	code string
}

func (r refusing) Redeem(ctx context.Context, asks []redeeming.Ask) ([]domain.Judgement, error) {
	if slices.ContainsFunc(asks, func(a redeeming.Ask) bool { return a.Code == r.code }) {
		return nil, redeeming.ErrPoison
	}
	return r.Store.Redeem(ctx, asks)
}

// TestRedemptionsPoison: what the database refuses goes to the dead letters, and
// the others are answered.
func TestRedemptionsPoison(t *testing.T) {
	w := newTill(t)
	w.Send("r-1 C1", "r-2 C2", "r-3 BAD", "r-4 C4", "r-5 C5")
	w.Until(w.Start(refusing{w.store, "BAD"}, 0), 5)
	if got := len(w.Heard(w.names.RedemptionOutcomes)); got != 4 {
		t.Errorf("%d answers, want 4", got)
	}
	letters := w.Heard(w.names.DeadLetters)
	if len(letters) != 1 || letters[0].Headers["dl_reason"] != "poison" || letters[0].Headers["dl_offset"] != "2" {
		t.Errorf("dead letters: %+v", letters)
	}
}

// restored is a store in the place of which a backup answers after a failure.
type restored struct {
	redeeming.Store
	restore func()
	once    sync.Once
}

func (r *restored) Redeem(ctx context.Context, asks []redeeming.Ask) (judged []domain.Judgement, err error) {
	r.once.Do(func() { r.restore(); err = errors.New("cut off") })
	if err != nil {
		return nil, err
	}
	return r.Store.Redeem(ctx, asks)
}

// TestRedemptionsBehind: a database that has forgotten a redemption redeems
// nothing, whether it is so at the start or comes in the place of another; with
// what it had forgotten, and the gate opened, it goes on.
func TestRedemptionsBehind(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("Running=%t", running), func(t *testing.T) {
			w := newTill(t)
			w.Send("r-1 C1", "r-2 C1")
			w.Until(w.Start(w.store, 0), 2)
			exec := func(sql string) {
				_, err := w.db.Exec(context.Background(), sql)
				w.must(err)
			}
			exec("CREATE TABLE newer AS SELECT * FROM redemptions")
			store := &restored{Store: w.store, restore: func() { exec("DELETE FROM redemptions") }}
			if !running {
				store.once.Do(store.restore)
			}
			w.Send("r-3 C1")
			o := w.Start(store, 2)
			for deadline := time.Now().Add(20 * time.Second); !strings.Contains(strings.Join(o.health.Problems(), "\n"), "gate"); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the gate was not closed: %q", o.health.Problems())
				}
			}
			if said := w.Heard(w.names.RedemptionOutcomes); len(said) != 2 {
				t.Errorf("more was told: %+v", said)
			}
			exec("INSERT INTO redemptions SELECT * FROM newer")
			exec("UPDATE service SET gate = NULL")
			w.Until(o, 3)
			if said := w.Heard(w.names.RedemptionOutcomes); len(said) != 3 || !strings.Contains(said[2].Value, "already_redeemed") {
				t.Errorf("got %+v", said)
			}
		})
	}
}
