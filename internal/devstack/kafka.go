package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"promopool/internal/child"
)

// attempts bounds how often a start is tried on another port, or waits for one.
const attempts = 20

// KafkaConfig says where a broker lives. Its zero value is a broker on a free
// port in a temporary folder.
type KafkaConfig struct {
	// DataDir keeps topics, records and group offsets between runs. Default: a
	// temporary folder that Close removes.
	DataDir string
	// Addr is the host:port to listen on and to tell clients. Default: a free
	// port of 127.0.0.1.
	Addr string
	// Partitions of a topic created without saying how many. Default 12.
	Partitions int
	Log        zerolog.Logger
}

// Kafka is a broker inside this process: one node, one goroutine, topics only
// by request. Its methods must not be called concurrently.
type Kafka struct {
	Addr string // host:port, the same after Stop and Start

	config  KafkaConfig
	folder  *folder        // nil when the data folder was given
	cluster *kfake.Cluster // nil when stopped
}

// StartKafka returns when a client can find the broker and its group coordinator.
func StartKafka(ctx context.Context, c KafkaConfig) (*Kafka, error) {
	if c.Partitions == 0 {
		c.Partitions = 12
	}
	k := &Kafka{Addr: c.Addr, config: c}
	if c.DataDir == "" {
		f, err := openFolder("")
		if err != nil {
			return nil, err
		}
		k.folder, k.config.DataDir = f, f.path
	}
	if err := k.Start(ctx); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Start starts a stopped broker on the address it had, with its data.
func (k *Kafka) Start(ctx context.Context) error {
	if err := os.MkdirAll(k.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		// Told from every other broker: what is remembered of one log must not
		// be taken for another's. Kept with the data.
		kfake.ClusterID("promopool-"+rand.Text()),
		kfake.DataDir(k.config.DataDir),
		kfake.DefaultNumPartitions(k.config.Partitions),
		// How often what is beyond its retention is dropped, too.
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": "15000"}),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return k.listen(ctx, network) }),
		kfake.WithLogger(brokerLog{k.config.Log}),
	)
	if err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	k.cluster = cluster
	if err := k.awaitAnswer(ctx); err != nil {
		k.Stop()
		return fmt.Errorf("start Kafka: %w", err)
	}
	return nil
}

// listen binds the address, waiting a little for one that a broker just
// stopped still holds.
func (k *Kafka) listen(ctx context.Context, network string) (net.Listener, error) {
	var err error
	for range attempts {
		addr := k.Addr
		if addr == "" {
			addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(child.FreePort()))
		}
		var l net.Listener
		if l, err = net.Listen(network, addr); err == nil {
			k.Addr = l.Addr().String()
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		if k.Addr == "" {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, err
}

// awaitAnswer asks as the service will: by kafka-go, for the broker and for
// the coordinator of a group.
func (k *Kafka) awaitAnswer(ctx context.Context) error {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(k.Addr), Timeout: 10 * time.Second, Transport: transport}
	meta, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return err
	}
	if len(meta.Brokers) != 1 {
		return fmt.Errorf("%d brokers at %s, want 1", len(meta.Brokers), k.Addr)
	}
	group, err := client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{
		Addr: client.Addr, Key: "promopool", KeyType: kafka.CoordinatorKeyTypeConsumer,
	})
	if err != nil {
		return err
	}
	return group.Error
}

// Cluster is the running broker, for tests that inject faults into it. It is
// another one after each Start.
func (k *Kafka) Cluster() *kfake.Cluster { return k.cluster }

// Stop ends the broker and every connection to it. Its data and its address
// stay for Start.
func (k *Kafka) Stop() {
	if k.cluster != nil {
		k.cluster.Close()
		k.cluster = nil
	}
}

// Close stops the broker and removes a temporary folder.
func (k *Kafka) Close() error {
	k.Stop()
	if k.folder != nil {
		return k.folder.close()
	}
	return nil
}

// brokerLog passes on what the broker calls an error. Its warnings are answers
// to clients' mistakes, which the clients report themselves.
type brokerLog struct{ log zerolog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error().Str("component", "kafka").Msgf(format, args...)
	case kfake.LogLevelWarn:
		l.log.Debug().Str("component", "kafka").Msgf(format, args...)
	}
}
