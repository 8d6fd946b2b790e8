package topics

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// Ends tells, by partition, the first offset that a topic still has and the
// offset that its next record will have.
func Ends(ctx context.Context, client *kafka.Client, topic string, partitions int) (start, end []int64, err error) {
	var ask []kafka.OffsetRequest
	for p := range partitions {
		ask = append(ask, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, nil, fmt.Errorf("ends of topic %s: %w", topic, err)
	}
	start, end = make([]int64, partitions), make([]int64, partitions)
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, nil, fmt.Errorf("ends of topic %s, partition %d: %w", topic, p.Partition, p.Error)
		}
		start[p.Partition], end[p.Partition] = p.FirstOffset, p.LastOffset
	}
	return start, end, nil
}

// Committed tells, by partition, up to where a group is done with a topic: 0 where it
// has committed nothing.
func Committed(ctx context.Context, client *kafka.Client, group, topic string, partitions int) ([]int64, error) {
	all := make([]int, partitions)
	for p := range all {
		all[p] = p
	}
	res, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: all}})
	if err == nil && !errors.Is(res.Error, kafka.GroupIdNotFound) { // that has done nothing yet
		err = res.Error
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", group, err)
	}
	offsets := make([]int64, partitions)
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("offset of group %s, partition %d: %w", group, p.Partition, p.Error)
		}
		offsets[p.Partition] = max(p.CommittedOffset, 0)
	}
	return offsets, nil
}
