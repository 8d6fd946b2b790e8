package producer

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
)

// Events publishes events of the outbox as CloudEvents in Kafka's binary mode.
type Events struct {
	producer *Producer
	topics   map[domain.Topic]EventTopic
}

// EventTopic is a topic as the cluster has it.
type EventTopic struct {
	Name       string
	Partitions int
}

// NewEvents returns a publisher to these topics.
func NewEvents(p *Producer, topics map[domain.Topic]EventTopic) *Events {
	return &Events{producer: p, topics: topics}
}

// Publish publishes events, those of one key in their order, and returns the
// numbers of those that are acknowledged. The error is that of the others. A
// *TooLargeError stops only those behind it in its partition.
func (e *Events) Publish(ctx context.Context, events []domain.Event) (published []int64, err error) {
	type place struct {
		topic     string
		partition int
	}
	var order []place
	parts := map[place][]domain.Event{}
	for _, event := range events {
		t := e.topics[event.Topic]
		at := place{t.Name, Partition([]byte(event.Key), t.Partitions)}
		if parts[at] == nil {
			order = append(order, at)
		}
		parts[at] = append(parts[at], event)
	}
	now := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, at := range order {
		all.Go(func() {
			batch := parts[at]
			records := make([]Record, len(batch))
			for i := range batch {
				records[i] = eventRecord(&batch[i], now)
			}
			failed := e.producer.publish(ctx, crashpoint.PublishEvents, at.topic, at.partition, records)
			done := len(batch)
			if large := (*TooLargeError)(nil); errors.As(failed, &large) {
				done = large.Index
			} else if failed != nil {
				done = 0
			}
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, failed)
			for _, event := range batch[:done] {
				published = append(published, event.No)
			}
		})
	}
	all.Wait()
	return published, err
}

func eventRecord(e *domain.Event, now time.Time) Record {
	headers := append(attributes(e), kafka.Header{Key: "ce_outboxnumber", Value: strconv.AppendInt(nil, e.No, 10)})
	if e.Traceparent != "" {
		headers = append(headers, kafka.Header{Key: "traceparent", Value: []byte(e.Traceparent)})
	}
	return Record{Key: []byte(e.Key), Value: e.Value, Headers: headers, Time: now}
}
