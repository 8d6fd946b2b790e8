package app

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/topics"
)

// customerTopics is what erasing customers needs to know of Kafka.
type customerTopics struct {
	client *kafka.Client
	names  topics.Names
}

// Marks are what the request topics hold now.
func (t customerTopics) Marks(ctx context.Context) (m domain.ErasureMarks, err error) {
	if m.Stream, m.Ends, err = t.ends(ctx, t.names.Requests); err == nil {
		_, m.RedemptionEnds, err = t.ends(ctx, t.names.RedemptionRequests)
	}
	return m, err
}

func (t customerTopics) ends(ctx context.Context, name string) (stream string, end []int64, err error) {
	topic, err := topics.Describe(ctx, t.client, name)
	if err == nil {
		_, end, err = topics.Ends(ctx, t.client, name, topic.Partitions)
	}
	return topic.Stream, end, err
}

// Answered reports whether all that lies before the marks is answered, and the
// answers published: only then do the groups' offsets follow.
func (t customerTopics) Answered(ctx context.Context, m domain.ErasureMarks) (bool, error) {
	topic, err := topics.Describe(ctx, t.client, t.names.Requests)
	if err != nil {
		return false, err
	}
	// Of a topic that was made anew since, nothing is left to be answered.
	if topic.Stream == m.Stream {
		if passed, err := topics.Passed(ctx, t.client, t.names.IssuingGroup, t.names.Requests, m.Ends); err != nil || !passed {
			return false, err
		}
	}
	return topics.Passed(ctx, t.client, t.names.RedeemingGroup, t.names.RedemptionRequests, m.RedemptionEnds)
}

// Held are the topics that name customers, with until when they hold what is in them
// now.
func (t customerTopics) Held(ctx context.Context) ([]domain.Held, error) {
	named := []string{t.names.Requests, t.names.RedemptionRequests, t.names.Outcomes, t.names.RedemptionOutcomes, t.names.DeadLetters}
	kept, err := topics.Retention(ctx, t.client, named...)
	if err != nil {
		return nil, fmt.Errorf("topics that name customers: %w", err)
	}
	now := time.Now()
	held := make([]domain.Held, len(named))
	for i, name := range named {
		held[i].Topic = name
		if d := kept[name]; d >= 0 {
			held[i].Until = now.Add(d)
		}
	}
	return held, nil
}
