package producer

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
)

// Answer is an outcome on its way to whoever sent the request.
type Answer struct {
	Outcome     *domain.Outcome
	Offset      int64  // of the delivery
	Key         []byte // of the delivery
	Traceparent []byte // of the delivery; nil: none
}

// replies is a topic of answers to the records of another.
type replies struct {
	producer   *Producer
	point      *crashpoint.Point
	topic      string
	partitions int // of topic
	stream     string
	streamID   []byte // the same, as a header's value
	requests   int    // partitions of the request topic
}

// publish puts the answers to records of one request partition, in order, where
// they belong: to the same number, or by their keys.
func (o *replies) publish(ctx context.Context, partition int, records []Record) error {
	if o.partitions == o.requests {
		return o.producer.publish(ctx, o.point, o.topic, partition, records)
	}
	byPartition := map[int][]Record{}
	for _, r := range records {
		at := Partition(r.Key, o.partitions)
		byPartition[at] = append(byPartition[at], r)
	}
	for at, records := range byPartition {
		if err := o.producer.publish(ctx, o.point, o.topic, at, records); err != nil {
			return err
		}
	}
	return nil
}

// Outcomes publishes answers as CloudEvents in Kafka's binary mode.
type Outcomes struct{ replies }

// NewOutcomes returns a publisher of the answers to requests from a topic with
// the stream and number of partitions given.
func NewOutcomes(p *Producer, topic string, partitions int, stream string, requests int) *Outcomes {
	return &Outcomes{replies{producer: p, point: crashpoint.PublishOutcomes, topic: topic, partitions: partitions, stream: stream, requests: requests, streamID: []byte(stream)}}
}

// Publish publishes the answers to deliveries of one request partition, in
// order, and returns when all are acknowledged.
func (o *Outcomes) Publish(ctx context.Context, partition int, answers []Answer) error {
	if len(answers) == 0 {
		return nil
	}
	return o.publish(ctx, partition, o.records(partition, answers, time.Now()))
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

// records lays answers out in a few large pieces of memory: one by one, they
// would be half of what a request costs the garbage collector.
func (o *Outcomes) records(partition int, answers []Answer, now time.Time) []Record {
	records := make([]Record, len(answers))
	l := layout{headers: make([]kafka.Header, 0, 12*len(answers))}
	number := strconv.AppendInt(nil, int64(partition), 10)
	for i := range answers {
		a := &answers[i]
		out := a.Outcome
		if cap(l.room)-len(l.room) < roomForOne {
			l.room = make([]byte, 0, roomForOne*min(len(answers)-i, 100))
		}
		first := len(l.headers)
		eventType, schema := typeIssued, schemaIssued
		var id, subject, value []byte
		var at time.Time
		if out.Verdict == domain.Rejected {
			eventType, schema = typeRejected, schemaRejected
			id = l.put(domain.AppendRejectedEventID(l.room, o.stream, partition, a.Offset))
			subject, at = l.text(out.Request.PoolID), out.DecidedAt
			value = l.put(domain.AppendRejected(l.room, out))
		} else {
			id = l.put(domain.AppendIssuedEventID(l.room, out.Issue.Pool.ID, out.Issue.RequestID))
			subject, at = l.text(out.Issue.Pool.ID), out.Issue.IssuedAt
			value = l.put(domain.AppendIssued(l.room, out.Issue))
		}
		l.headers = append(l.headers,
			kafka.Header{Key: "ce_specversion", Value: specVersion},
			kafka.Header{Key: "ce_id", Value: id},
			kafka.Header{Key: "ce_type", Value: eventType},
			kafka.Header{Key: "ce_source", Value: source},
			kafka.Header{Key: "ce_time", Value: l.time(at)},
			kafka.Header{Key: "ce_subject", Value: subject},
			kafka.Header{Key: "ce_dataschema", Value: schema},
			kafka.Header{Key: "content-type", Value: jsonType},
			kafka.Header{Key: "ce_requeststream", Value: o.streamID},
			kafka.Header{Key: "ce_requestpartition", Value: number},
			kafka.Header{Key: "ce_requestoffset", Value: l.put(strconv.AppendInt(l.room, a.Offset, 10))},
		)
		if a.Traceparent != nil {
			l.headers = append(l.headers, kafka.Header{Key: "traceparent", Value: a.Traceparent})
		}
		end := len(l.headers)
		records[i] = Record{Key: a.Key, Value: value, Headers: l.headers[first:end:end], Time: now}
	}
	return records
}

// roomForOne is what most outcomes take besides what all have in common. One
// that takes more makes its piece of memory grow.
const roomForOne = 512

// layout is the memory of the records of one call.
type layout struct {
	room    []byte
	headers []kafka.Header

	// what neighbours share
	lastText, lastTime []byte
	lastAt             time.Time
}

// put keeps what was appended to l.room, and returns it.
func (l *layout) put(grown []byte) []byte {
	from := len(l.room)
	l.room = grown
	return grown[from:len(grown):len(grown)]
}

func (l *layout) text(s string) []byte {
	if string(l.lastText) != s {
		l.lastText = l.put(append(l.room, s...))
	}
	return l.lastText
}

func (l *layout) time(t time.Time) []byte {
	if l.lastTime == nil || !t.Equal(l.lastAt) {
		l.lastAt, l.lastTime = t, l.put(domain.AppendEventTime(l.room, t))
	}
	return l.lastTime
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
	point      *crashpoint.Point
	topic      string
	partitions int // of topic
	origin     string
	stream     []byte // of origin
}

// NewDeadLetters returns a publisher of dead letters that came from the origin
// topic with the stream given, at a point.
func NewDeadLetters(p *Producer, point *crashpoint.Point, topic string, partitions int, origin, stream string) *DeadLetters {
	return &DeadLetters{producer: p, point: point, topic: topic, partitions: partitions, origin: origin, stream: []byte(stream)}
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
		err := d.producer.publish(ctx, d.point, d.topic, partition%d.partitions, records)
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
