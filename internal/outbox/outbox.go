// Package outbox carries events from the database to Kafka. They were committed
// with what they tell of, so that neither is there without the other, and each
// is published at least once: after a crash, or when two processes carry at the
// same time, again with the same bytes. Readers drop repeats by ce_id.
package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
)

// Store is what the carrier needs of the store.
type Store interface {
	// Unpublished returns the first events that are not known to be published.
	Unpublished(ctx context.Context, atMost int) ([]domain.Event, error)
	// Published forgets events, which may be forgotten already.
	Published(ctx context.Context, numbers []int64) error
}

// Publisher puts events on Kafka and returns the numbers of those that are
// acknowledged; the error is that of the others.
type Publisher interface {
	Publish(ctx context.Context, events []domain.Event) (published []int64, err error)
}

const (
	// atOnce is how many events are read and published together.
	atOnce = 1000
	// poll is how long an event that another process has committed waits at most
	// before it is looked for.
	poll = 50 * time.Millisecond
	// gathering is how long the carrier waits behind a load that was not full: what
	// comes meanwhile goes together. An event that comes alone does not wait.
	gathering = 10 * time.Millisecond
	// longestPause bounds the wait before what failed is tried again.
	longestPause = 2 * time.Second
	// grace is how long the events in hand may take when told to stop.
	grace = 3 * time.Second
)

// Carrier carries events.
type Carrier struct {
	store  Store
	kafka  Publisher
	log    zerolog.Logger
	wake   chan struct{}
	count  prometheus.Counter
	oldest prometheus.Gauge
}

// New returns a carrier that registers its metrics at reg.
func New(store Store, kafka Publisher, log zerolog.Logger, reg prometheus.Registerer) *Carrier {
	c := &Carrier{
		store: store, kafka: kafka, log: log.With().Str("component", "outbox").Logger(), wake: make(chan struct{}, 1),
		count: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_outbox_published_total", Help: "Events of the outbox that this process has published."}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_outbox_oldest_seconds", Help: "Age of the oldest event that waits in the outbox, as the process sees it that carries them; 0: none waits."}),
	}
	reg.MustRegister(c.count, c.oldest)
	return c
}

// Wake tells of new events, which would else be found within the poll.
func (c *Carrier) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run carries until ctx ends. Several processes may do it at once: that costs
// repeats, and nothing else.
func (c *Carrier) Run(ctx context.Context) error {
	defer c.oldest.Set(0)
	pause, failing := poll, false
	for ctx.Err() == nil {
		published, err := c.carry(ctx)
		wake := c.wake
		switch {
		case published == atOnce && err == nil:
			pause, failing = poll, false
			continue
		case published > 0 && err == nil:
			pause, failing, wake = gathering, false, nil
		case err != nil && ctx.Err() == nil:
			if !failing {
				failing = true
				c.log.Warn().Err(err).Msg("carry events, retrying")
			}
			pause = min(2*pause, longestPause)
		default:
			if failing {
				c.log.Info().Msg("events are carried again")
			}
			pause, failing = poll, false
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// carry takes one load, and returns how much of it is published.
func (c *Carrier) carry(ctx context.Context) (published int, err error) {
	events, err := c.store.Unpublished(ctx, atOnce)
	if err != nil {
		return 0, err
	}
	if len(events) == 0 {
		c.oldest.Set(0)
		return 0, nil
	}
	c.oldest.Set(time.Since(events[0].At).Seconds())
	// What has begun is finished: to stop between would only publish it twice.
	finishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	// Crash point outbox.publish: committed, not published. The rows are there for whoever
	// carries next.
	done, err := c.kafka.Publish(finishing, events)
	if len(done) > 0 {
		// Crash point outbox.delete: published, the rows still there. They are published
		// again, with the same ce_id and the same bytes.
		c.count.Add(float64(len(done)))
		err = errors.Join(err, c.store.Published(finishing, done))
	}
	return len(done), err
}
