package bench

import (
	"context"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/producer"
)

const (
	loneRequests = 300
	// lonePause lies between an outcome and the next request: by then the service
	// and the reader wait for something at the broker again.
	lonePause = 10 * time.Millisecond
)

// lone measures the latency of single requests, each sent when the one before
// has been answered and nothing else is under way.
func (w *world) lone(ctx context.Context) (Latency, error) {
	if err := w.ensure(ctx, loneRequests); err != nil {
		return Latency{}, err
	}
	if err := w.settle(ctx); err != nil {
		return Latency{}, err
	}
	at, err := w.ends(ctx, w.names.Outcomes)
	if err != nil {
		return Latency{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tails := consumer.NewFetcher(w.client, w.names.Outcomes, 1<<20)
	latencies := make([]float64, 0, loneRequests)
	start := time.Now()
	for i := range loneRequests {
		p := i % partitions
		answered := make(chan error, 1)
		go func() {
			got := consumer.Fetched{Next: at[p]}
			var err error
			for err == nil && len(got.Records) == 0 {
				got, err = tails.Fetch(ctx, p, got.Next)
			}
			at[p] = got.Next
			answered <- err
		}()
		time.Sleep(lonePause)
		record := w.requests.record()
		sent := time.Now()
		if err := w.producer.Publish(ctx, w.names.Requests, p, []producer.Record{record}); err != nil {
			return Latency{}, err
		}
		if err := <-answered; err != nil {
			return Latency{}, err
		}
		latencies = append(latencies, float64(time.Since(sent))/1e6)
	}
	w.took(loneRequests)
	rate := loneRequests / time.Since(start).Seconds()
	return summary(rate, time.Since(start), loneRequests, latencies[partitions:]), nil
}
