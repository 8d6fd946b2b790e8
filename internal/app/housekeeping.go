package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/postgres"
	"promopool/internal/topics"
)

const (
	// totalsEvery is how often the gauges of stock are read.
	totalsEvery = 5 * time.Second
	// pruneEvery is how often decided batches are dropped that the log can no
	// longer deliver again, and what else is of no use.
	pruneEvery = 10 * time.Minute
	// pruneFirst is when it is done the first time, also by a process that does not
	// live for long.
	pruneFirst = time.Second
)

// housekeeping keeps the figures of the database current and its tables small.
// Any number of processes may do it at once. Its failures are a warning: what
// was not done is done the next time.
func housekeeping(ctx context.Context, store *postgres.Store, client *kafka.Client, requests topics.Topic, reg prometheus.Registerer, log zerolog.Logger) error {
	log = log.With().Str("component", "housekeeping").Logger()
	codes := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "promopool_codes", Help: "Unissued codes of active single-use pools that have not expired, by holder: free, or held by a partition."}, []string{"holder"})
	oldest := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "promopool_oldest_transaction_seconds", Help: "Age of the oldest transaction in the database. One that lasts holds dead rows and slows issuing down."})
	scarce := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "promopool_scarce_pools", Help: "Active pools that are allocated from inside each batch because little is left, or lies in small pieces."})
	reg.MustRegister(codes, oldest, scarce)

	totals, prune := time.NewTicker(totalsEvery), time.NewTimer(pruneFirst)
	defer totals.Stop()
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-totals.C:
			t, err := store.Totals(ctx)
			if err != nil {
				log.Debug().Err(err).Msg("read totals")
				continue
			}
			codes.WithLabelValues("free").Set(float64(t.Free))
			codes.WithLabelValues("held").Set(float64(t.Held))
			oldest.Set(t.OldestTransaction.Seconds())
			scarce.Set(float64(t.Scarce))
		case <-prune.C:
			prune.Reset(pruneEvery)
			n, err := pruneBatches(ctx, store, client, requests)
			if err != nil {
				log.Warn().Err(err).Msg("drop decided batches")
				continue
			}
			if err := store.DeleteOrphans(ctx); err != nil {
				log.Warn().Err(err).Msg("drop codes of deleted pools")
			}
			if _, err := store.PruneRedemptions(ctx); err != nil {
				log.Warn().Err(err).Msg("drop old rejections of redemptions")
			}
			log.Info().Int64("batches", n).Msg("dropped decided batches that the log cannot deliver again")
		}
	}
}

func pruneBatches(ctx context.Context, store *postgres.Store, client *kafka.Client, requests topics.Topic) (int64, error) {
	var asked []kafka.OffsetRequest
	for p := range requests.Partitions {
		asked = append(asked, kafka.FirstOffsetOf(p))
	}
	resp, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{requests.Name: asked}})
	if err != nil {
		return 0, err
	}
	var dropped int64
	for _, p := range resp.Topics[requests.Name] {
		if p.Error != nil {
			return dropped, p.Error
		}
		n, err := store.PruneBatches(ctx, requests.Stream, p.Partition, p.FirstOffset)
		if err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}
