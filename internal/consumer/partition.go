package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/producer"
)

const (
	// grace is how long a partition that is given back may take to finish the
	// batch in hand. What ends it must be over before the group stops waiting.
	grace = drainTimeout - 500*time.Millisecond
	// firstPause and longestPause bound the wait before a step is tried again.
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// Partitions works on the partitions of the request topic that the group
// assigns: deliveries in, outcomes out. The steps of a batch and what is true
// after a crash between them are told in docs/issuing.md.
type Partitions struct {
	Fetcher     *Fetcher
	Issuer      *issuing.Issuer
	Outcomes    *producer.Outcomes
	DeadLetters *producer.DeadLetters
	Tails       *Tails
	Stream      string // identity of the request topic
	Count       int    // of its partitions
	Health      *Health
	Stop        context.CancelCauseFunc // ends the process
	Metrics     *Metrics
	Log         zerolog.Logger
}

// haul is what one fetch brought, decoded.
type haul struct {
	first, end int64
	records    []Record // by offset
	requests   []domain.Request
	malformed  []producer.DeadLetter
	oldest     time.Time
}

// answered is a part of a batch that is decided: below end all of it.
type answered struct {
	end     int64
	answers []producer.Answer
	letters []producer.DeadLetter
	oldest  time.Time
}

// owner works on one partition for one generation.
type owner struct {
	*Partitions
	loop
}

// Work does one partition until ctx ends. Three stages overlap, each in order:
// fetch and decode; decide and commit; publish and move the group's offset. At
// most two batches are decided and not yet published.
func (p *Partitions) Work(ctx context.Context, a Assignment) error {
	w := &owner{p, loop{a: a, name: fmt.Sprintf("partition %d", a.Partition), health: p.Health, metrics: p.Metrics,
		log: p.Log.With().Str("component", "consumer").Int("partition", a.Partition).Logger()}}
	defer w.end()

	var part *issuing.Partition
	position := max(a.Offset, 0)
	err := w.retry(ctx, "open", func() (err error) {
		if part, err = p.Issuer.Open(ctx, p.Stream, a.Partition, p.Count, position); err != nil {
			return err
		}
		return w.gate(ctx, part)
	})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer part.Close()
	if next := part.NextOffset(); a.Offset > next {
		// An operator's skip, or control records behind the last request.
		w.log.Warn().Int64("offset", a.Offset).Int64("next_offset", next).Msg("the group is ahead of what is decided, going on from the group's offset")
	}

	// With room for one, a partition asks for more while it is decided on.
	fetched, decided := make(chan haul, 1), make(chan answered)
	stages, inner := errgroup.WithContext(ctx)
	// What is decided is published though the partition is to be given back.
	finishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(inner, func() { time.AfterFunc(grace, cancel) })()
	stages.Go(func() error { defer close(fetched); return w.fetch(inner, position, fetched) })
	stages.Go(func() error { defer close(decided); return w.decide(inner, part, fetched, decided) })
	stages.Go(func() error { return w.publish(finishing, decided) })
	err = stages.Wait()
	if errors.Is(err, ErrRecreated) {
		// Everything known of the stream is of another log.
		w.Stop(fmt.Errorf("topic of requests: %w", err))
	}
	return ignoreEnd(ctx, err)
}

// gate refuses to issue on a database that is behind the log: one where an
// outcome of a delivery that it has not decided is in the topics already.
func (w *owner) gate(ctx context.Context, part *issuing.Partition) error {
	offset, found, err := w.Tails.Beyond(ctx, w.a.Partition, part.NextOffset())
	if err != nil {
		return fmt.Errorf("look for outcomes beyond what is decided: %w", err)
	}
	if found {
		return part.Behind(ctx, offset)
	}
	return nil
}

// ignoreEnd drops the error of work that was told to end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// fetch reads the partition from position on and decodes it.
func (w *owner) fetch(ctx context.Context, position int64, to chan<- haul) error {
	for ctx.Err() == nil {
		got, err := w.read(ctx, w.Fetcher, &position)
		if err != nil {
			return err
		}
		if got.Next <= position {
			continue
		}
		b := decoded(position, got)
		select {
		case to <- b:
		case <-ctx.Done():
			return nil
		}
		position = got.Next
	}
	return nil
}

// decoded sorts records into requests and dead letters.
func decoded(first int64, got Fetched) haul {
	b := haul{first: first, end: got.Next, records: got.Records, requests: make([]domain.Request, 0, len(got.Records))}
	for i := range got.Records {
		r := &got.Records[i]
		if i == 0 {
			b.oldest = r.Time
		}
		request, bad := Decode(r)
		if bad == nil {
			b.requests = append(b.requests, request)
			continue
		}
		b.malformed = append(b.malformed, letter(r, string(bad.Reason), bad.Detail))
	}
	return b
}

func letter(r *Record, reason, detail string) producer.DeadLetter {
	return producer.DeadLetter{Offset: r.Offset, Key: r.Key, Value: r.Value, Headers: r.Headers, Reason: reason, Detail: detail}
}

// decide makes decisions on batches true, in order. The next batch is bound to
// codes when the database has answered for the one before.
func (w *owner) decide(ctx context.Context, part *issuing.Partition, from <-chan haul, to chan<- answered) error {
	for b := range from {
		w.Metrics.waiting(w.a.Partition, b.oldest)
		for at := b.first; at < b.end; {
			// Crash here: fetched, nothing decided. The records are read again.
			outcomes, done, err := w.issue(ctx, part, at, &b)
			if err != nil {
				return err
			}
			// Crash point issuing.publish: decided and committed, not published. The records
			// are read again, found in a known range, and answered the same.
			w.a.Progress()
			to <- b.take(outcomes, done)
			at = done
		}
	}
	return nil
}

// issue decides what is left of a batch from at on. While Kafka's or the
// database's answers are lost it asks again until it knows.
func (w *owner) issue(ctx context.Context, part *issuing.Partition, at int64, b *haul) (outcomes []domain.Outcome, done int64, err error) {
	doubt := false
	err = w.retry(ctx, "commit", func() error {
		if doubt {
			if err := part.Resolve(ctx, at); err != nil {
				return err
			}
			// What was lost may be the database itself.
			if err := w.gate(ctx, part); err != nil {
				return err
			}
		}
		outcomes, done, err = part.Issue(ctx, at, b.end, b.requests)
		doubt = err != nil
		return err
	})
	switch {
	case err == nil:
		return outcomes, done, nil
	case errors.Is(err, issuing.ErrFenced):
		return nil, at, fmt.Errorf("%w: %w", ErrFenced, err)
	case errors.Is(err, domain.ErrLogChanged), errors.Is(err, issuing.ErrCorrupt):
		// We no longer know what is true. Going on, or letting another go on,
		// would make it worse: hold the partition still until a person looks.
		w.log.Error().Err(err).Int64("offset", at).Msg("the partition stops, a person must look")
		w.Health.Report(w.name, "stopped: "+err.Error())
		for ctx.Err() == nil {
			w.a.Progress()
			pause(ctx, longestPause)
		}
	}
	return nil, at, err
}

// take splits off what is decided, up to done, and its dead letters.
func (b *haul) take(outcomes []domain.Outcome, done int64) answered {
	a := answered{end: done, answers: make([]producer.Answer, 0, len(outcomes)), oldest: b.oldest}
	b.requests = b.requests[len(outcomes):]
	next := 0 // outcome
	for len(b.records) > 0 && b.records[0].Offset < done {
		r := &b.records[0]
		b.records = b.records[1:]
		if next == len(outcomes) || outcomes[next].Request.Offset != r.Offset {
			continue
		}
		o := &outcomes[next]
		next++
		if o.Verdict == domain.Rejected && o.Reason == domain.Poison {
			a.letters = append(a.letters, letter(r, o.Reason.String(), "The database refuses a value in this event."))
			continue
		}
		a.answers = append(a.answers, producer.Answer{
			Outcome: o, Offset: r.Offset, Key: hushed(r.Key, o.Request.CustomerID, o.Alias), Traceparent: Header(r, "traceparent"),
		})
	}
	for len(b.malformed) > 0 && b.malformed[0].Offset < done {
		a.letters = append(a.letters, b.malformed[0])
		b.malformed = b.malformed[1:]
	}
	return a
}

// hushed is the key of a delivery without the id of a customer who was erased.
func hushed(key []byte, customer, alias string) []byte {
	if alias != "" && bytes.Contains(key, []byte(customer)) {
		return []byte(alias)
	}
	return key
}

// publish tells what is decided, in order, then lets the group's offset follow.
func (w *owner) publish(ctx context.Context, from <-chan answered) error {
	for a := range from {
		start := time.Now()
		err := w.retry(ctx, "publish", func() error {
			if err := w.Outcomes.Publish(ctx, w.a.Partition, a.answers); err != nil {
				return err
			}
			return w.DeadLetters.Publish(ctx, w.a.Partition, a.letters)
		})
		if err != nil {
			// The stages before must not wait for one that is gone.
			go func() {
				for range from {
				}
			}()
			return err
		}
		w.Metrics.step(stepPublish, start)
		w.Metrics.published(w.a.Partition, a.letters)
		// Crash point issuing.offset: published, the offset not committed. The records are
		// read again and answered again with the same ce_id and the same bytes.
		w.a.Commit(a.end)
		w.a.Progress()
	}
	return nil
}
