package consumer

import (
	"context"
	"strconv"

	"github.com/segmentio/kafka-go"

	"promopool/internal/topics"
)

const (
	// numberRecords is how many of the last records of a partition are looked at
	// for numbers of the outbox. They grow but for repeats, of which there are
	// at most a thousand behind one another.
	numberRecords = 2000
	// mixedRecords is the same of the outcome topics, where most records have no
	// such number. One who issues by HTTP shows in the other topics soon.
	mixedRecords = 200
)

// Numbers looks for the numbers of the outbox at the ends of the topics that its
// events go to.
type Numbers struct {
	client *kafka.Client
	topics []numbered
}

type numbered struct {
	topics.Topic
	fetcher *Fetcher
	last    int64
}

// NewNumbers returns a look at topics of events only, and at topics where these
// are among outcomes of requests.
func NewNumbers(client *kafka.Client, events, outcomes []topics.Topic) *Numbers {
	n := &Numbers{client: client}
	for _, t := range events {
		n.topics = append(n.topics, numbered{t, NewFetcher(client, t.Name, DefaultFetchBytes), numberRecords})
	}
	for _, t := range outcomes {
		n.topics = append(n.topics, numbered{t, NewFetcher(client, t.Name, DefaultFetchBytes), mixedRecords})
	}
	return n
}

// Highest returns the highest number that it sees, and the topic which has it; 0:
// none has any.
func (n *Numbers) Highest(ctx context.Context) (number int64, topic string, err error) {
	for _, t := range n.topics {
		starts, ends, err := topics.Ends(ctx, n.client, t.Name, t.Partitions)
		if err != nil {
			return 0, "", err
		}
		for p, end := range ends {
			err := eachBetween(ctx, t.fetcher, p, max(starts[p], end-t.last), end, func(r *Record) bool {
				if no, err := strconv.ParseInt(string(Header(r, "ce_outboxnumber")), 10, 64); err == nil && no > number {
					number, topic = no, t.Name
				}
				return false
			})
			if err != nil {
				return 0, "", err
			}
		}
	}
	return number, topic, nil
}

// eachBetween gives the records of a stretch of a partition to found until that
// returns true.
func eachBetween(ctx context.Context, f *Fetcher, p int, at, end int64, found func(*Record) bool) error {
	for at < end {
		got, err := f.Fetch(ctx, p, at)
		if err != nil {
			return err
		}
		for i := range got.Records {
			if found(&got.Records[i]) {
				return nil
			}
		}
		if got.Next <= at {
			break // an open transaction, not ours, ends what can be read
		}
		at = got.Next
	}
	return nil
}
