package redeeming

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"promopool/internal/domain"
)

const (
	// few transactions run at a time where little is asked: more would be smaller, and
	// most of a small one is its round trips.
	few = 2
	// slots is how many do when more waits than half of one takes. More only wait for
	// the same disk, and take connections from others.
	slots = 4
	// GroupSize is how many requests share a transaction at most. Each locks its
	// code, and PostgreSQL has room for some thousand locks.
	GroupSize = 200
	// grace bounds one transaction with all its attempts.
	grace = 12 * time.Second
)

// Redeemer judges for all who ask in a process.
type Redeemer struct {
	store   Store
	told    func()
	metrics *metrics

	mu      sync.Mutex
	queue   []*ticket // guarded by mu
	waiting int       // requests in queue; guarded by mu
	running int       // transactions under way; guarded by mu
}

// New returns a redeemer. told is called when the outbox has got something.
func New(store Store, told func(), reg prometheus.Registerer) *Redeemer {
	return &Redeemer{store: store, told: told, metrics: newMetrics(reg)}
}

// ticket is what one caller asks, on its way through a transaction.
type ticket struct {
	asks []Ask

	// set by the leader, read after done is closed
	judged []domain.Judgement
	err    error
	done   chan struct{}
}

// Redeem answers requests in their order. Once begun it goes on, whatever becomes
// of ctx. After an error some may be answered: ask again.
func (r *Redeemer) Redeem(ctx context.Context, asks ...Ask) ([]domain.Judgement, error) {
	start := time.Now()
	judged := make([]domain.Judgement, 0, len(asks))
	for len(judged) < len(asks) {
		rest := asks[len(judged):]
		t := &ticket{asks: rest[:min(len(rest), GroupSize)], done: make(chan struct{})}
		r.submit(context.WithoutCancel(ctx), t)
		select {
		case <-t.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", domain.ErrUnsure, ctx.Err())
		}
		if t.err != nil {
			return nil, t.err
		}
		judged = append(judged, t.judged...)
	}
	r.metrics.answered(judged, time.Since(start))
	return judged, nil
}

// RedeemAndTell answers one request; a first answer goes to the outbox with it.
func (r *Redeemer) RedeemAndTell(ctx context.Context, q domain.RedemptionRequest, traceparent string) (domain.Judgement, error) {
	judged, err := r.Redeem(ctx, Ask{RedemptionRequest: q, Tell: true, Traceparent: traceparent})
	if err != nil {
		return domain.Judgement{}, err
	}
	if judged[0].Reason == domain.RedemptionPoison {
		return domain.Judgement{}, ErrPoison
	}
	return judged[0], nil
}

func (r *Redeemer) submit(ctx context.Context, t *ticket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, t)
	r.waiting += len(t.asks)
	if r.running < r.useful() {
		r.running++
		go r.lead(ctx)
	}
}

// useful is how many transactions are worth their cost for what waits.
func (r *Redeemer) useful() int {
	if r.waiting >= GroupSize/2 {
		return slots
	}
	return few
}

// lead takes groups off the queue until it is empty.
func (r *Redeemer) lead(ctx context.Context) {
	for group := r.next(); group != nil; group = r.next() {
		var asks []Ask
		for _, t := range group {
			asks = append(asks, t.asks...)
		}
		judged, err := r.settle(ctx, asks)
		for _, t := range group {
			if t.err = err; err == nil {
				t.judged, judged = judged[:len(t.asks)], judged[len(t.asks):]
			}
			close(t.done)
		}
	}
}

func (r *Redeemer) next() []*ticket {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 || r.running > r.useful() {
		r.running--
		return nil
	}
	n, asks := 0, 0
	for n < len(r.queue) && (n == 0 || asks+len(r.queue[n].asks) <= GroupSize) {
		asks += len(r.queue[n].asks)
		n++
	}
	r.waiting -= asks
	group := r.queue[:n:n]
	r.queue = append([]*ticket(nil), r.queue[n:]...)
	return group
}

// settle makes the answers to requests true. One that the database refuses is
// found by halving, and does not keep the others.
func (r *Redeemer) settle(ctx context.Context, asks []Ask) ([]domain.Judgement, error) {
	attempt, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	judged, err := r.store.Redeem(attempt, asks)
	switch {
	case err == nil:
		r.metrics.group(len(asks))
		if tells(asks, judged) {
			r.told()
		}
		return judged, nil
	case !errors.Is(err, ErrPoison):
		return nil, err
	case len(asks) == 1:
		poisoned := &domain.Redemption{RedemptionRequest: asks[0].RedemptionRequest, Reason: domain.RedemptionPoison}
		return []domain.Judgement{{Redemption: poisoned}}, nil
	}
	half := len(asks) / 2
	first, err := r.settle(ctx, asks[:half])
	if err != nil {
		return nil, err
	}
	second, err := r.settle(ctx, asks[half:])
	return append(first, second...), err
}

func tells(asks []Ask, judged []domain.Judgement) bool {
	for i := range asks {
		if asks[i].Tell && !judged[i].Repeated {
			return true
		}
	}
	return false
}

// Check answers what a redemption would be answered, and changes nothing.
func (r *Redeemer) Check(ctx context.Context, q domain.RedemptionRequest) (domain.Redemption, error) {
	return r.store.CheckRedemption(ctx, q)
}

// RollBack rolls a redemption back; again changes nothing.
func (r *Redeemer) RollBack(ctx context.Context, who domain.Actor, poolID, redemptionID, traceparent string) (domain.Redemption, error) {
	done, first, err := r.store.RollBack(ctx, who, poolID, redemptionID, traceparent)
	if first {
		r.metrics.rolledBack()
		r.told()
	}
	return done, err
}

// Redemption returns the remembered answer to a redemption.
func (r *Redeemer) Redemption(ctx context.Context, poolID, redemptionID string) (domain.Redemption, error) {
	return r.store.Redemption(ctx, poolID, redemptionID)
}
