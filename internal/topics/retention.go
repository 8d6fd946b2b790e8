package topics

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// sweep is how much later than it might a broker deletes what it need not keep any
// more: it looks every 5 minutes by default, and files go a minute after that.
const sweep = 10 * time.Minute

// Retention is the longest that a topic may hold a record, as the cluster has it;
// negative: as long as the topic is there. A record is deleted with its segment, once
// the last of that is old enough: so it may stay for as long as a segment takes more.
func Retention(ctx context.Context, client *kafka.Client, names ...string) (map[string]time.Duration, error) {
	ask := &kafka.DescribeConfigsRequest{}
	for _, name := range names {
		ask.Resources = append(ask.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: name,
			ConfigNames: []string{"retention.ms", "segment.ms", "cleanup.policy"},
		})
	}
	res, err := client.DescribeConfigs(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("retention of topics: %w", err)
	}
	all := make(map[string]time.Duration, len(names))
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf("retention of topic %s: %w", r.ResourceName, r.Error)
		}
		settings := map[string]string{}
		for _, e := range r.ConfigEntries {
			settings[e.ConfigName] = e.ConfigValue
		}
		if all[r.ResourceName], err = retention(settings); err != nil {
			return nil, fmt.Errorf("retention of topic %s: %w", r.ResourceName, err)
		}
	}
	return all, nil
}

func retention(settings map[string]string) (time.Duration, error) {
	if !strings.Contains(settings["cleanup.policy"], "delete") {
		return -1, nil
	}
	kept, err := strconv.ParseInt(settings["retention.ms"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("retention.ms: %w", err)
	}
	segment, err := strconv.ParseInt(settings["segment.ms"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("segment.ms: %w", err)
	}
	const most = math.MaxInt64 / int64(time.Millisecond) / 4 // some 73 years
	if kept < 0 || kept > most || segment > most {
		return -1, nil
	}
	return time.Duration(kept+segment)*time.Millisecond + sweep, nil
}

// Passed reports whether a group is done with all that a topic holds of what it held
// when it ended at these offsets.
func Passed(ctx context.Context, client *kafka.Client, group, topic string, ends []int64) (bool, error) {
	committed, err := Committed(ctx, client, group, topic, len(ends))
	if err != nil {
		return false, err
	}
	start, _, err := Ends(ctx, client, topic, len(ends))
	if err != nil {
		return false, err
	}
	for p, end := range ends {
		if committed[p] < end && start[p] < end {
			return false, nil
		}
	}
	return true, nil
}
