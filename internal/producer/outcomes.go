package producer

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
)

// Answer is an outcome on its way to whoever sent the request.
type Answer struct {
	Outcome     *domain.Outcome
	Offset      int64  // of the delivery
	Key         []byte // of the delivery
	Traceparent []byte // of the delivery; nil: none
}

// Outcomes publishes answers as CloudEvents in Kafka's binary mode.
type Outcomes struct {
	producer   *Producer
	topic      string
	partitions int // of topic
	stream     string
	streamID   []byte // the same, as a header's value
	requests   int    // partitions of the request topic
}

// NewOutcomes returns a publisher of the answers to requests from a topic with
// the stream and number of partitions given.
func NewOutcomes(p *Producer, topic string, partitions int, stream string, requests int) *Outcomes {
	return &Outcomes{producer: p, topic: topic, partitions: partitions, stream: stream, requests: requests, streamID: []byte(stream)}
}

// Publish publishes the answers to deliveries of one request partition, in
// order, and returns when all are acknowledged.
func (o *Outcomes) Publish(ctx context.Context, partition int, answers []Answer) error {
	if len(answers) == 0 {
		return nil
	}
	now := time.Now()
	if o.partitions == o.requests {
		records := make([]Record, len(answers))
		for i := range answers {
			records[i] = o.record(partition, &answers[i], now)
		}
		return o.producer.Publish(ctx, o.topic, partition, records)
	}
	byPartition := map[int][]Record{}
	for i := range answers {
		at := Partition(answers[i].Key, o.partitions)
		byPartition[at] = append(byPartition[at], o.record(partition, &answers[i], now))
	}
	for at, records := range byPartition {
		if err := o.producer.Publish(ctx, o.topic, at, records); err != nil {
			return err
		}
	}
	return nil
}

// Values of headers that never change.
var (
	specVersion = []byte("1.0")
	jsonType    = []byte("application/json")
	source      = []byte(domain.Source)

	typeIssued     = []byte(domain.TypeCodeIssued)
	typeRejected   = []byte(domain.TypeCodeRejected)
	schemaIssued   = []byte(domain.DataSchema(domain.TypeCodeIssued))
	schemaRejected = []byte(domain.DataSchema(domain.TypeCodeRejected))
)

func (o *Outcomes) record(partition int, a *Answer, now time.Time) Record {
	out := a.Outcome
	var id, subject, eventTime string
	eventType, schema := typeIssued, schemaIssued
	value := make([]byte, 0, 512)
	if out.Verdict == domain.Rejected {
		eventType, schema = typeRejected, schemaRejected
		id = domain.RejectedEventID(o.stream, partition, a.Offset)
		subject, eventTime = out.Request.PoolID, domain.EventTime(out.DecidedAt)
		value = domain.AppendRejected(value, out)
	} else {
		id = domain.IssuedEventID(out.Issue.Pool.ID, out.Issue.RequestID)
		subject, eventTime = out.Issue.Pool.ID, domain.EventTime(out.Issue.IssuedAt)
		value = domain.AppendIssued(value, out.Issue)
	}
	headers := make([]kafka.Header, 0, 12)
	headers = append(headers,
		kafka.Header{Key: "ce_specversion", Value: specVersion},
		kafka.Header{Key: "ce_id", Value: []byte(id)},
		kafka.Header{Key: "ce_type", Value: eventType},
		kafka.Header{Key: "ce_source", Value: source},
		kafka.Header{Key: "ce_time", Value: []byte(eventTime)},
		kafka.Header{Key: "ce_subject", Value: []byte(subject)},
		kafka.Header{Key: "ce_dataschema", Value: schema},
		kafka.Header{Key: "content-type", Value: jsonType},
		kafka.Header{Key: "ce_requestpartition", Value: strconv.AppendInt(nil, int64(partition), 10)},
		kafka.Header{Key: "ce_requeststream", Value: o.streamID},
		kafka.Header{Key: "ce_requestoffset", Value: strconv.AppendInt(nil, a.Offset, 10)},
	)
	if a.Traceparent != nil {
		headers = append(headers, kafka.Header{Key: "traceparent", Value: a.Traceparent})
	}
	return Record{Key: a.Key, Value: value, Headers: headers, Time: now}
}

// DeadLetter is a delivery that is no event, as it was received.
type DeadLetter struct {
	Offset  int64
	Key     []byte
	Value   []byte
	Headers []kafka.Header
	Reason  string
	Detail  string
}

// DeadLetters publishes what cannot be answered.
type DeadLetters struct {
	producer   *Producer
	topic      string
	partitions int // of topic
	origin     string
	stream     []byte // of origin
}

// NewDeadLetters returns a publisher of dead letters that came from the origin
// topic with the stream given.
func NewDeadLetters(p *Producer, topic string, partitions int, origin, stream string) *DeadLetters {
	return &DeadLetters{producer: p, topic: topic, partitions: partitions, origin: origin, stream: []byte(stream)}
}

// Publish publishes the letters of one partition of the origin, in order. The
// bytes go unchanged, unless the broker takes no message that large: then as
// many as it takes.
func (d *DeadLetters) Publish(ctx context.Context, partition int, letters []DeadLetter) error {
	records := make([]Record, len(letters))
	for i := range letters {
		records[i] = d.record(partition, &letters[i])
	}
	for len(records) > 0 {
		err := d.producer.Publish(ctx, d.topic, partition%d.partitions, records)
		var large *TooLargeError
		if !errors.As(err, &large) {
			return err
		}
		records = records[large.Index:]
		records[0] = truncated(records[0])
	}
	return nil
}

func (d *DeadLetters) record(partition int, l *DeadLetter) Record {
	// Ours come first: a foreign header of such a name misleads nobody.
	headers := make([]kafka.Header, 0, len(l.Headers)+ownHeaders)
	headers = append(headers,
		kafka.Header{Key: "dl_reason", Value: []byte(l.Reason)},
		kafka.Header{Key: "dl_detail", Value: []byte(l.Detail)},
		kafka.Header{Key: "dl_topic", Value: []byte(d.origin)},
		kafka.Header{Key: "dl_stream", Value: d.stream},
		kafka.Header{Key: "dl_partition", Value: strconv.AppendInt(nil, int64(partition), 10)},
		kafka.Header{Key: "dl_offset", Value: strconv.AppendInt(nil, l.Offset, 10)},
	)
	headers = append(headers, l.Headers...)
	return Record{Key: l.Key, Value: l.Value, Headers: headers, Time: time.Now()}
}

// ownHeaders is how many headers of ours a dead letter has.
const ownHeaders = 6

// truncated halves what is largest in a record that the broker does not take,
// and says so in a header.
func truncated(r Record) Record {
	ours, theirs := r.Headers[:ownHeaders:ownHeaders], r.Headers[ownHeaders:]
	if len(theirs) > 0 && theirs[0].Key == "dl_truncated" {
		theirs = theirs[1:]
	}
	switch {
	case len(r.Value) > 1024:
		r.Value = r.Value[:len(r.Value)/2]
	case len(r.Key) > 1024:
		r.Key = r.Key[:len(r.Key)/2]
	default:
		theirs = nil
	}
	r.Headers = append(append(ours, kafka.Header{Key: "dl_truncated", Value: []byte("true")}), theirs...)
	return r
}
