package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"promopool/internal/load"
	"promopool/internal/producer"
)

const (
	customers   = 20_000
	repeatEvery = 10 // every tenth request is one sent again
	senders     = 8  // which do that, under keys of their own
)

// questions returns n requests to a pool, a tenth of them repeats that come
// close behind their originals under another key, and so in another partition.
func questions(pool, name string, n int) []load.Message {
	asks := make([]load.Message, 0, n)
	for i := 0; len(asks) < n; i++ {
		if (len(asks)+1)%repeatEvery == 0 {
			asks = append(asks, again(asks[len(asks)-repeatEvery/2], i))
			continue
		}
		asks = append(asks, question(pool, fmt.Sprintf("%s-%06d", name, i), fmt.Sprintf("customer-%05d", i%customers)))
	}
	return asks
}

// distinct counts the requests behind n questions.
func distinct(n int) int { return n - n/repeatEvery }

func question(pool, request, customer string) load.Message {
	value, err := json.Marshal(struct {
		RequestID  string         `json:"request_id"`
		PoolID     string         `json:"pool_id"`
		CustomerID string         `json:"customer_id"`
		Context    map[string]any `json:"context"`
	}{request, pool, customer, map[string]any{"workflow": "welcome", "step": 3}})
	if err != nil {
		panic(err) // strings and numbers
	}
	return load.Message{PoolID: pool, RequestID: request, Key: []byte(customer), Value: value}
}

// again is a request as sender number i repeats it.
func again(m load.Message, i int) load.Message {
	m.Key = fmt.Appendf(nil, "retry-%d", i%senders)
	return m
}

// send publishes requests and returns when all are acknowledged. A rate of 0 is
// as fast as possible.
func (d *demo) send(ctx context.Context, asks []load.Message, rate float64) error {
	to := load.Target{Producer: d.producer, Topic: d.names.Requests, Partitions: partitions}
	_, err := load.Publish(ctx, to, load.Pace{Rate: rate, Due: d.ledger.asked}, each(asks))
	if err != nil {
		return fmt.Errorf("publish requests: %w", err)
	}
	return nil
}

func each(asks []load.Message) iter.Seq2[load.Message, error] {
	return func(yield func(load.Message, error) bool) {
		for _, m := range asks {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// partitionOf is where a request goes.
func partitionOf(m *load.Message) int { return producer.Partition(m.Key, partitions) }

// A stream is requests that are being sent in the background.
type stream struct {
	done chan struct{}
	err  error // written before done is closed
}

// stream sends requests evenly over a time, or at full speed when that is 0.
func (d *demo) stream(ctx context.Context, asks []load.Message, over time.Duration) *stream {
	rate := 0.0
	if over > 0 {
		rate = float64(len(asks)) / over.Seconds()
	}
	s := &stream{done: make(chan struct{})}
	d.background.Go(func() {
		defer close(s.done)
		s.err = d.send(ctx, asks, rate)
	})
	return s
}

// ended reports whether all is sent.
func (s *stream) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// failed reports whether sending ended early.
func (s *stream) failed() bool { return s.ended() && s.err != nil }
