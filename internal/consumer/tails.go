package consumer

import (
	"context"
	"strconv"

	"github.com/segmentio/kafka-go"

	"promopool/internal/topics"
)

// tailRecords is how many of the last records of an outcome partition are
// looked at. Outcomes come in the order of their requests but for repeats, so
// the highest offset is among the last, unless more repeats than this follow.
const tailRecords = 2000

// Tails looks at the ends of the topics that the service publishes to.
type Tails struct {
	client   *kafka.Client
	requests topics.Topic
	topics   []tail
}

// tail is a topic whose records name the deliveries that they answer.
type tail struct {
	topics.Topic
	fetcher                   *Fetcher
	stream, partition, offset string // names of headers
}

// NewTails returns a look at the outcomes and dead letters of requests.
func NewTails(client *kafka.Client, requests, outcomes, deadLetters topics.Topic) *Tails {
	of := func(t topics.Topic, stream, partition, offset string) tail {
		return tail{Topic: t, fetcher: NewFetcher(client, t.Name, DefaultFetchBytes), stream: stream, partition: partition, offset: offset}
	}
	return &Tails{client: client, requests: requests, topics: []tail{
		of(outcomes, "ce_requeststream", "ce_requestpartition", "ce_requestoffset"),
		of(deadLetters, "dl_stream", "dl_partition", "dl_offset"),
	}}
}

// Beyond returns the offset of a delivery of the request partition, at next or
// later, that has been answered, if there is one.
func (t *Tails) Beyond(ctx context.Context, partition int, next int64) (offset int64, found bool, err error) {
	for _, topic := range t.topics {
		starts, ends, err := topics.Ends(ctx, t.client, topic.Name, topic.Partitions)
		if err != nil {
			return 0, false, err
		}
		for p, end := range ends {
			if topic.Partitions == t.requests.Partitions && p != partition {
				continue // where the counts agree, answers keep the number
			}
			offset, found, err := t.scan(ctx, &topic, p, max(starts[p], end-tailRecords), end, partition, next)
			if found || err != nil {
				return offset, found, err
			}
		}
	}
	return 0, false, nil
}

func (t *Tails) scan(ctx context.Context, topic *tail, p int, at, end int64, partition int, next int64) (answered int64, found bool, err error) {
	err = eachBetween(ctx, topic.fetcher, p, at, end, func(r *Record) bool {
		if string(Header(r, topic.stream)) != t.requests.Stream || string(Header(r, topic.partition)) != strconv.Itoa(partition) {
			return false
		}
		offset, err := strconv.ParseInt(string(Header(r, topic.offset)), 10, 64)
		if err == nil && offset >= next {
			answered, found = offset, true
		}
		return found
	})
	return answered, found, err
}
