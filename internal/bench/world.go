package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"promopool/internal/child"
	"promopool/internal/devstack"
	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

// poolID is the pool that everything is issued from: one hot ample pool is the
// hardest case.
const poolID = "bench"

// scarcePoolID is the pool whose codes are taken in the batches' transactions.
const scarcePoolID = "bench-scarce"

// world is what a run measures on, and what it has made there.
type world struct {
	Config
	binary   string
	settings Settings
	closers  []func() error // in the order of opening

	brokers  []string
	server   string // PostgreSQL's URL
	database string // the run's own
	prefix   string
	names    topics.Names // of the service
	scratch  topics.Names // of the limits and the baselines
	client   *kafka.Client
	producer *producer.Producer
	db       *pgx.Conn
	requests maker
	services []*served // that run

	issued int64          // by the limits and the service, to be found in the database
	left   map[string]int // codes, by pool
	old    []int32        // lots that were issued before all measures

	lastLoad int // what the generator sent in the last round
	warm     bool
}

func open(ctx context.Context, c Config) (_ *world, err error) {
	w := &world{Config: c, left: map[string]int{}, old: []int32{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.binary, err = os.Executable(); err != nil {
		return nil, err
	}
	if w.server, err = w.servers(ctx); err != nil {
		return nil, err
	}
	run := strings.ToLower(rand.Text()[:8])
	if err := w.createDatabase(ctx, w.server, "promopool_bench_"+run); err != nil {
		return nil, fmt.Errorf("database of the run: %w", err)
	}
	if err := w.createTopics(ctx, "promopool-bench-"+run+"."); err != nil {
		return nil, fmt.Errorf("topics of the run: %w", err)
	}
	w.settings.describe(c, w.requests.sample())
	return w, w.db.QueryRow(ctx, "SHOW server_version").Scan(&w.settings.PostgreSQL)
}

// beside makes another world on the same servers, with a database and topics of
// its own.
func (w *world) beside(ctx context.Context) (*world, error) {
	c := w.Config
	c.Kafka, c.DatabaseURL = w.brokers, w.server
	return open(ctx, c)
}

func (w *world) onClose(f func() error) { w.closers = append(w.closers, f) }

// close removes what the run has made, the last first.
func (w *world) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// servers starts what was not given, each in a process of its own, and returns
// PostgreSQL's URL.
func (w *world) servers(ctx context.Context) (string, error) {
	server := w.DatabaseURL
	switch {
	case len(w.Kafka) > 0:
		w.brokers, w.settings.Kafka = w.Kafka, "as given"
	case w.RealKafka:
		w.say("start Apache Kafka %s", kafkatest.Version)
		b, err := kafkatest.Start(ctx, kafkatest.Options{Heap: "1g", Settings: map[string]string{"log.retention.check.interval.ms": "5000"}})
		if err != nil {
			return "", err
		}
		w.onClose(b.Close)
		w.brokers, w.settings.Kafka = []string{b.Addr}, "Apache Kafka "+kafkatest.Version+", one broker of our own"
	default:
		w.say("start the embedded Kafka and PostgreSQL")
		kafka, postgres, err := w.infra()
		if err != nil {
			return "", err
		}
		w.brokers, w.settings.Kafka = []string{kafka}, "embedded (kfake), in a process of its own"
		if server == "" {
			return postgres, nil
		}
	}
	if server != "" {
		return server, nil
	}
	w.say("start PostgreSQL")
	p, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{})
	if err != nil {
		return "", err
	}
	w.onClose(p.Close)
	return p.URL, nil
}

// infra starts promopool dev without the service.
func (w *world) infra() (kafkaAddr, postgresURL string, err error) {
	cmd := exec.Command(w.binary, "dev", "--only-infra", "--log-level", "error")
	cmd.Env, cmd.Stderr = environment(), w.Progress
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", "", err
	}
	p, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return "", "", err
	}
	w.onClose(func() error { return stop(p, 20*time.Second) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", "", fmt.Errorf("promopool dev ended before it was ready: %w", err)
	}
	if _, err := fmt.Sscanf(line, "kafka=%s postgres=%s", &kafkaAddr, &postgresURL); err != nil {
		return "", "", fmt.Errorf("promopool dev said %q: %w", line, err)
	}
	return kafkaAddr, postgresURL, nil
}

func (w *world) createDatabase(ctx context.Context, server, name string) error {
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	w.onClose(func() error { return admin.Close(context.Background()) })
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	w.onClose(func() error {
		_, err := admin.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		return err
	})
	u, err := url.Parse(server)
	if err != nil {
		return err
	}
	u.Path = "/" + name
	w.database = u.String()
	if err := postgres.Migrate(ctx, w.database); err != nil {
		return err
	}
	if w.db, err = pgx.Connect(ctx, w.database); err != nil {
		return err
	}
	w.onClose(func() error { return w.db.Close(context.Background()) })
	return nil
}

func (w *world) createTopics(ctx context.Context, prefix string) error {
	w.prefix, w.names, w.scratch = prefix, topics.Named(prefix), topics.Named(prefix+"scratch.")
	all := append(w.names.All(), w.scratch.All()...)
	w.client = topics.Client(w.brokers, all...)
	w.onClose(func() error { topics.Close(w.client); return nil })
	w.onClose(func() error {
		if len(w.Kafka) == 0 {
			return nil // it goes with its broker
		}
		_, err := w.client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: all})
		return err
	})
	for _, names := range []topics.Names{w.names, w.scratch} {
		if err := topics.Ensure(ctx, w.client, names, partitions); err != nil {
			return err
		}
	}
	// Batches as large as a producer makes them that has much to send.
	limits := map[string]int{w.names.Requests: batchBytes}
	w.producer = producer.New(w.client, limits, zerolog.Nop(), prometheus.NewRegistry())
	w.requests = newMaker(poolID)
	return nil
}

// fill makes the pool, with the codes for one round.
func (w *world) fill(ctx context.Context) error {
	if err := w.createCampaign(ctx); err != nil {
		return err
	}
	if w.wants("e") {
		if err := w.createPool(ctx, scarcePoolID, w.Requests); err != nil {
			return err
		}
	}
	if err := w.createPool(ctx, poolID, 2*w.Requests); err != nil {
		return err
	}
	return w.fillBaselines(ctx)
}

func (w *world) createCampaign(ctx context.Context) error {
	store, err := postgres.Open(ctx, w.database, "promopool bench", 2)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.CreateCampaign(ctx, "bench", domain.Campaign{ID: poolID, Name: "Bench"}, false); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	return nil
}

// createDraft makes a pool, which is not launched.
func createDraft(ctx context.Context, store *postgres.Store, campaign, id string) (domain.Pool, error) {
	pool, err := store.CreatePool(ctx, "bench", domain.Pool{ID: id, CampaignID: campaign, Name: "Bench", Description: "for a measurement",
		ParameterName: "promo_code", Processing: domain.Internal}, false)
	if err != nil {
		return pool, fmt.Errorf("pool %s: %w", id, err)
	}
	return pool, nil
}

// createPool makes and launches a pool with so many codes and plenty, which
// requests are for from then on.
func (w *world) createPool(ctx context.Context, id string, codes int) error {
	store, err := postgres.Open(ctx, w.database, "promopool bench", 2)
	if err != nil {
		return err
	}
	defer store.Close()
	pool, err := createDraft(ctx, store, poolID, id)
	if err != nil {
		return err
	}
	w.requests.pool = id
	if err := w.ensure(ctx, codes); err != nil {
		return err
	}
	if _, err := store.LaunchPool(ctx, "bench", id, pool.Version); err != nil {
		return fmt.Errorf("launch %s: %w", id, err)
	}
	return nil
}

// plenty is left in a pool whatever is issued, so that grants do not shrink: a
// small measure does not come to large ones.
func (w *world) plenty() int { return min(max(4*w.Requests, 20_000), 1_000_000) }

// ensure adds codes to the pool that requests are for when fewer than n and
// plenty are left.
func (w *world) ensure(ctx context.Context, n int) error {
	pool := w.requests.pool
	more := n + w.plenty() - w.left[pool]
	if more <= 0 {
		return nil
	}
	w.say("  add %d codes to the pool", more)
	// A lot for each connection: they do not wait for the same page.
	const lots = 2
	var all errgroup.Group
	for range lots {
		all.Go(func() error { return w.addLot(ctx, pool, (more+lots-1)/lots) })
	}
	if err := all.Wait(); err != nil {
		return fmt.Errorf("codes: %w", err)
	}
	w.left[pool] += more
	// What this leaves to be done would be done during the next measure.
	for _, sql := range []string{"VACUUM ANALYZE codes", "CHECKPOINT"} {
		if _, err := w.db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func (w *world) addLot(ctx context.Context, pool string, n int) error {
	db, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	var lot int32
	if err := db.QueryRow(ctx, "SELECT nextval('lot_numbers')").Scan(&lot); err != nil {
		return err
	}
	const chunk = 100_000
	for from := 0; from < n; from += chunk {
		if _, err := db.Exec(ctx, `INSERT INTO codes (pool, lot, seq, code)
			SELECT pool, $2::int, s, 'BENCH-' || $2::int || '-' || lpad(s::text, 8, '0') FROM pools, generate_series($3::bigint, $4::bigint - 1) s WHERE id = $1`,
			pool, lot, from, min(from+chunk, n)); err != nil {
			return err
		}
	}
	_, err = db.Exec(ctx, `SELECT add_lot(pool, $2, $3, NULL, NULL, NULL, NULL, NULL) FROM pools WHERE id = $1`, pool, lot, n)
	return err
}

// took notes that n codes are issued.
func (w *world) took(n int) {
	w.issued += int64(n)
	w.left[w.requests.pool] -= n
}

// verify makes sure that what was measured was issuing.
func (w *world) verify(ctx context.Context) error {
	var n, distinct int64
	if err := w.db.QueryRow(ctx, `SELECT count(*), count(DISTINCT (i.pool, i.lot, i.seq))
		FROM issuances i JOIN lots l ON l.pool = i.pool AND l.lot = i.lot WHERE l.lot <> ALL ($1)`, w.old).Scan(&n, &distinct); err != nil {
		return err
	}
	if n != w.issued || distinct != n {
		return fmt.Errorf("%d issuances of %d codes are stored, want %d: the figures are worth nothing", n, distinct, w.issued)
	}
	return nil
}

func (s *Settings) describe(c Config, event producer.Record) {
	s.Cores, s.Go, s.System = cores(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
	s.Requests, s.Partitions, s.LingerMS = c.Requests, partitions, float64(c.Linger)/1e6
	s.EventBytes = len(event.Key) + len(event.Value)
	s.Headers = len(event.Headers)
	for _, h := range event.Headers {
		s.EventBytes += len(h.Key) + len(h.Value)
	}
	s.BatchBytes, s.FetchBytes = batchBytes, fetchBytes
}
