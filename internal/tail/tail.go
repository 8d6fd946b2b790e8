// Package tail follows topics: it gives every record from a place on to a
// function, as it comes, until that has enough. The order within a partition
// is kept; partitions and topics are read side by side. Nothing is committed
// and no group is joined, so that anybody may look on.
package tail

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"promopool/internal/consumer"
	"promopool/internal/topics"
)

// Stop is returned by a visit that has seen enough.
var Stop = errors.New("stop") //nolint:revive,staticcheck // no error, as io.EOF is none

// From says where to begin in each partition.
type From struct {
	Beginning bool
	Offset    int64 // without Beginning; negative: so many before the end, 0: the end
	Absolute  bool  // Offset counts from the first offset there ever was
}

const (
	fetchBytes = 1 << 20
	pause      = 200 * time.Millisecond
	giveUp     = 30 * time.Second // of errors without a success in between
)

// A Tail has looked up where to begin. What is published after Open is seen.
type Tail struct {
	client *kafka.Client
	starts []place
}

type place struct {
	topic     string
	partition int
	offset    int64
}

// Open looks up the topics and where to begin in them.
func Open(ctx context.Context, client *kafka.Client, names []string, from From) (*Tail, error) {
	t := &Tail{client: client}
	for _, name := range names {
		d, err := topics.Describe(ctx, client, name)
		if err != nil {
			return nil, err
		}
		start, end, err := topics.Ends(ctx, client, name, d.Partitions)
		if err != nil {
			return nil, err
		}
		for p := range d.Partitions {
			at := start[p]
			switch {
			case from.Beginning:
			case from.Absolute:
				at = max(at, from.Offset)
			default:
				at = max(at, end[p]+from.Offset)
			}
			t.starts = append(t.starts, place{name, p, at})
		}
	}
	return t, nil
}

// Follow gives visit what each Fetch brings, one call at a time, until ctx
// ends (which is no error), visit returns Stop, or visit or a partition fails.
func (t *Tail) Follow(ctx context.Context, visit func(topic string, partition int, records []consumer.Record) error) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for _, at := range t.starts {
		f := consumer.NewFetcher(t.client, at.topic, fetchBytes)
		g.Go(func() error {
			return follow(gctx, f, at, func(records []consumer.Record) error {
				mu.Lock()
				defer mu.Unlock()
				if gctx.Err() != nil {
					return nil
				}
				return visit(at.topic, at.partition, records)
			})
		})
	}
	if err := g.Wait(); !errors.Is(err, Stop) && ctx.Err() == nil {
		return err
	}
	return nil
}

func follow(ctx context.Context, f *consumer.Fetcher, at place, visit func([]consumer.Record) error) error {
	var failing time.Time
	for ctx.Err() == nil {
		got, err := f.Fetch(ctx, at.partition, at.offset)
		var out *consumer.OutOfRangeError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &out) && out.Offset < out.LogStart:
			at.offset = out.LogStart
			continue
		case err != nil && failing.IsZero():
			failing = time.Now()
		case err != nil && out == nil && time.Since(failing) > giveUp: // an offset ahead of the end is waited for
			return fmt.Errorf("topic %s: %w", at.topic, err)
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		failing = time.Time{}
		at.offset = got.Next
		if len(got.Records) > 0 {
			if err := visit(got.Records); err != nil {
				return err
			}
		}
	}
	return nil
}
