package producer_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"promopool/internal/producer"
	"promopool/internal/topics"
)

// TestPublishShared: small batches of many partitions share requests where they
// have one leader, go alone where they have not, and are all there, in order.
func TestPublishShared(t *testing.T) {
	const parts, batches = 12, 40
	for _, brokers := range []int{1, 3} {
		t.Run(fmt.Sprint(brokers), func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.SeedTopics(parts, "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			var requests atomic.Int64
			cluster.KeepControl()
			cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				requests.Add(1)
				cluster.SleepControl(func() { time.Sleep(time.Millisecond) })
				return nil, nil, false
			})
			client := topics.Client(cluster.ListenAddrs())
			defer topics.Close(client)
			out := producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry())
			var all sync.WaitGroup
			for p := range parts {
				all.Go(func() {
					for n := range batches {
						if err := out.Publish(t.Context(), "out", p, []producer.Record{value(fmt.Sprint(n))}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if n := requests.Load(); brokers == 1 && n > parts*batches/2 {
				t.Errorf("%d requests for %d batches that waited together", n, parts*batches)
			}
			for p, got := range logs(t, cluster.ListenAddrs(), parts, parts*batches) {
				for n, v := range got {
					if v != fmt.Sprint(n) {
						t.Fatalf("partition %d holds %v", p, got)
					}
				}
			}
		})
	}
}

// logs reads n records of topic "out" with another client library.
func logs(t *testing.T, addrs []string, parts, n int) [][]string {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := make([][]string, parts)
	for read := 0; read < n; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], string(r.Value))
			read++
		})
	}
	return got
}
