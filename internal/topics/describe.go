package topics

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"
)

// Topic is what a broker says of a topic.
type Topic struct {
	Name       string
	Partitions int
	// ID is the cluster's own name for this incarnation of the topic.
	ID [16]byte
	// Stream identifies the cluster, the topic and its incarnation in 16 hex
	// digits. It outlives restarts, moves of leaders and added partitions, and
	// changes when the topic is deleted and created again.
	Stream string
	// MaxMessageBytes is the largest record batch the broker takes.
	MaxMessageBytes int

	compacted bool
}

// Describe asks the cluster about one topic, past the client's cache. An absent
// topic is kafka.UnknownTopicOrPartition.
func Describe(ctx context.Context, client *kafka.Client, topic string) (Topic, error) {
	m, err := fetchMetadata(ctx, client, []string{topic})
	if err != nil {
		return Topic{}, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	t, err := m.topic(topic)
	if err != nil {
		return Topic{}, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	if err := readConfig(ctx, client, &t); err != nil {
		return Topic{}, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	return t, nil
}

func (m *metadata) topic(name string) (Topic, error) {
	t, ok := m.topics[name]
	if !ok {
		return Topic{}, kafka.UnknownTopicOrPartition
	}
	if t.err != nil {
		return Topic{}, t.err
	}
	if t.id == ([16]byte{}) {
		return Topic{}, errors.New("the brokers give topics no ids: Kafka 3.0 or later is needed")
	}
	h := sha256.New()
	h.Write([]byte(m.clusterID))
	h.Write([]byte{0})
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write(t.id[:])
	return Topic{Name: name, ID: t.id, Partitions: t.partitions, Stream: hex.EncodeToString(h.Sum(nil)[:8])}, nil
}

// Incarnation asks the cluster for the ID of a topic only.
func Incarnation(ctx context.Context, client *kafka.Client, topic string) ([16]byte, error) {
	m, err := fetchMetadata(ctx, client, []string{topic})
	if err != nil {
		return [16]byte{}, fmt.Errorf("look up topic %s: %w", topic, err)
	}
	t, err := m.topic(topic)
	if err != nil {
		return [16]byte{}, fmt.Errorf("look up topic %s: %w", topic, err)
	}
	return t.ID, nil
}

func readConfig(ctx context.Context, client *kafka.Client, t *Topic) error {
	res, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic,
			ResourceName: t.Name,
			ConfigNames:  []string{"max.message.bytes", "cleanup.policy"},
		}},
	})
	if err != nil {
		return err
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return r.Error
		}
		for _, e := range r.ConfigEntries {
			switch e.ConfigName {
			case "max.message.bytes":
				if t.MaxMessageBytes, err = strconv.Atoi(e.ConfigValue); err != nil {
					return fmt.Errorf("max.message.bytes: %w", err)
				}
			case "cleanup.policy":
				t.compacted = strings.Contains(e.ConfigValue, "compact")
			}
		}
	}
	if t.MaxMessageBytes == 0 {
		return errors.New("the broker does not tell max.message.bytes")
	}
	return nil
}
