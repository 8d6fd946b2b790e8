package issuing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/rs/zerolog"

	"promopool/internal/domain"
)

// rangesAtOnce is how many known ranges are read at a time when a partition is
// replayed from far back.
const rangesAtOnce = 500

// Partition is one partition of the request topic as its owner sees it. It is
// used by one goroutine.
type Partition struct {
	i      *Issuer
	worker string // the owner
	log    zerolog.Logger

	// owned by the caller of Issue, and while that waits by its group's leader
	claim   Claim
	buffers map[string]*buffer // by pool id; with the pools that were asked for
	held    int64              // bytes of buffers accounted for
	stale   bool               // reload before the next decision
	alarmed bool               // a place was found taken once

	arrivals arrivals

	// known ranges that end beyond position, in order; complete when allKnown
	ranges   []domain.Range
	allKnown bool
	position int64 // up to where Issue was last asked
}

// Open takes the partition over. position is where its deliveries will be read
// from.
func (i *Issuer) Open(ctx context.Context, stream string, number, partitions int, position int64) (*Partition, error) {
	// Each owner has a name of its own: an earlier one in this process, left
	// behind in the middle of something, is as much a stranger as any.
	worker := fmt.Sprintf("%s/%d", i.worker, i.opened.Add(1))
	claiming, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	claim, err := i.store.Claim(claiming, stream, number, worker, partitions)
	if err != nil {
		return nil, fmt.Errorf("claim partition %d: %w", number, err)
	}
	p := &Partition{i: i, claim: claim, worker: worker, log: i.log.With().Int("partition", number).Logger(), buffers: map[string]*buffer{}}
	if err := p.refresh(ctx, position); err != nil {
		p.Close()
		return nil, fmt.Errorf("open partition %d: %w", number, err)
	}
	return p, nil
}

// NextOffset is where what is decided ends.
func (p *Partition) NextOffset() int64 { return p.claim.NextOffset }

// Behind closes the gate of the whole service: the topics hold an outcome of
// the delivery at offset, which the database has not decided. It returns
// ErrGate, or ErrFenced when the partition is another's by now, so that the
// outcome may be that one's.
func (p *Partition) Behind(ctx context.Context, offset int64) error {
	reason := fmt.Sprintf("partition %d of stream %s: decided up to offset %d, but an outcome of offset %d is in the topics",
		p.claim.Number, p.claim.Stream, p.claim.NextOffset, offset)
	if err := p.i.store.CloseGate(ctx, p.claim, offset, reason); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrGate, reason)
}

// Stream is the identity of the log that the partition belongs to.
func (p *Partition) Stream() string { return p.claim.Stream }

// Resolve finds out what became of a decision whose answer was lost: nothing
// of ours can commit any more after it, and what did is a known range. first is
// the first delivery in doubt. It returns ErrFenced when the partition is
// another's.
func (p *Partition) Resolve(ctx context.Context, first int64) error {
	p.arrivals.pending.Wait()
	resolving, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	claim, err := p.i.store.Resolve(resolving, p.claim, p.worker)
	if err != nil {
		return fmt.Errorf("resolve partition %d: %w", p.claim.Number, err)
	}
	p.claim = claim
	return p.refresh(ctx, first)
}

// refresh reads what memory must know: buffers and known ranges.
func (p *Partition) refresh(ctx context.Context, position int64) error {
	if err := p.reload(ctx); err != nil {
		return err
	}
	return p.loadRanges(ctx, position)
}

func (p *Partition) loadRanges(ctx context.Context, position int64) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	ranges, err := p.i.store.Ranges(ctx, p.claim.Partition, position, rangesAtOnce)
	if err != nil {
		return fmt.Errorf("read known ranges: %w", err)
	}
	p.ranges, p.allKnown, p.position = ranges, len(ranges) < rangesAtOnce, position
	return nil
}

// Close hands nothing back: the next owner of the partition goes on with what
// it holds. It waits for what is under way.
func (p *Partition) Close() {
	p.arrivals.pending.Wait()
	p.hold(-p.held)
}

// Issue decides the deliveries first…end−1, of which requests are the well
// formed, in order. It returns the outcomes of those below done, which is as
// far as it went: end, or the border of a range that was decided before. When
// it returns, the outcomes are durably true. ErrUnknown: call Resolve, then
// Issue again. ErrFenced: leave. domain.ErrLogChanged, ErrCorrupt: stop.
func (p *Partition) Issue(ctx context.Context, first, end int64, requests []domain.Request) (outcomes []domain.Outcome, done int64, err error) {
	known, border, err := p.rangeAt(ctx, first, end)
	if err != nil {
		return nil, first, err
	}
	requests = below(requests, border)
	again := first < p.claim.NextOffset
	if known != nil {
		outcomes, err = p.replay(ctx, *known, requests)
		if err == nil {
			err = p.hush(ctx, outcomes)
		}
		return outcomes, border, err
	}
	if p.stale {
		if err := p.reload(ctx); err != nil {
			return nil, first, err
		}
	}
	t := &ticket{p: p, first: first, end: border, requests: requests}
	err = p.i.submit(ctx, t)
	switch {
	case err == nil:
		p.i.metrics.decided(t.outcomes)
		if again {
			err = p.hush(ctx, t.outcomes)
		}
		return t.outcomes, border, err
	case errors.Is(err, ErrPoison):
		return p.bisect(ctx, t)
	}
	return nil, first, err
}

// hush keeps the rejections of deliveries that are read again from saying who asked,
// where the customer was erased since they came. (Issuances say it themselves.)
func (p *Partition) hush(ctx context.Context, outcomes []domain.Outcome) error {
	asked := map[string]bool{}
	for i := range outcomes {
		if outcomes[i].Verdict == domain.Rejected {
			asked[outcomes[i].Request.CustomerID] = true
		}
	}
	if len(asked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	erased, err := p.i.store.Erased(ctx, p.claim, slices.Collect(maps.Keys(asked)))
	if err != nil {
		return fmt.Errorf("look for erased customers: %w", err)
	}
	for i := range outcomes {
		o := &outcomes[i]
		if e, ok := erased[o.Request.CustomerID]; ok && o.Verdict == domain.Rejected && o.Request.Offset < e.Before {
			o.Alias = e.Alias
		}
	}
	return nil
}

// bisect goes on with the half before a request that the database refuses, or
// with that request alone, which then goes to the dead letters.
func (p *Partition) bisect(ctx context.Context, t *ticket) ([]domain.Outcome, int64, error) {
	switch n := len(t.requests); {
	case n == 0:
		return nil, t.first, fmt.Errorf("%w: refused without a request", ErrCorrupt)
	case n > 1:
		return p.Issue(ctx, t.first, t.requests[n/2].Offset, t.requests[:n/2])
	}
	r := &t.requests[0]
	p.log.Warn().Int64("offset", r.Offset).Msg("the database refuses a request's data, to the dead letters with it")
	alone := &ticket{p: p, first: t.first, end: t.end, requests: t.requests, poisoned: true}
	if err := p.i.submit(ctx, alone); err != nil {
		return nil, t.first, err
	}
	p.i.metrics.decided(alone.outcomes)
	return alone.outcomes, t.end, nil
}

// rangeAt returns the known range that first lies in, if any, and how far a
// batch from there may go: to the border of that range, or of the next.
func (p *Partition) rangeAt(ctx context.Context, first, end int64) (*domain.Range, int64, error) {
	if first < p.position {
		// The log was cut and sent the reader back, perhaps behind our own batches.
		if err := p.loadRanges(ctx, first); err != nil {
			return nil, first, err
		}
	}
	for {
		for len(p.ranges) > 0 && p.ranges[0].End <= first {
			p.ranges = p.ranges[1:]
		}
		if len(p.ranges) > 0 || p.allKnown {
			break
		}
		if err := p.loadRanges(ctx, first); err != nil {
			return nil, first, err
		}
	}
	p.position = end
	switch {
	case len(p.ranges) == 0:
		return nil, end, nil
	case p.ranges[0].First <= first:
		p.position = min(end, p.ranges[0].End)
		return &p.ranges[0], p.position, nil
	}
	p.position = min(end, p.ranges[0].First)
	return nil, p.position, nil
}

// replay repeats what was decided before. What was rejected is not asked for:
// the database may have refused to hear of it.
func (p *Partition) replay(ctx context.Context, known domain.Range, requests []domain.Request) ([]domain.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	rejected := make(map[int64]bool, len(known.Rejections))
	for _, r := range known.Rejections {
		rejected[r.Offset] = true
	}
	ids := map[string]bool{}
	for i := range requests {
		if !rejected[requests[i].Offset] {
			ids[requests[i].PoolID] = true
		}
	}
	pools, err := p.i.store.PoolsByID(ctx, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, err
	}
	keys := make([]domain.Key, 0, len(requests))
	byKey := make(map[int32]*domain.Pool, len(pools))
	for i := range requests {
		if pool := pools[requests[i].PoolID]; pool != nil && !rejected[requests[i].Offset] {
			keys = append(keys, domain.Key{Pool: pool.Key, RequestID: requests[i].RequestID})
			byKey[pool.Key] = pool
		}
	}
	issued, _, err := p.i.store.LookUp(ctx, keys, byKey)
	if err != nil {
		return nil, err
	}
	outcomes, err := domain.Replay(known, requests, pools, issued)
	if err == nil {
		p.i.metrics.decided(outcomes)
	}
	return outcomes, err
}

// below returns the requests whose offset is below the border.
func below(requests []domain.Request, border int64) []domain.Request {
	for n := len(requests); n > 0; n-- {
		if requests[n-1].Offset < border {
			return requests[:n]
		}
	}
	return nil
}
