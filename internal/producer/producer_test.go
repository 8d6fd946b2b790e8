package producer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"promopool/internal/kafkatest"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

type world struct {
	t      *testing.T
	addr   string
	client *kafka.Client
	topic  string
	reg    *prometheus.Registry
	out    *producer.Producer
}

func newWorld(t *testing.T, addr string, settings ...kafka.ConfigEntry) *world {
	t.Helper()
	current := goleak.IgnoreCurrent()
	restarted := goleak.IgnoreAnyFunction("promopool/internal/child.Start.func1") // a broker of the test's own
	t.Cleanup(func() { goleak.VerifyNone(t, current, restarted) })
	w := &world{t: t, addr: addr, client: topics.Client([]string{addr}), topic: kafkatest.Prefix(t) + "out", reg: prometheus.NewRegistry()}
	t.Cleanup(func() { topics.Close(w.client) })
	w.out = producer.New(w.client, map[string]int{w.topic: producer.DefaultMaxBytes}, zerolog.Nop(), w.reg)
	res, err := w.client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: w.topic, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: settings,
	}}})
	if err == nil {
		err = res.Errors[w.topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) publish(recs ...producer.Record) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	return w.out.Publish(ctx, w.topic, 0, recs)
}

// log reads n records with another client library.
func (w *world) log(n int) []*kgo.Record {
	w.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(w.addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	var recs []*kgo.Record
	for len(recs) < n {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			w.t.Fatal(err)
		}
		recs = append(recs, f.Records()...)
	}
	return recs
}

func (w *world) wantLog(want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range w.log(len(want)) {
		got = append(got, string(r.Value))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("got %d records %.200q, want %d %.200q", len(got), got, len(want), want)
	}
}

func (w *world) retries() float64 {
	ms, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range ms {
		if m.GetName() == "promopool_publish_retries_total" {
			return m.GetMetric()[0].GetCounter().GetValue()
		}
	}
	w.t.Fatal("no such metric")
	return 0
}

func value(v string) producer.Record { return producer.Record{Value: []byte(v), Time: time.Now()} }

func TestPublish(t *testing.T) {
	w := newWorld(t, kafkatest.ForTest(t))
	at := time.UnixMilli(time.Now().UnixMilli())
	recs := []producer.Record{
		{Key: []byte("k"), Value: []byte("v"), Time: at, Headers: []kafka.Header{{Key: "ce_id", Value: []byte("1")}, {Key: "null"}, {Key: "", Value: []byte{}}}},
		{Time: at.Add(-1000 * time.Hour)},
		{Key: []byte{}, Value: []byte{}, Time: at.Add(time.Minute)},
	}
	if err := w.publish(recs...); err != nil {
		t.Fatal(err)
	}
	for i, got := range w.log(3) {
		want := recs[i]
		if !bytes.Equal(got.Key, want.Key) || (got.Key == nil) != (want.Key == nil) || (got.Value == nil) != (want.Value == nil) ||
			!bytes.Equal(got.Value, want.Value) || !got.Timestamp.Equal(want.Time) || len(got.Headers) != len(want.Headers) {
			t.Errorf("record %d: got %+v, want %+v", i, got, want)
		}
		for j, h := range got.Headers {
			if h.Key != want.Headers[j].Key || (h.Value == nil) != (want.Headers[j].Value == nil) || !bytes.Equal(h.Value, want.Headers[j].Value) {
				t.Errorf("record %d: got header %+v, want %+v", i, h, want.Headers[j])
			}
		}
	}
	if err := w.publish(); err != nil {
		t.Errorf("nothing to publish: %v", err)
	}
}

func TestPublishSplits(t *testing.T) {
	w := newWorld(t, kafkatest.ForTest(t))
	var recs []producer.Record
	var want []string
	for i := range 50 {
		v := fmt.Sprint(i, strings.Repeat("x", i*4000))
		recs, want = append(recs, value(v)), append(want, v)
	}
	if err := w.publish(recs...); err != nil {
		t.Fatal(err)
	}
	w.wantLog(want...)
	if n := w.retries(); n != 0 {
		t.Errorf("got %v retries, want none", n)
	}
}

// The broker's limit is lower than the producer knows.
func TestPublishLowerLimit(t *testing.T) {
	w := newWorld(t, kafkatest.ForTest(t), kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "2000"})
	var recs []producer.Record
	var want []string
	for i := range 30 {
		v := fmt.Sprint(i, strings.Repeat("x", 300))
		recs, want = append(recs, value(v)), append(want, v)
	}
	if err := w.publish(recs...); err != nil {
		t.Fatal(err)
	}
	w.wantLog(want...)
}

func TestPublishTooLarge(t *testing.T) {
	w := newWorld(t, kafkatest.ForTest(t))
	for _, size := range []int{1 << 20, 70 << 20} {
		err := w.publish(value("before"), value(strings.Repeat("x", size)), value("after"))
		var large *producer.TooLargeError
		if !errors.As(err, &large) || large.Index != 1 || large.Bytes < size {
			t.Errorf("%d bytes: got %v, want record 1 to be too large", size, err)
		}
	}
	if err := w.publish(value("end")); err != nil {
		t.Fatal(err)
	}
	w.wantLog("before", "before", "end")
}

func TestPublishToAbsentTopic(t *testing.T) {
	w := newWorld(t, kafkatest.ForTest(t))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := w.out.Publish(ctx, "none", 0, []producer.Record{value("a")})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "topic") {
		t.Errorf("got %v, want the deadline and its reason", err)
	}
}

func TestPublishNotLeader(t *testing.T) {
	if kafkatest.Real() {
		t.Skip("needs faults")
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := newWorld(t, c.ListenAddrs()[0])
	if err := w.publish(value("a")); err != nil {
		t.Fatal(err)
	}
	// The leader moves; the client's view is up to a second old.
	for range 4 {
		if err := c.MoveTopicPartition(w.topic, 0, (c.LeaderFor(w.topic, 0)+1)%3); err != nil {
			t.Fatal(err)
		}
		if err := w.publish(value("b")); err != nil {
			t.Fatal(err)
		}
	}
	w.wantLog("a", "b", "b", "b", "b")
	if w.retries() == 0 {
		t.Error("no retry although the leader moved")
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: w.topic, Err: kerr.NotEnoughReplicas, Count: 3})
	if err := w.publish(value("c")); err != nil {
		t.Error(err)
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: w.topic, Err: kerr.TopicAuthorizationFailed, Count: 1})
	if err := w.publish(value("d")); !errors.Is(err, kafka.TopicAuthorizationFailed) {
		t.Errorf("got %v, want %v", err, kafka.TopicAuthorizationFailed)
	}
}

// An answer is lost after the broker has applied the batch: it is sent again,
// and both are in the log.
func TestPublishLostAnswer(t *testing.T) {
	w := newWorld(t, kafkatest.ForTest(t))
	topics.Close(w.client)
	var lose atomic.Bool
	w.client.Transport = &kafka.Transport{MetadataTTL: time.Second, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &lossy{Conn: c, lose: &lose}, err
	}}
	lose.Store(true)
	if err := w.publish(value("a")); err != nil {
		t.Fatal(err)
	}
	if err := w.publish(value("b")); err != nil {
		t.Fatal(err)
	}
	w.wantLog("a", "a", "b")
	if n := w.retries(); n != 1 {
		t.Errorf("got %v retries, want 1", n)
	}
}

// lossy drops the answer to the first produce request after lose is set.
type lossy struct {
	net.Conn
	lose *atomic.Bool
	cut  bool
}

func (c *lossy) Write(b []byte) (int, error) {
	if len(b) > 8 && b[4] == 0 && b[5] == 0 && c.lose.CompareAndSwap(true, false) {
		c.cut = true
	}
	return c.Conn.Write(b)
}

func (c *lossy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.cut {
		c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestPublishThroughRestart(t *testing.T) {
	b := kafkatest.StartForTest(t, kafkatest.Options{})
	w := newWorld(t, b.Addr)
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- i
				return
			default:
				if err := w.publish(value(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	up := time.Now()
	if err := w.publish(value("after")); err != nil {
		t.Fatal(err)
	}
	t.Logf("published again %s after the broker was back", time.Since(up))
	close(stop)
	n := <-done
	seen := make(map[string]bool)
	for _, r := range w.log(n + 1) {
		seen[string(r.Value)] = true
	}
	for i := range n {
		if !seen[fmt.Sprint(i)] {
			t.Fatalf("record %d of %d was acknowledged and is lost", i, n)
		}
	}
}

func TestPartition(t *testing.T) {
	// From org.apache.kafka.common.utils.UtilsTest, positive murmur2 hashes.
	for key, hash := range map[string]int{
		"21": 1173551340, "foobar": 1357151166, "a-little-bit-long-string": 1161502112,
		"a-little-bit-longer-string": 661178819, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": 2088585677, "abc": 479470107,
	} {
		for _, n := range []int{1, 12, 300} {
			if got, want := producer.Partition([]byte(key), n), hash%n; got != want {
				t.Errorf("%q of %d: got %d, want %d", key, n, got, want)
			}
		}
	}
	if got, want := producer.Partition(nil, 12), producer.Partition([]byte{}, 12); got != want {
		t.Errorf("null key: got %d, want %d", got, want)
	}
}
