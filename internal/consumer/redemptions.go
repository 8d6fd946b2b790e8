package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/producer"
	"promopool/internal/redeeming"
)

// Redemptions works on the partitions of the topic of redemption requests that
// the group assigns. There is no fence: a redemption that is judged twice, by
// whomever, gets its first answer. The steps and what is true after a crash
// between them are told in docs/redeeming.md.
type Redemptions struct {
	Fetcher     *Fetcher
	Redeemer    *redeeming.Redeemer
	Outcomes    *producer.Redemptions
	DeadLetters *producer.DeadLetters
	Told        *Told
	Health      *Health
	Stop        context.CancelCauseFunc // ends the process
	Metrics     *Metrics
	Log         zerolog.Logger
}

// till is one partition for one generation.
type till struct {
	*Redemptions
	loop
}

// Work does one partition until ctx ends, then finishes the batch in hand.
func (r *Redemptions) Work(ctx context.Context, a Assignment) error {
	w := &till{r, loop{a: a, name: fmt.Sprintf("redemptions, partition %d", a.Partition), health: r.Health, metrics: r.Metrics,
		log: r.Log.With().Str("component", "redeeming").Int("partition", a.Partition).Logger()}}
	defer w.end()
	finishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()

	if err := w.retry(ctx, "open", func() error { return r.Told.Look(ctx, a.Partition) }); err != nil {
		return ignoreEnd(ctx, err)
	}
	for position := max(a.Offset, 0); ctx.Err() == nil; {
		got, err := w.read(ctx, r.Fetcher, &position)
		if err != nil {
			if errors.Is(err, ErrRecreated) {
				r.Stop(fmt.Errorf("topic of redemption requests: %w", err))
			}
			return ignoreEnd(ctx, err)
		}
		for batch := range slices.Chunk(got.Records, redeeming.GroupSize) {
			if ctx.Err() != nil {
				return nil
			}
			if err := w.batch(finishing, batch); err != nil {
				return ignoreEnd(ctx, err)
			}
		}
		if position < got.Next {
			position = got.Next
			a.Commit(position) // control records behind the last
		}
	}
	return nil
}

// batch answers records, and lets the group's offset follow.
func (w *till) batch(ctx context.Context, records []Record) error {
	w.Metrics.waiting(w.a.Partition, records[0].Time)
	asks, from, letters := w.decode(records)

	// Crash here: fetched, nothing judged. The records are read again.
	var judged []domain.Judgement
	lost := false
	if err := w.retry(ctx, "commit", func() (err error) {
		if lost { // whatever answers by now may be another database
			if err := w.Told.Look(ctx, w.a.Partition); err != nil {
				return err
			}
		}
		judged, err = w.Redeemer.Redeem(ctx, asks...)
		lost = err != nil
		return err
	}); err != nil {
		return err
	}
	// Crash point redeeming.publish: judged and committed, not published. The records are read
	// again, their redemptions are found, and what is published has the same bytes.
	w.a.Progress()
	answers := make([]producer.Redeemed, 0, len(judged))
	for i, j := range judged {
		r := from[i]
		if j.Reason == domain.RedemptionPoison {
			letters = append(letters, letter(r, j.Reason.String(), j.Reason.Detail()))
			continue
		}
		alias := ""
		if asked := asks[i].CustomerID; j.CustomerID != asked && domain.IsPseudonym(j.CustomerID) {
			alias = j.CustomerID
		}
		answers = append(answers, producer.Redeemed{
			Redemption: j.Redemption, Offset: r.Offset, Key: hushed(r.Key, asks[i].CustomerID, alias), Traceparent: Header(r, "traceparent"),
		})
	}
	start := time.Now()
	if err := w.retry(ctx, stepPublish, func() error {
		if err := w.Outcomes.Publish(ctx, w.a.Partition, answers); err != nil {
			return err
		}
		return w.DeadLetters.Publish(ctx, w.a.Partition, letters)
	}); err != nil {
		return err
	}
	w.Metrics.step(stepPublish, start)
	w.Metrics.published(w.a.Partition, letters)
	// Crash point redeeming.offset: published, the offset not committed. The same.
	w.a.Commit(records[len(records)-1].Offset + 1)
	w.a.Progress()
	return nil
}

// decode sorts records into what asks for a redemption, with the records that do,
// and dead letters.
func (w *till) decode(records []Record) (asks []redeeming.Ask, from []*Record, letters []producer.DeadLetter) {
	for i := range records {
		r := &records[i]
		request, bad := DecodeRedemption(r)
		if bad != nil {
			letters = append(letters, letter(r, string(bad.Reason), bad.Detail))
			continue
		}
		asks, from = append(asks, redeeming.Ask{RedemptionRequest: request}), append(from, r)
	}
	return asks, from, letters
}
