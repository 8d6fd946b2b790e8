package producer

import (
	"context"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
)

// Redeemed is the answer to a redemption on its way to whoever asked.
type Redeemed struct {
	Redemption  *domain.Redemption
	Offset      int64  // of the delivery
	Key         []byte // of the delivery
	Traceparent []byte // of the delivery; nil: none
}

// Redemptions publishes the answers to redemptions.
type Redemptions struct{ replies }

// NewRedemptions returns a publisher on the terms of NewOutcomes.
func NewRedemptions(p *Producer, topic string, partitions int, stream string, requests int) *Redemptions {
	return &Redemptions{replies{producer: p, point: crashpoint.PublishRedemptions, topic: topic, partitions: partitions, stream: stream, requests: requests, streamID: []byte(stream)}}
}

// Publish publishes the answers to deliveries of one request partition, in
// order, and returns when all are acknowledged.
func (o *Redemptions) Publish(ctx context.Context, partition int, answers []Redeemed) error {
	if len(answers) == 0 {
		return nil
	}
	return o.publish(ctx, partition, o.records(partition, answers, time.Now()))
}

func (o *Redemptions) records(partition int, answers []Redeemed, now time.Time) []Record {
	records := make([]Record, len(answers))
	for i := range answers {
		a := &answers[i]
		e := a.Redemption.Event()
		records[i] = Record{Key: a.Key, Value: e.Value, Time: now, Headers: append(attributes(&e),
			kafka.Header{Key: "ce_requeststream", Value: o.streamID},
			kafka.Header{Key: "ce_requestpartition", Value: strconv.AppendInt(nil, int64(partition), 10)},
			kafka.Header{Key: "ce_requestoffset", Value: strconv.AppendInt(nil, a.Offset, 10)},
		)}
		if a.Traceparent != nil {
			records[i].Headers = append(records[i].Headers, kafka.Header{Key: "traceparent", Value: a.Traceparent})
		}
	}
	return records
}

// attributes are the headers of any event of ours.
func attributes(e *domain.Event) []kafka.Header {
	return append(make([]kafka.Header, 0, 12),
		kafka.Header{Key: "ce_specversion", Value: specVersion},
		kafka.Header{Key: "ce_id", Value: []byte(e.ID)},
		kafka.Header{Key: "ce_type", Value: []byte(e.Type)},
		kafka.Header{Key: "ce_source", Value: source},
		kafka.Header{Key: "ce_time", Value: domain.AppendEventTime(nil, e.At)},
		kafka.Header{Key: "ce_subject", Value: []byte(e.PoolID)},
		kafka.Header{Key: "ce_dataschema", Value: []byte(domain.DataSchema(e.Type))},
		kafka.Header{Key: "content-type", Value: jsonType},
	)
}
