// Package e2e shows the promises on the whole service: the real binary as
// child processes, over the Kafka protocol, with PostgreSQL, killed and frozen
// at will.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/cli"
	"promopool/internal/consumer"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/topics"
	"promopool/internal/verify"
)

const partitions = 12

// TestMain runs promopool itself when a test starts this binary as a child.
func TestMain(m *testing.M) {
	if os.Getenv("PROMOPOOL_E2E_CHILD") != "" {
		armFromEnvironment()
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(kafkatest.Main(m))
}

// world is a Kafka, a PostgreSQL and the processes of a service on them.
type world struct {
	t        testing.TB
	kafka    string
	database string
	names    topics.Names
	prefix   string
	client   *kafka.Client
	producer *producer.Producer
	db       *pgx.Conn
	nodes    []*node
}

// newWorld starts the infrastructure, migrated and with topics, and no service.
func newWorld(t testing.TB) *world {
	return newWorldOn(t, kafkatest.ForTest(t), pgtest.Database(t, postgres.Migrate))
}

// newWorldOn makes a world whose topics are made by prepare where it makes them.
func newWorldOn(t testing.TB, broker, database string, prepare ...func(*world)) *world {
	prefix := kafkatest.Prefix(t)
	w := &world{t: t, kafka: broker, database: database, prefix: prefix, names: topics.Named(prefix)}
	w.client = topics.Client([]string{w.kafka}, w.names.All()...)
	t.Cleanup(func() { topics.Close(w.client) })
	for _, p := range prepare {
		p(w)
	}
	if err := topics.Ensure(t.Context(), w.client, w.names, partitions); err != nil {
		t.Fatal(err)
	}
	w.producer = producer.New(w.client, nil, zerolog.Nop(), prometheus.NewRegistry())
	var err error
	if w.db, err = pgx.Connect(t.Context(), w.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close(context.Background()) })
	return w
}

// node is one serve process.
type node struct {
	w    *world
	cmd  *exec.Cmd
	http string
	log  *bytes.Buffer
	done chan struct{}
}

// promopool is this binary as a command, which does not outlive us.
func promopool(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "PROMOPOOL_E2E_CHILD=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start starts a command, tells each line of its log, and closes done at its end.
func start(cmd *exec.Cmd, done chan struct{}, hear func(line []byte)) error {
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			hear(lines.Bytes())
		}
		_, _ = io.Copy(io.Discard, stderr)
		_ = cmd.Wait()
	}()
	return nil
}

// ends are the first and the last lines of a log.
func ends(text string) string {
	if len(text) > 8000 {
		return text[:2000] + "\n…\n" + text[len(text)-6000:]
	}
	return text
}

// Serve starts a process and waits until it serves.
func (w *world) Serve() *node {
	w.t.Helper()
	n := &node{w: w, log: &bytes.Buffer{}, done: make(chan struct{})}
	n.cmd = promopool("serve", "--kafka", w.kafka, "--database-url", w.database, "--topic-prefix", w.prefix, "--http-addr", "127.0.0.1:0")
	serving := make(chan string, 1)
	var mu sync.Mutex
	if err := start(n.cmd, n.done, func(line []byte) {
		mu.Lock()
		n.log.Write(line)
		n.log.WriteByte('\n')
		mu.Unlock()
		var l struct{ Message, HTTP string }
		if json.Unmarshal(line, &l) == nil && l.Message == "serving" {
			serving <- l.HTTP
		}
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if text := n.get("/metrics"); strings.Contains(text, "c0de-") {
			w.t.Error("a code is in the metrics")
		}
		n.Kill()
		mu.Lock()
		defer mu.Unlock()
		if i := strings.Index(n.log.String(), "c0de-"); i >= 0 {
			w.t.Errorf("a code is in the log: %.100s", n.log.String()[i:])
		}
		if w.t.Failed() {
			w.t.Logf("log of process %d:\n%s", n.cmd.Process.Pid, ends(n.log.String()))
		}
	})
	select {
	case n.http = <-serving:
	case <-n.done:
		w.t.Fatal("serve ended before it served")
	case <-time.After(30 * time.Second):
		w.t.Fatal("serve did not serve within 30 s")
	}
	w.nodes = append(w.nodes, n)
	return n
}

// Kill ends the process with SIGKILL.
func (n *node) Kill() { n.signal(syscall.SIGKILL); <-n.done }

// Stop ends the process with SIGTERM.
func (n *node) Stop() { n.signal(syscall.SIGTERM); <-n.done }

// Freeze and Thaw stop the process from running, and let it go on.
func (n *node) Freeze() { n.signal(syscall.SIGSTOP) }
func (n *node) Thaw()   { n.signal(syscall.SIGCONT) }

func (n *node) signal(s syscall.Signal) {
	select {
	case <-n.done:
	default:
		_ = n.cmd.Process.Signal(syscall.SIGCONT)
		_ = n.cmd.Process.Signal(s)
	}
}

// Ready reports whether readyz answers 200.
func (n *node) Ready() bool {
	resp, err := http.Get(n.http + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// AwaitReady waits until readyz answers 200.
func (n *node) AwaitReady() bool {
	for deadline := time.Now().Add(60 * time.Second); !n.Ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.w.t.Errorf("readyz says what is in the way: %s", n.Problems())
			return false
		}
	}
	return true
}

// Problems is what readyz says.
func (n *node) Problems() string { return n.get("/readyz") }

func (n *node) get(path string) string {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(n.http + path)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}

// groups are the consumer groups, both, or nothing when Kafka does not say.
func (w *world) groups() []kafka.DescribeGroupsResponseGroup {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	resp, err := w.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{w.names.IssuingGroup, w.names.RedeemingGroup}})
	if err != nil {
		return nil
	}
	return resp.Groups
}

// RemakeTopic deletes a topic and makes it anew.
func (w *world) RemakeTopic(name string) {
	w.t.Helper()
	resp, err := w.client.DeleteTopics(w.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{name}})
	if err == nil {
		err = resp.Errors[name]
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if err = topics.Ensure(w.t.Context(), w.client, w.names, partitions); err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}

// exec runs SQL.
func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// number asks SQL for one number.
func (w *world) number(sql string, args ...any) int64 {
	w.t.Helper()
	var n int64
	if err := w.db.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// Pool makes an active pool with n codes c0de-ID-0…c0de-ID-n−1.
func (w *world) Pool(id string, n int) {
	w.t.Helper()
	w.Draft(id)
	w.AddCodes(id, id, n)
	w.exec(`UPDATE pools SET state = 'active', launched_at = clock_timestamp(), revision = revision + 1,
		mode = CASE WHEN multi_use OR free_stock(pool) >= scarce_mark() THEN 'ample' ELSE 'scarce' END WHERE id = $1`, id)
}

// Draft makes a pool in draft.
func (w *world) Draft(id string) {
	w.t.Helper()
	w.exec(`INSERT INTO campaigns (id, name, created_at) VALUES ('c', 'Campaign', now()) ON CONFLICT DO NOTHING`)
	w.exec(`INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at)
		SELECT $1, campaign, $1, 'for a test', 'promo_code', false, false, false, 'internal', now() FROM campaigns WHERE id = 'c'`, id)
}

// AddCodes adds a lot of n codes c0de-PREFIX-0…, which no log and no metric may
// show.
func (w *world) AddCodes(id, prefix string, n int) {
	w.t.Helper()
	lot := w.number(`SELECT nextval('lot_numbers')`)
	w.exec(`INSERT INTO codes (pool, lot, seq, code) SELECT pool, $2, s, 'c0de-' || $3 || '-' || s FROM pools, generate_series(0, $4::bigint - 1) s WHERE id = $1`, id, lot, prefix, n)
	w.exec(`SELECT add_lot(pool, $2, $3, NULL, NULL, NULL, NULL, NULL) FROM pools WHERE id = $1`, id, lot, n)
}

// ask is a request to be sent.
type ask struct {
	pool, request, customer string
	key                     string // default: customer
}

func (a ask) record() producer.Record {
	value, _ := json.Marshal(map[string]any{"request_id": a.request, "pool_id": a.pool, "customer_id": a.customer, "context": map[string]any{"step": 3}})
	key := a.key
	if key == "" {
		key = a.customer
	}
	return producer.Record{Key: []byte(key), Value: value, Time: time.Now(), Headers: []kafka.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte("promopool.code.requested")},
		{Key: "ce_id", Value: []byte(a.request)}, {Key: "ce_source", Value: []byte("/test")},
		{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
	}}
}

// Send publishes requests, each to the partition of its key, and returns when
// all are acknowledged.
func (w *world) Send(asks ...ask) {
	w.t.Helper()
	byPartition := map[int][]producer.Record{}
	for _, a := range asks {
		r := a.record()
		p := producer.Partition(r.Key, partitions)
		byPartition[p] = append(byPartition[p], r)
	}
	w.publish(byPartition)
}

func (w *world) publish(byPartition map[int][]producer.Record) {
	w.t.Helper()
	var wg sync.WaitGroup
	for p, records := range byPartition {
		wg.Go(func() {
			if err := w.producer.Publish(w.t.Context(), w.names.Requests, p, records); err != nil {
				w.t.Errorf("publish: %v", err)
			}
		})
	}
	wg.Wait()
}

// answer is an outcome as a reader sees it.
type answer struct {
	Type        string
	ID, Time    string
	Partition   int
	From        string // request partition/offset
	Key         string
	Value       []byte
	RequestID   string `json:"request_id"`
	PoolID      string `json:"pool_id"`
	CustomerID  string `json:"customer_id"`
	Code        string `json:"code"`
	Reason      string `json:"reason"`
	Traceparent string `json:"-"`
}

// reader collects the records of a topic from its beginning.
type reader struct {
	w       *world
	topic   string
	fetcher *consumer.Fetcher
	offsets []int64
}

func (w *world) reader(topic string) *reader {
	w.t.Helper()
	described, err := topics.Describe(w.t.Context(), w.client, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	return &reader{w: w, topic: topic, fetcher: consumer.NewFetcher(w.client, topic, 4<<20), offsets: make([]int64, described.Partitions)}
}

// more calls f with new records until it returns true or the time is over.
func (r *reader) more(within time.Duration, f func(partition int, rec *consumer.Record) bool) bool {
	r.w.t.Helper()
	ctx, cancel := context.WithTimeout(r.w.t.Context(), within)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	met := false
	for p := range r.offsets {
		wg.Go(func() {
			for ctx.Err() == nil {
				got, err := r.fetcher.Fetch(ctx, p, r.offsets[p])
				if err != nil {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				mu.Lock()
				for i := range got.Records {
					if f(p, &got.Records[i]) {
						met = true
						cancel()
					}
				}
				r.offsets[p] = got.Next
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return met
}

// Answers waits for n more outcomes.
func (r *reader) Answers(n int, within time.Duration) []answer {
	r.w.t.Helper()
	var all []answer
	r.more(within, func(p int, rec *consumer.Record) bool {
		all = append(all, parse(r.w.t, p, rec))
		return len(all) >= n
	})
	if len(all) < n {
		r.w.t.Fatalf("%d outcomes within %v, want %d", len(all), within, n)
	}
	return all
}

func parse(t testing.TB, partition int, rec *consumer.Record) answer {
	a := answer{Partition: partition, Value: rec.Value, Key: string(rec.Key)}
	if err := json.Unmarshal(rec.Value, &a); err != nil {
		t.Errorf("outcome is not JSON: %v", err)
	}
	h := func(key string) string { return string(consumer.Header(rec, key)) }
	a.Type = strings.TrimPrefix(h("ce_type"), "promopool.")
	a.ID, a.Time, a.Traceparent = h("ce_id"), h("ce_time"), h("traceparent")
	a.From = h("ce_requestpartition") + "/" + h("ce_requestoffset")
	return a
}

// Verify checks the invariants with the auditor in the box, over connections of its
// own, as the command has them: the world's may be to a broker that was killed.
func (w *world) Verify() {
	w.t.Helper()
	client := topics.Client([]string{w.kafka})
	defer topics.Close(client)
	report, err := verify.Run(w.t.Context(), verify.Config{Client: client, Prefix: w.prefix, DatabaseURL: w.database})
	if err != nil {
		w.t.Errorf("verify: %v", err)
		return
	}
	if !report.Holds() {
		var text strings.Builder
		_ = report.WriteText(&text)
		w.t.Errorf("verify:\n%s", text.String())
	}
}
