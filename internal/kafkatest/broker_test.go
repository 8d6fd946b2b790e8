package kafkatest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

func TestForTest(t *testing.T) {
	c := dial(t, kafkatest.ForTest(t))
	topic := kafkatest.Prefix(t) + "requests"
	c.create(topic)
	c.produce(topic, "a")
	c.want(topic, "a")
}

func TestPrefix(t *testing.T) {
	a, b := kafkatest.Prefix(t), kafkatest.Prefix(t)
	if a == b || !strings.HasPrefix(a, "TestPrefix-") || !strings.HasSuffix(a, ".") {
		t.Errorf("got prefixes %q and %q, want two that name the test and end in a dot", a, b)
	}
}

// TestBrokerKeepsData is what every crash test builds on.
func TestBrokerKeepsData(t *testing.T) {
	b := kafkatest.StartForTest(t, kafkatest.Options{MinSession: time.Second})
	addr := b.Addr
	c := dial(t, addr)
	topic := kafkatest.Prefix(t) + "requests"
	c.create(topic)
	c.produce(topic, "a", "b")

	for _, end := range []struct {
		name string
		do   func() error
	}{{"Stop", b.Stop}, {"Kill", b.Kill}} {
		if err := end.do(); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Fatalf("%s: the broker still listens", end.name)
		}
		if err := b.Restart(t.Context()); err != nil {
			t.Fatalf("restart after %s: %v", end.name, err)
		}
		if b.Addr != addr {
			t.Fatalf("restart after %s: address %s, want %s", end.name, b.Addr, addr)
		}
		c.want(topic, "a", "b")
	}
	c.produce(topic, "c")
	c.want(topic, "a", "b", "c")

	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat of the temporary folder after Close: %v, want it gone", err)
	}
}

func TestBrokerSettings(t *testing.T) {
	dir := t.TempDir()
	b := kafkatest.StartForTest(t, kafkatest.Options{Dir: dir, Settings: map[string]string{"num.io.threads": "3"}})
	resp, err := dial(t, b.Addr).DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeBroker, ResourceName: "1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range resp.Resources[0].ConfigEntries {
		got[e.ConfigName] = e.ConfigValue
	}
	for name, want := range map[string]string{
		"group.coordinator.append.linger.ms": "0",
		"group.min.session.timeout.ms":       "6000",
		"num.io.threads":                     "3",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "meta.properties")); err != nil {
		t.Errorf("after Close of a broker with a folder of its own: %v, want the data kept", err)
	}
}

// client wraps kafka.Client with the steps of these tests.
type client struct {
	*kafka.Client
	t *testing.T
}

func dial(t *testing.T, addr string) client {
	transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
	t.Cleanup(transport.CloseIdleConnections)
	return client{&kafka.Client{Addr: kafka.TCP(addr), Timeout: 5 * time.Second, Transport: transport}, t}
}

func (c client) create(topic string) {
	c.t.Helper()
	resp, err := c.CreateTopics(c.t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}},
	})
	if err := errors.Join(err, resp.Errors[topic]); err != nil {
		c.t.Fatalf("create topic: %v", err)
	}
}

func (c client) produce(topic string, values ...string) {
	c.t.Helper()
	var records []kafka.Record
	for _, v := range values {
		records = append(records, kafka.Record{Value: kafka.NewBytes([]byte(v))})
	}
	c.eventually("produce", func(ctx context.Context) error {
		resp, err := c.Produce(ctx, &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
		if err != nil {
			return err
		}
		return resp.Error
	})
}

func (c client) want(topic string, want ...string) {
	c.t.Helper()
	var got []string
	c.eventually("fetch", func(ctx context.Context) error {
		got = nil
		resp, err := c.Fetch(ctx, &kafka.FetchRequest{Topic: topic, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 100 * time.Millisecond})
		if err := errors.Join(err, fetchError(resp)); err != nil {
			return err
		}
		for {
			r, err := resp.Records.ReadRecord()
			if err != nil {
				break // io.EOF
			}
			v, err := kafka.ReadAll(r.Value)
			if err != nil {
				return err
			}
			got = append(got, string(v))
		}
		return nil
	})
	if strings.Join(got, " ") != strings.Join(want, " ") {
		c.t.Errorf("fetched %q, want %q", got, want)
	}
}

func fetchError(resp *kafka.FetchResponse) error {
	if resp == nil {
		return nil
	}
	return resp.Error
}

// eventually repeats do: a topic just made, or a broker just started, may not
// have its leader yet.
func (c client) eventually(what string, do func(context.Context) error) {
	c.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		err := do(c.t.Context())
		if err == nil {
			return
		}
		select {
		case <-timeout:
			c.t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
