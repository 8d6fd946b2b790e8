package consumer

import (
	"strconv"
	"testing"

	"github.com/segmentio/kafka-go"

	"promopool/internal/producer"
	"promopool/internal/topics"
)

// TestNumbers: the highest number of the outbox is found at the ends of topics,
// among records that have none and behind repeats.
func TestNumbers(t *testing.T) {
	events := newBroker(t, 2)
	outcomes := *events
	outcomes.topic += "-outcomes"
	outcomes.create(1)
	numbers := NewNumbers(events.client, []topics.Topic{{Name: events.topic, Partitions: 2}}, []topics.Topic{{Name: outcomes.topic, Partitions: 1}})
	wants := func(number int64, topic string) {
		t.Helper()
		if n, name, err := numbers.Highest(t.Context()); err != nil || n != number || name != topic {
			t.Errorf("got %d in %q, %v, want %d in %q", n, name, err, number, topic)
		}
	}
	numbered := func(numbers ...int) (recs []producer.Record) {
		for _, n := range numbers {
			recs = append(recs, producer.Record{Value: []byte("{}"), Headers: []kafka.Header{{Key: "ce_outboxnumber", Value: []byte(strconv.Itoa(n))}}})
		}
		return recs
	}
	wants(0, "")
	events.publish(0, producer.Record{Value: []byte("{}")}, producer.Record{Value: []byte("{}"), Headers: []kafka.Header{{Key: "ce_outboxnumber", Value: []byte("many")}}})
	wants(0, "")
	events.publish(0, numbered(3, 5)...)
	events.publish(1, numbered(4)...)
	wants(5, events.topic)
	events.publish(0, numbered(3, 5)...)
	outcomes.publish(0, numbered(6)...)
	wants(6, outcomes.topic)
	for n := range 20 { // what answers requests has no number
		recs := make([]producer.Record, mixedRecords/10)
		for i := range recs {
			recs[i] = producer.Record{Value: []byte(strconv.Itoa(n))}
		}
		outcomes.publish(0, recs...)
	}
	wants(5, events.topic)
}
