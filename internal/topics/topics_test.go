package topics_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"promopool/internal/kafkatest"
	"promopool/internal/topics"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

// client is connected to the test's broker and closed with the test, after
// which no goroutine of it is left.
func client(t *testing.T) *kafka.Client {
	t.Helper()
	addr := kafkatest.ForTest(t)
	current := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, current) })
	c := topics.Client([]string{addr})
	t.Cleanup(func() { topics.Close(c) })
	return c
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func remove(t *testing.T, ctx context.Context, c *kafka.Client, topic string) {
	t.Helper()
	res, err := c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err = topics.Describe(ctx, c, topic); errors.Is(err, kafka.UnknownTopicOrPartition) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the topic does not go: %v", err)
		}
	}
}

func TestEnsure(t *testing.T) {
	c, ctx := client(t), deadline(t, 30*time.Second)
	names := topics.Named(kafkatest.Prefix(t))

	// Several processes start at once.
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := topics.Ensure(ctx, c, names, 3); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	for _, name := range names.All() {
		got, err := topics.Describe(ctx, c, name)
		if err != nil {
			t.Fatal(err)
		}
		if got.Partitions != 3 || got.MaxMessageBytes != 1048588 || len(got.Stream) != 16 {
			t.Errorf("got %+v, want 3 partitions, 1048588 bytes and a stream of 16 digits", got)
		}
		want := "2592000000"
		if strings.HasSuffix(name, "-requests") {
			want = "604800000"
		}
		if got := config(t, ctx, c, name, "retention.ms"); got != want {
			t.Errorf("retention.ms of %s: got %s, want %s", name, got, want)
		}
	}
	// What exists is left alone.
	if err := topics.Ensure(ctx, c, names, 5); err != nil {
		t.Fatal(err)
	}
	if got, err := topics.Describe(ctx, c, names.Requests); err != nil || got.Partitions != 3 {
		t.Errorf("got %+v, %v, want 3 partitions", got, err)
	}
}

// after lets something happen behind the first answer.
type after struct {
	kafka.RoundTripper
	once sync.Once
	do   func()
}

func (a *after) RoundTrip(ctx context.Context, addr net.Addr, r kafka.Request) (kafka.Response, error) {
	resp, err := a.RoundTripper.RoundTrip(ctx, addr, r)
	a.once.Do(a.do)
	return resp, err
}

// TestEnsureDeleted: a topic that is deleted when it has just been seen is made
// anew, not waited for.
func TestEnsureDeleted(t *testing.T) {
	c, ctx := client(t), deadline(t, 30*time.Second)
	names := topics.Named(kafkatest.Prefix(t))
	if err := topics.Ensure(ctx, c, names, 1); err != nil {
		t.Fatal(err)
	}
	late := *c
	late.Transport = &after{RoundTripper: c.Transport, do: func() { remove(t, ctx, c, names.Requests) }}
	if err := topics.Ensure(ctx, &late, names, 3); err != nil {
		t.Fatal(err)
	}
	if got, err := topics.Describe(ctx, c, names.Requests); err != nil || got.Partitions != 3 {
		t.Errorf("got %+v, %v, want it made anew with 3 partitions", got, err)
	}
}

func config(t *testing.T, ctx context.Context, c *kafka.Client, topic, key string) string {
	t.Helper()
	res, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{key},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return res.Resources[0].ConfigEntries[0].ConfigValue
}

func TestEnsureCompacted(t *testing.T) {
	c, ctx := client(t), deadline(t, 30*time.Second)
	names := topics.Named(kafkatest.Prefix(t))
	res, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: names.RedemptionRequests, NumPartitions: 1, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "compact"}},
	}}})
	if err == nil {
		err = res.Errors[names.RedemptionRequests]
	}
	if err != nil {
		t.Fatal(err)
	}
	err = topics.Ensure(ctx, c, names, 1)
	if err == nil || !strings.Contains(err.Error(), names.RedemptionRequests+" is compacted") {
		t.Errorf("got %v, want a refusal of the compacted topic", err)
	}
}

func TestEnsureReplicated(t *testing.T) {
	if kafkatest.Real() {
		t.Skip("the real broker is alone")
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	c, ctx := topics.Client(cluster.ListenAddrs()), deadline(t, 30*time.Second)
	defer topics.Close(c)
	names := topics.Named(kafkatest.Prefix(t))
	if err := topics.Ensure(ctx, c, names, 4); err != nil {
		t.Fatal(err)
	}
	if got := config(t, ctx, c, names.Requests, "min.insync.replicas"); got != "2" {
		t.Errorf("min.insync.replicas: got %s, want 2", got)
	}
	m, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{names.Requests}})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(m.Topics[0].Partitions[0].Replicas); got != 3 {
		t.Errorf("got %d replicas, want 3", got)
	}
}

func TestStreamOfIncarnation(t *testing.T) {
	c, ctx := client(t), deadline(t, 60*time.Second)
	names := topics.Named(kafkatest.Prefix(t))
	ensured := func() (topics.Topic, topics.Topic) {
		t.Helper()
		if err := topics.Ensure(ctx, c, names, 2); err != nil {
			t.Fatal(err)
		}
		a, err := topics.Describe(ctx, c, names.Requests)
		if err != nil {
			t.Fatal(err)
		}
		b, err := topics.Describe(ctx, c, names.Outcomes)
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	requests, outcomes := ensured()
	if requests.Stream == outcomes.Stream {
		t.Error("two topics are the same stream")
	}
	if again, _ := ensured(); again != requests {
		t.Errorf("asked again: got %+v, want %+v", again, requests)
	}
	remove(t, ctx, c, names.Requests)
	anew, same := ensured()
	if anew.Stream == requests.Stream {
		t.Error("a topic made anew has its old stream")
	}
	if same != outcomes {
		t.Errorf("the other topic: got %+v, want %+v", same, outcomes)
	}
}

func TestStreamOutlivesRestart(t *testing.T) {
	ctx := deadline(t, 2*time.Minute)
	names := topics.Named(kafkatest.Prefix(t))
	stream := func(addr string) string {
		c := topics.Client([]string{addr})
		defer topics.Close(c)
		if err := topics.Ensure(ctx, c, names, 2); err != nil {
			t.Fatal(err)
		}
		got, err := topics.Describe(ctx, c, names.Requests)
		if err != nil {
			t.Fatal(err)
		}
		return got.Stream
	}
	var before, after string
	if kafkatest.Real() {
		b := kafkatest.StartForTest(t, kafkatest.Options{})
		before = stream(b.Addr)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := b.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		after = stream(b.Addr)
	} else {
		dir := t.TempDir()
		for _, s := range []*string{&before, &after} {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir))
			if err != nil {
				t.Fatal(err)
			}
			*s = stream(c.ListenAddrs()[0])
			c.Close()
		}
	}
	if before != after {
		t.Errorf("after a restart: got %s, want %s", after, before)
	}
}

func TestDescribeAbsent(t *testing.T) {
	c, ctx := client(t), deadline(t, 10*time.Second)
	if _, err := topics.Describe(ctx, c, kafkatest.Prefix(t)+"none"); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("got %v, want %v", err, kafka.UnknownTopicOrPartition)
	}
}
