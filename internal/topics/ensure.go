package topics

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
)

// Ensure creates the topics that are absent, with the given number of
// partitions, and returns when every partition of every topic has a leader that
// answers and the client knows of it. Existing topics are left as they are. A
// request topic that is compacted is refused: compaction would drop requests
// that nobody has answered.
//
// It is safe to repeat, and for several processes to do at once.
func Ensure(ctx context.Context, client *kafka.Client, names Names, partitions int) error {
	for found := false; !found; {
		if err := createAbsent(ctx, client, names, partitions); err != nil {
			return err
		}
		var err error
		if found, err = awaitLeaders(ctx, client, names.All()); err != nil {
			return err
		}
	}
	for _, s := range names.specs() {
		if !s.input {
			continue
		}
		t, err := Describe(ctx, client, s.name)
		if err != nil {
			return err
		}
		if t.compacted {
			return fmt.Errorf("topic %s is compacted (cleanup.policy), which would drop unanswered requests: set cleanup.policy=delete", s.name)
		}
	}
	return nil
}

func createAbsent(ctx context.Context, client *kafka.Client, names Names, partitions int) error {
	m, err := fetchMetadata(ctx, client, names.All())
	if err != nil {
		return fmt.Errorf("look up topics: %w", err)
	}
	var absent []kafka.TopicConfig
	for _, s := range names.specs() {
		switch err := m.topics[s.name].err; {
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			absent = append(absent, s.config(m.brokers, partitions))
		case err != nil && !errors.Is(err, kafka.LeaderNotAvailable):
			return fmt.Errorf("look up topic %s: %w", s.name, err)
		}
	}
	return create(ctx, client, absent)
}

func (s spec) config(brokers, partitions int) kafka.TopicConfig {
	c := kafka.TopicConfig{
		Topic:             s.name,
		NumPartitions:     partitions,
		ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(s.retention.Milliseconds(), 10)},
		},
	}
	if brokers >= 3 {
		c.ReplicationFactor = 3
		c.ConfigEntries = append(c.ConfigEntries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	return c
}

func create(ctx context.Context, client *kafka.Client, absent []kafka.TopicConfig) error {
	if len(absent) == 0 {
		return nil
	}
	var res *kafka.CreateTopicsResponse
	err := crashpoint.Do(ctx, crashpoint.CreateTopics, func() (err error) {
		res, err = client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: absent})
		return err
	})
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for name, err := range res.Errors {
		if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	return nil
}

// absentFor is how long a topic may be unknown to the brokers before it is taken to
// be gone: those that have not heard yet of a new one say the same.
const absentFor = 2 * time.Second

// errAbsent says that the brokers, not a cached view of them, do not know a topic.
var errAbsent = errors.New("there is no such topic")

// awaitLeaders polls until ListOffsets succeeds for every partition. CreateTopics
// answers before there are leaders, and the client routes by a cached view. It
// reports false when a topic is gone, as one may be that was being deleted when it
// was looked for.
func awaitLeaders(ctx context.Context, client *kafka.Client, topics []string) (bool, error) {
	there := time.Now()
	for {
		err := leadersAnswer(ctx, client, topics)
		switch {
		case err == nil:
			return true, nil
		case !errors.Is(err, errAbsent):
			there = time.Now()
		case time.Since(there) > absentFor:
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("await leaders: %w (%w)", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func leadersAnswer(ctx context.Context, client *kafka.Client, topics []string) error {
	now, err := fetchMetadata(ctx, client, topics)
	if err != nil {
		return err
	}
	cached, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return err
	}
	known := make(map[string]int, len(cached.Topics))
	for _, t := range cached.Topics {
		known[t.Name] = len(t.Partitions)
	}

	req := make(map[string][]kafka.OffsetRequest, len(topics))
	for _, name := range topics {
		t := now.topics[name]
		switch {
		case errors.Is(t.err, kafka.UnknownTopicOrPartition):
			return fmt.Errorf("topic %s: %w", name, errAbsent)
		case t.err != nil:
			return fmt.Errorf("topic %s: %w", name, t.err)
		case t.partitions == 0 || t.leaderless > 0:
			return fmt.Errorf("topic %s: %w", name, kafka.LeaderNotAvailable)
		case known[name] != t.partitions:
			return fmt.Errorf("topic %s: %w", name, kafka.UnknownTopicOrPartition)
		}
		for p := range t.partitions {
			req[name] = append(req[name], kafka.FirstOffsetOf(p))
		}
	}
	res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: req})
	if err != nil {
		return err
	}
	for name, ps := range res.Topics {
		for _, p := range ps {
			if p.Error != nil {
				return fmt.Errorf("topic %s partition %d: %w", name, p.Partition, p.Error)
			}
		}
	}
	return nil
}
