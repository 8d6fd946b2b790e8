package load

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/producer"
)

// Target is where requests go.
type Target struct {
	Producer   *producer.Producer
	Topic      string
	Partitions int
}

// Pace says how fast. The zero value is as fast as possible.
type Pace struct {
	// Rate in requests a second, kept whatever the answers do: one that cannot
	// be sent when it is due counts as late from then on.
	Rate float64
	// Concurrency bounds the batches that are on their way at once. Default: one
	// a partition.
	Concurrency int

	// Due is called with each request, in order, before it is sent; may be nil.
	Due func(m *Message, due time.Time)
	// Acked is called after each acknowledgement, at any time; may be nil.
	Acked func(n int)
}

// Published is what became of a load.
type Published struct {
	Requests int64         `json:"requests"` // asked for
	Acked    int64         `json:"acknowledged"`
	Took     time.Duration `json:"took_ns"`
}

// Rate is acknowledged requests a second.
func (p *Published) Rate() float64 {
	if p.Took <= 0 {
		return 0
	}
	return float64(p.Acked) / p.Took.Seconds()
}

const (
	maxBatch = 1000
	queued   = 4 * maxBatch // by partition
)

// Publish sends every message to the partition of its key, in order by
// partition, with acks from all replicas, and returns when all is acknowledged
// or ctx ends. An error in messages ends the load after what came before it.
func Publish(ctx context.Context, t Target, pace Pace, messages iter.Seq2[Message, error]) (Published, error) {
	start := time.Now()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var acked atomic.Int64
	sends := make(chan struct{}, max(1, cmpOr(pace.Concurrency, t.Partitions)))
	queues := make([]chan producer.Record, t.Partitions)
	var wg sync.WaitGroup
	for p := range queues {
		queues[p] = make(chan producer.Record, queued)
		wg.Go(func() {
			for batch := range batches(queues[p]) {
				sends <- struct{}{}
				n, err := publish(ctx, t, p, batch)
				<-sends
				acked.Add(int64(n))
				if pace.Acked != nil {
					pace.Acked(n)
				}
				if err != nil {
					stop(err)
				}
			}
		})
	}
	requests, err := feed(ctx, t, pace, start, queues, messages)
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return Published{Requests: requests, Acked: acked.Load(), Took: time.Since(start)}, err
}

func cmpOr(a, b int) int {
	if a > 0 {
		return a
	}
	return b
}

// publish skips a record that the broker takes from nobody.
func publish(ctx context.Context, t Target, partition int, batch []producer.Record) (acked int, err error) {
	for {
		err := t.Producer.Publish(ctx, t.Topic, partition, batch)
		var tooLarge *producer.TooLargeError
		switch {
		case err == nil:
			return acked + len(batch), nil
		case errors.As(err, &tooLarge):
			acked += tooLarge.Index
			if batch = batch[tooLarge.Index+1:]; len(batch) == 0 {
				return acked, nil
			}
		default:
			return acked, err
		}
	}
}

// batches yields what has queued up, at most maxBatch at once, until the queue
// is closed.
func batches(queue <-chan producer.Record) iter.Seq[[]producer.Record] {
	return func(yield func([]producer.Record) bool) {
		for first := range queue {
			batch := append(make([]producer.Record, 0, maxBatch), first)
			for more := true; more && len(batch) < maxBatch; {
				select {
				case r, ok := <-queue:
					if more = ok; ok {
						batch = append(batch, r)
					}
				default:
					more = false
				}
			}
			if !yield(batch) {
				return
			}
		}
	}
}

// feed puts each message in its partition's queue when it is due.
func feed(ctx context.Context, t Target, pace Pace, start time.Time, queues []chan producer.Record, messages iter.Seq2[Message, error]) (n int64, err error) {
	for m, err := range messages {
		if err != nil {
			return n, err
		}
		due := time.Now()
		if pace.Rate > 0 {
			now := due
			due = start.Add(time.Duration(float64(n) / pace.Rate * float64(time.Second)))
			if wait := due.Sub(now); wait > 0 {
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
		}
		if pace.Due != nil {
			pace.Due(&m, due)
		}
		select {
		case queues[producer.Partition(m.Key, t.Partitions)] <- record(&m, due):
			n++
		case <-ctx.Done():
			return n, nil
		}
	}
	return n, nil
}

var (
	specVersion = []byte("1.0")
	source      = []byte("/promopool/request")
	contentType = []byte("application/json")
)

// record is the message as a CloudEvent in binary mode.
func record(m *Message, at time.Time) producer.Record {
	return producer.Record{
		Key: m.Key, Value: m.Value, Time: at,
		Headers: []kafka.Header{
			{Key: "ce_specversion", Value: specVersion},
			{Key: "ce_id", Value: []byte(m.RequestID)},
			{Key: "ce_type", Value: []byte(cmp.Or(m.Type, domain.TypeCodeRequested))},
			{Key: "ce_source", Value: source},
			{Key: "ce_time", Value: []byte(domain.EventTime(at))},
			{Key: "content-type", Value: contentType},
		},
	}
}
