package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"promopool/internal/consumer"
	"promopool/internal/postgres"
)

// gated is work of the outbox that begins only on a database which is not behind
// what was published: where the topics have a number of the outbox that this
// database has not given yet, it has forgotten what it told, and would tell other
// things under the same ids.
type gated struct {
	store   *postgres.Store
	numbers *consumer.Numbers
	log     zerolog.Logger
	work    func(ctx context.Context) error
}

// errBehind: the database is behind, and the gate of the whole service is closed.
var errBehind = errors.New("the database is behind what was published")

// look compares the topics with the database.
func (g *gated) look(ctx context.Context) error {
	// The topics first: what is published was numbered before.
	number, topic, err := g.numbers.Highest(ctx)
	if err != nil {
		return fmt.Errorf("look for events beyond what the database knows: %w", err)
	}
	behind, err := g.store.CloseGateBeyond(ctx, number, fmt.Sprintf("topic %s has event number %d, which this database has not given to any", topic, number))
	if err != nil {
		return fmt.Errorf("look for events beyond what the database knows: %w", err)
	}
	if behind {
		return fmt.Errorf("%w: event number %d of topic %s", errBehind, number, topic)
	}
	return nil
}

// lookEvery is how often a database is looked at again that was behind.
const lookEvery = 10 * time.Second

// Run works until ctx ends, from when a look has found nothing.
func (g *gated) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		err := g.look(ctx)
		switch {
		case err == nil:
			return g.work(ctx)
		case errors.Is(err, errBehind):
			g.log.Error().Err(err).Msg("the gate is closed, a person must look")
		case ctx.Err() == nil:
			g.log.Warn().Err(err).Msg("carry events, retrying")
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}
