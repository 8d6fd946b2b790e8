package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"promopool/internal/consumer"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

// TestFetchShared: partitions at the end of their logs share requests where
// they have one leader, go alone where they have not, and get everything.
func TestFetchShared(t *testing.T) {
	const parts, waves = 12, 30
	for _, brokers := range []int{1, 3} {
		t.Run(fmt.Sprint(brokers), func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.SeedTopics(parts, "in"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			var fetches atomic.Int64
			cluster.KeepControl()
			cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
				fetches.Add(1)
				return nil, nil, false
			})
			client := topics.Client(cluster.ListenAddrs())
			defer topics.Close(client)
			f := consumer.NewFetcher(client, "in", consumer.DefaultFetchBytes)
			out := producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry())

			got := make(chan string, parts)
			ctx, stop := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			for p := range parts {
				readers.Go(func() {
					for at := int64(0); ; {
						b, err := f.Fetch(ctx, p, at)
						if ctx.Err() != nil {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						for _, r := range b.Records {
							got <- fmt.Sprintf("%d/%s", p, r.Value)
						}
						at = b.Next
					}
				})
			}
			for n := range waves {
				var all sync.WaitGroup
				for p := range parts {
					all.Go(func() {
						if err := out.Publish(t.Context(), "in", p, []producer.Record{{Value: fmt.Append(nil, n), Time: time.Now()}}); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				seen := map[string]bool{}
				for len(seen) < parts {
					seen[<-got] = true
				}
				for p := range parts {
					if !seen[fmt.Sprintf("%d/%d", p, n)] {
						t.Fatalf("wave %d: got %v", n, seen)
					}
				}
			}
			if n := fetches.Load(); brokers == 1 && n > parts*waves/2 {
				t.Errorf("%d requests for %d fetches that waited together", n, parts*waves)
			}
			stop()
			readers.Wait()
		})
	}
}

// TestFetchSharedLeft: one that gives up leaves the others their request.
func TestFetchSharedLeft(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client := topics.Client(cluster.ListenAddrs())
	defer topics.Close(client)
	f := consumer.NewFetcher(client, "in", consumer.DefaultFetchBytes)
	for p := range 2 { // now both are known to be at their ends
		if _, err := f.Fetch(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
	}
	left, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := f.Fetch(left, 0, 0)
		gone <- err
	}()
	stayed := make(chan consumer.Fetched)
	go func() {
		for {
			if b, err := f.Fetch(t.Context(), 1, 0); err != nil || len(b.Records) > 0 {
				stayed <- b
				return
			}
		}
	}()
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	out := producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry())
	if err := out.Publish(t.Context(), "in", 1, []producer.Record{{Value: []byte("a"), Time: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	if b := <-stayed; len(b.Records) != 1 {
		t.Errorf("got %d records, want the one", len(b.Records))
	}
}
