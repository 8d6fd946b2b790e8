package consumer

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"promopool/internal/kafkatest"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

// broker is a connection to the test's Kafka and a topic of its own there.
type broker struct {
	t      testing.TB
	addr   string
	client *kafka.Client
	topic  string
	out    *producer.Producer
}

func newBroker(t testing.TB, partitions int) *broker {
	t.Helper()
	b := connect(t, kafkatest.ForTest(t))
	b.create(partitions)
	return b
}

func connect(t testing.TB, addr string) *broker {
	t.Helper()
	current := goleak.IgnoreCurrent()
	restarted := goleak.IgnoreAnyFunction("promopool/internal/child.Start.func1") // a broker of the test's own
	t.Cleanup(func() { goleak.VerifyNone(t, current, restarted) })
	b := &broker{t: t, addr: addr, topic: kafkatest.Prefix(t) + "requests", client: topics.Client([]string{addr})}
	t.Cleanup(func() { topics.Close(b.client) })
	b.out = producer.New(b.client, nil, zerolog.Nop(), prometheus.NewRegistry())
	return b
}

func (b *broker) create(partitions int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := b.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: b.topic, NumPartitions: partitions, ReplicationFactor: 1,
	}}})
	if err == nil {
		err = res.Errors[b.topic]
	}
	if err != nil {
		b.t.Fatal(err)
	}
	var firsts []kafka.OffsetRequest
	for p := range partitions {
		firsts = append(firsts, kafka.FirstOffsetOf(p))
	}
	poll(b.t, "the topic's leaders", func() bool {
		res, err := b.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{b.topic: firsts}})
		return err == nil && !slices.ContainsFunc(res.Topics[b.topic], func(p kafka.PartitionOffsets) bool { return p.Error != nil })
	})
}

func (b *broker) remove() {
	b.t.Helper()
	res, err := b.client.DeleteTopics(b.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{b.topic}})
	if err == nil {
		err = res.Errors[b.topic]
	}
	if err != nil {
		b.t.Fatal(err)
	}
	poll(b.t, "the topic to be gone", func() bool {
		_, err := topics.Incarnation(b.t.Context(), b.client, b.topic)
		return errors.Is(err, kafka.UnknownTopicOrPartition)
	})
}

func (b *broker) publish(partition int, recs ...producer.Record) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.out.Publish(ctx, b.topic, partition, recs); err != nil {
		b.t.Fatal(err)
	}
}

// fetch reads from offset up to end.
func (b *broker) fetch(f *Fetcher, partition int, offset, end int64) []Record {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all []Record
	for offset < end {
		got, err := f.Fetch(ctx, partition, offset)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, got.Records...)
		offset = got.Next
	}
	return all
}

func values(recs []Record) []string {
	var vs []string
	for _, r := range recs {
		vs = append(vs, string(r.Value))
	}
	return vs
}

// kgoClient is a producer that compresses and does transactions, which ours does not.
func kgoClient(t testing.TB, b *broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// deleteRecords moves the start of partition 0.
func deleteRecords(t testing.TB, c *kgo.Client, topic string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rt.Partitions = []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: offset}}
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if code := res.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatal(kafka.Error(code))
	}
}
