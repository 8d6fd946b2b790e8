// Package producer puts records on Kafka. Publish returns when every record is
// acknowledged by all in-sync replicas, or with the reason why one cannot be. A
// batch whose answer was lost is sent again, so records may be in the log more
// than once, and after a failed Publish some may be: readers drop repeats by
// what identifies them. Which records, for which partition, at which time: that
// is the caller's.
package producer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
)

// RequestTimeout is how long one attempt may take, and so for how long after a
// failed Publish the broker may still apply it.
const RequestTimeout = 10 * time.Second

const (
	// DefaultMaxBytes is Kafka's own default of max.message.bytes.
	DefaultMaxBytes = 1048588
	// largestRequest stays below the socket.request.max.bytes of brokers (100
	// MiB by default), above which they hang up instead of refusing.
	largestRequest = 64 << 20

	firstPause = 20 * time.Millisecond
	lastPause  = 1 * time.Second
)

// Record is one message to publish. A nil Key or Value is null on the wire.
type Record struct {
	Key     []byte
	Value   []byte
	Headers []kafka.Header
	Time    time.Time
}

// TooLargeError says that the broker does not take one record even alone. The
// records before it are published, those after it are not.
type TooLargeError struct {
	Index int
	Bytes int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("record %d (%d bytes in its batch) is too large for the topic", e.Index, e.Bytes)
}

// Producer publishes to any topic over a shared client. It is safe for
// concurrent use; the order of records is that of the calls for a partition.
type Producer struct {
	client   *kafka.Client
	maxBytes map[string]int
	buffers  sync.Pool // of *[]byte
	ferry    ferry
	log      zerolog.Logger

	// Yield passes the time in waits that are too short for a timer (package lull).
	Yield func()

	seconds *prometheus.HistogramVec
	retries *prometheus.CounterVec
}

// New returns a Producer. maxBytes holds the max.message.bytes of topics; those
// not named have Kafka's default. A limit that is too high costs a refused
// request before the batch is halved.
func New(client *kafka.Client, maxBytes map[string]int, log zerolog.Logger, reg prometheus.Registerer) *Producer {
	p := &Producer{
		client:   client,
		maxBytes: maxBytes,
		Yield:    runtime.Gosched,
		log:      log.With().Str("component", "producer").Logger(),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "promopool_publish_seconds",
			Help:    "Time from handing records to the producer until all are acknowledged, retries included, by topic.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"topic"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_publish_retries_total",
			Help: "Produce requests sent again after an error or a lost answer, by topic.",
		}, []string{"topic"}),
	}
	reg.MustRegister(p.seconds, p.retries)
	for topic := range maxBytes {
		p.seconds.WithLabelValues(topic)
		p.retries.WithLabelValues(topic)
	}
	return p
}

// Publish appends recs, in order, to a partition of topic. It repeats what
// fails for a reason that may pass until ctx ends; then the error wraps
// ctx.Err() and the last reason. Other errors are the broker's refusal. It is for
// whatever is not the service, whose writes have a point.
func (p *Producer) Publish(ctx context.Context, topic string, partition int, recs []Record) error {
	return p.publish(ctx, nil, topic, partition, recs)
}

// publish is Publish at a crash point. Each attempt is a write.
func (p *Producer) publish(ctx context.Context, point *crashpoint.Point, topic string, partition int, recs []Record) error {
	start := time.Now()
	limit := p.maxBytes[topic]
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	for from := 0; from < len(recs); {
		n, bytes, err := p.send(ctx, point, topic, partition, recs[from:], limit)
		switch {
		case err == nil:
			from += n
		case errors.Is(err, errTooLarge) && n > 1:
			limit = bytes / 2 // the topic's limit was lowered
		case errors.Is(err, errTooLarge):
			return fmt.Errorf("publish to %s/%d: %w", topic, partition, &TooLargeError{from, bytes})
		default:
			return fmt.Errorf("publish to %s/%d: %w", topic, partition, err)
		}
	}
	p.seconds.WithLabelValues(topic).Observe(time.Since(start).Seconds())
	return nil
}

var errTooLarge = errors.New("batch too large")

// send puts the first n of recs in the log, as one batch of at most limit bytes,
// at least once.
func (p *Producer) send(ctx context.Context, point *crashpoint.Point, topic string, partition int, recs []Record, limit int) (n, bytes int, err error) {
	b, n := encode(p.buffer(), recs, limit)
	if bytes = len(b) - setSize; bytes > largestRequest {
		return n, bytes, errTooLarge
	}
	attempts, err := p.repeat(ctx, point, topic, partition, b)
	if err == nil && attempts == 1 {
		p.buffers.Put(&b) // otherwise a connection may still be writing it
	}
	return n, bytes, err
}

func (p *Producer) buffer() []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return *b
	}
	return nil
}

// repeat sends a batch until it is acknowledged, refused, or ctx ends.
func (p *Producer) repeat(ctx context.Context, point *crashpoint.Point, topic string, partition int, b []byte) (attempts int, err error) {
	pause := firstPause
	for attempts = 1; ; attempts++ {
		err := crashpoint.Do(ctx, point, func() error {
			return p.attempt(ctx, &parcel{topic: topic, partition: int32(partition), batch: b}, attempts == 1)
		})
		switch {
		case err == nil:
			return attempts, nil
		case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
			return attempts, errTooLarge
		case refused(err):
			return attempts, err
		}
		if attempts == 1 && ctx.Err() == nil {
			p.log.Warn().Err(err).Str("topic", topic).Int("partition", partition).Msg("produce failed, retrying until it succeeds")
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return attempts, fmt.Errorf("%w, last: %w", ctx.Err(), err)
		}
		p.retries.WithLabelValues(topic).Inc()
		pause = min(2*pause, lastPause)
	}
}

// refused tells the broker's lasting refusals from what may pass: lost
// connections and answers, elections, replicas that are away, topics that the
// client does not know of yet.
func refused(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case kafka.Unknown, kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable:
		return false
	}
	return !code.Temporary()
}
