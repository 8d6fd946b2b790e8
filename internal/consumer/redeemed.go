package consumer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/topics"
)

// redeemedRecords is how many of the last records of a partition of redemption
// outcomes are looked at.
const redeemedRecords = 500

// Told looks at the end of the topic of redemption outcomes for redemptions that
// the database does not know: one that is behind would let their codes be
// redeemed again.
type Told struct {
	client   *kafka.Client
	outcomes topics.Topic
	requests int // how many partitions they have
	fetcher  *Fetcher
	store    Ledger
}

// Ledger knows what was redeemed.
type Ledger interface {
	// CloseGateUnless stops the whole service unless each of the redemptions is
	// stored.
	CloseGateUnless(ctx context.Context, redeemed []domain.RedemptionKey, reason string) error
}

// NewTold returns a look at the outcomes of a topic of requests.
func NewTold(client *kafka.Client, requests, outcomes topics.Topic, store Ledger) *Told {
	return &Told{client: client, outcomes: outcomes, requests: requests.Partitions, fetcher: NewFetcher(client, outcomes.Name, DefaultFetchBytes), store: store}
}

// Look closes the gate on a database that is behind what is told of a partition's
// requests. Below 0: of any.
func (t *Told) Look(ctx context.Context, partition int) error {
	starts, ends, err := topics.Ends(ctx, t.client, t.outcomes.Name, t.outcomes.Partitions)
	if err != nil {
		return fmt.Errorf("look for redemptions beyond what the database knows: %w", err)
	}
	for p, end := range ends {
		if partition >= 0 && t.outcomes.Partitions == t.requests && p != partition {
			continue // where the counts agree, answers keep the number
		}
		var redeemed []domain.RedemptionKey
		// The topic first: what is published was stored before.
		err := eachBetween(ctx, t.fetcher, p, max(starts[p], end-redeemedRecords), end, func(r *Record) bool {
			if key, ok := redeemedBy(r); ok {
				redeemed = append(redeemed, key)
			}
			return false
		})
		if err == nil && len(redeemed) > 0 {
			err = t.store.CloseGateUnless(ctx, redeemed, fmt.Sprintf("topic %s, partition %d, below offset %d, tells of a redemption that this database does not know", t.outcomes.Name, p, end))
		}
		if err != nil {
			return fmt.Errorf("look for redemptions beyond what the database knows: %w", err)
		}
	}
	return nil
}

// redeemedBy names the redemption of which a record tells that it succeeded.
func redeemedBy(r *Record) (domain.RedemptionKey, bool) {
	var d struct {
		PoolID       string `json:"pool_id"`
		RedemptionID string `json:"redemption_id"`
	}
	if string(Header(r, "ce_type")) != domain.TypeCodeRedeemed || string(Header(r, "ce_source")) != domain.Source || json.Unmarshal(r.Value, &d) != nil {
		return domain.RedemptionKey{}, false
	}
	return domain.RedemptionKey{PoolID: d.PoolID, RedemptionID: d.RedemptionID}, domain.ValidEventID(d.PoolID) && domain.ValidEventID(d.RedemptionID)
}
