package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/postgres"
)

// replenishEvery is how often pools are looked for that have too few codes left.
const replenishEvery = 500 * time.Millisecond

// replenish has codes generated where few are left and the pool is set so. Any
// number of processes may do it at once: a shortage is answered once.
func replenish(ctx context.Context, store *postgres.Store, reg prometheus.Registerer, log zerolog.Logger) error {
	log = log.With().Str("component", "replenish").Logger()
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "promopool_replenishments_total",
		Help: "Shortages that this process has answered in pools that replenish themselves: made, or stopped since their pattern bears no more."}, []string{"outcome"})
	made, stopped := count.WithLabelValues("made"), count.WithLabelValues("stopped")
	reg.MustRegister(count)

	tick := time.NewTicker(replenishEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		done, err := store.Replenish(ctx)
		if err != nil && ctx.Err() == nil {
			log.Warn().Err(err).Msg("replenish pools, retrying")
		}
		for _, d := range done {
			if d.Stopped != "" {
				stopped.Inc()
				log.Error().Str("pool_id", d.PoolID).Str("reason", d.Stopped).Msg("pool is replenished no more until that is set anew")
				continue
			}
			made.Inc()
			log.Info().Str("pool_id", d.PoolID).Int64("task", d.Task).Int64("codes", d.Count).Msg("pool replenished")
		}
	}
}
