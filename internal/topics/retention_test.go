package topics_test

import (
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/kafkatest"
	"promopool/internal/topics"
)

// TestRetention: how long topics hold what they hold, as the cluster has them.
func TestRetention(t *testing.T) {
	c, ctx := client(t), deadline(t, 30*time.Second)
	prefix := kafkatest.Prefix(t)
	const day = 24 * time.Hour
	want := map[string]time.Duration{}
	var made []kafka.TopicConfig
	for _, topic := range []struct {
		name     string
		settings []kafka.ConfigEntry
		want     time.Duration // 0: for good
	}{
		{"default-segment", []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "86400000"}}, day + 7*day},
		{"short-segment", []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "86400000"}, {ConfigName: "segment.ms", ConfigValue: "3600000"}}, day + time.Hour},
		{"for-good", []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "-1"}}, 0},
		{"nearly", []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "9223372036854775807"}}, 0},
		{"compacted", []kafka.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "compact"}, {ConfigName: "retention.ms", ConfigValue: "1000"}}, 0},
		{"both", []kafka.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "compact,delete"}, {ConfigName: "retention.ms", ConfigValue: "0"}, {ConfigName: "segment.ms", ConfigValue: "1000"}}, time.Second},
	} {
		want[prefix+topic.name] = topic.want
		made = append(made, kafka.TopicConfig{Topic: prefix + topic.name, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: topic.settings})
	}
	res, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: made})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range want {
		names = append(names, name)
		if res.Errors[name] != nil {
			t.Fatal(name, res.Errors[name])
		}
	}
	got, err := topics.Retention(ctx, c, names...)
	if err != nil || len(got) != len(want) {
		t.Fatal(got, err)
	}
	for name, d := range want {
		// A broker needs some time to sweep.
		if late := got[name] - d; d == 0 && got[name] >= 0 || d > 0 && (late <= 0 || late > time.Hour) {
			t.Errorf("%s: got %v, want %v", name, got[name], d)
		}
	}
	if _, err := topics.Retention(ctx, c, prefix+"absent"); err == nil {
		t.Error("a topic that is absent holds something")
	}
}

// TestPassed: a group is done with what a topic held when its offsets are beyond that.
func TestPassed(t *testing.T) {
	c, ctx := client(t), deadline(t, 30*time.Second)
	names := topics.Named(kafkatest.Prefix(t))
	if err := topics.Ensure(ctx, c, names, 2); err != nil {
		t.Fatal(err)
	}
	passed := func(ends ...int64) bool {
		t.Helper()
		for {
			done, err := topics.Passed(ctx, c, names.IssuingGroup, names.Requests, ends)
			if err == nil {
				return done
			}
			if ctx.Err() != nil { // a coordinator is being elected
				t.Fatal(err)
			}
		}
	}
	commit := func(first, second int64) {
		t.Helper()
		for {
			res, err := c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: names.IssuingGroup, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{
				names.Requests: {{Partition: 0, Offset: first}, {Partition: 1, Offset: second}},
			}})
			if err == nil && res.Topics[names.Requests][0].Error == nil && res.Topics[names.Requests][1].Error == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(res, err)
			}
		}
	}
	if !passed(0, 0) {
		t.Error("nothing is to be done, and a group that never was is not done")
	}
	if passed(0, 1) {
		t.Error("a group that never was is done")
	}
	commit(5, 3)
	for _, at := range []struct {
		ends []int64
		want bool
	}{{[]int64{5, 3}, true}, {[]int64{4, 0}, true}, {[]int64{6, 3}, false}, {[]int64{5, 4}, false}} {
		if got := passed(at.ends...); got != at.want {
			t.Errorf("%v: %t", at.ends, got)
		}
	}
}
