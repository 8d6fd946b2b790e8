package issuing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/lull"
)

const (
	// slots is how many transactions run at a time. More only wait for the
	// same disk; fewer leave it idle while one decides.
	slots = 4
	// spread is the number of waiting requests from which a further transaction
	// begins beside those under way. Fewer wait for them and are merged: many
	// small transactions at once only take the processor from each other.
	spread = 250
	// patience is how long they wait before one begins all the same: what is
	// under way may be waiting for a lock.
	patience = 10 * time.Millisecond
	// gathering is for how long nobody must have come before a transaction begins.
	gathering = 120 * time.Microsecond
	// fullGroup is the number of requests from which a transaction takes no
	// further partition in: larger gains nothing and holds locks longer.
	fullGroup = 1000
	// grace bounds one attempt at a transaction, and all that follow it when it
	// was lost to others. Then the caller hears of it.
	grace = 10 * time.Second
	// stragglers is how many batches that failed in a slot, and go on alone,
	// do so at a time. Those behind them do not wait for what they wait for.
	stragglers = 8
)

// DefaultBudget is room for some hundred thousand codes.
const DefaultBudget = 64 << 20

// Issuer decides for all partitions of a process. Batches that wait while
// transactions are under way are merged into one, so that latency at low load
// does not depend on the number of partitions.
type Issuer struct {
	// Budget bounds the buffers of the process, in bytes; beyond it the longest idle
	// are handed back. To be set before partitions are opened.
	Budget int64
	// Yield passes the time in waits that are too short for a timer (package lull).
	Yield func()

	store   Store
	worker  string
	log     zerolog.Logger
	metrics *metrics

	buffered atomic.Int64 // bytes of code texts at hand, over all partitions
	opened   atomic.Int64 // how often a partition was opened

	clock   clock
	touched touched

	aside chan struct{} // holds a token per straggler at work

	mu      sync.Mutex
	queue   []*ticket // guarded by mu
	waiting int       // requests in queue; guarded by mu
	running int       // guarded by mu
}

// New returns an issuer that owns partitions under the worker's name, which no
// other process may bear.
func New(store Store, worker string, reg prometheus.Registerer, log zerolog.Logger) *Issuer {
	i := &Issuer{Budget: DefaultBudget, store: store, worker: worker, log: log.With().Str("component", "issuing").Logger(), Yield: runtime.Gosched, aside: make(chan struct{}, stragglers)}
	i.metrics = newMetrics(reg, &i.buffered)
	return i
}

// ticket is one batch on its way through a transaction.
type ticket struct {
	p          *Partition
	first, end int64
	requests   []domain.Request
	poisoned   bool // requests[0], the only one, goes to the dead letters

	// owned by the leader
	pools map[string]int64 // requests by pool id

	// set by the leader, read after done is closed
	outcomes []domain.Outcome
	err      error
	shared   bool // the attempt that failed was others' as well
	done     chan struct{}
}

// asked are the requests to be decided. A poisoned one is not shown to the
// database again.
func (t *ticket) asked() []domain.Request {
	if t.poisoned {
		return nil
	}
	return t.requests
}

// submit waits until the ticket's batch is decided and committed, or is not.
// Once begun it is finished, whatever becomes of ctx.
func (i *Issuer) submit(ctx context.Context, t *ticket) error {
	t.done = make(chan struct{})
	ctx = context.WithoutCancel(ctx)
	i.mu.Lock()
	i.queue = append(i.queue, t)
	i.waiting += len(t.requests)
	if i.running == 0 || i.waiting >= spread {
		i.begin()
	} else {
		time.AfterFunc(patience, func() {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.begin()
		})
	}
	i.mu.Unlock()
	<-t.done
	if t.err == nil || errors.Is(t.err, ErrUnknown) {
		return t.err
	}
	i.aside <- struct{}{}
	defer func() { <-i.aside }()
	if t.shared {
		t.err = i.attempt(ctx, []*ticket{t})
	}
	return i.persist(ctx, t, t.err)
}

// begin starts a further transaction if there is something for it and a slot.
// The caller holds mu.
func (i *Issuer) begin() {
	if i.running < slots && len(i.queue) > 0 {
		i.running++
		go i.lead(context.Background())
	}
}

// lead takes groups off the queue until it is empty.
func (i *Issuer) lead(ctx context.Context) {
	for {
		i.gather()
		group := i.next()
		if group == nil {
			return
		}
		i.settle(ctx, group)
	}
}

// gather lets those come that are about to.
func (i *Issuer) gather() {
	lull.Await(gathering, i.Yield, func() (int, bool) {
		i.mu.Lock()
		defer i.mu.Unlock()
		return len(i.queue), i.waiting >= fullGroup
	})
}

func (i *Issuer) next() []*ticket {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.queue) == 0 {
		i.running--
		return nil
	}
	n, requests := 0, 0
	for n < len(i.queue) && (n == 0 || requests+len(i.queue[n].requests) <= fullGroup) {
		requests += len(i.queue[n].requests)
		n++
	}
	i.waiting -= requests
	group := i.queue[:n:n]
	i.queue = append([]*ticket(nil), i.queue[n:]...)
	// What a group does shall not depend on who came first by microseconds.
	slices.SortStableFunc(group, func(a, b *ticket) int { return cmp.Compare(a.p.claim.Number, b.p.claim.Number) })
	return group
}

// settle decides a group together. Where that fails for a reason that may be one
// member's, each goes on alone and aside.
func (i *Issuer) settle(ctx context.Context, group []*ticket) {
	err := i.attempt(ctx, group)
	if err != nil && !errors.Is(err, ErrUnknown) {
		i.metrics.again(err)
	}
	for _, t := range group {
		t.err, t.shared = err, len(group) > 1
		close(t.done)
	}
}

// persist decides one ticket again until it succeeds or cannot.
func (i *Issuer) persist(ctx context.Context, t *ticket, err error) error {
	start := time.Now()
	for try := 1; err != nil; try++ {
		if err := i.repair(ctx, t, err); err != nil {
			return err
		}
		if time.Since(start) > grace {
			return fmt.Errorf("given up after %d tries: %w", try, err)
		}
		if try > 3 {
			time.Sleep(min(time.Duration(try)*5*time.Millisecond, 100*time.Millisecond))
		}
		if err = i.attempt(ctx, []*ticket{t}); err != nil {
			i.metrics.again(err)
		}
	}
	return nil
}

// repair puts right what an attempt failed for; an error means that another
// would not help.
func (i *Issuer) repair(ctx context.Context, t *ticket, err error) error {
	switch {
	case errors.Is(err, ErrRaced), errors.Is(err, ErrAgain):
		return nil
	case errors.Is(err, ErrCursor):
		return t.p.reload(ctx)
	case errors.Is(err, ErrBlocked):
		// Perhaps by a predecessor that froze in the middle of it.
		return i.store.EndPredecessors(ctx, t.p.claim)
	case errors.Is(err, ErrPlaceTaken):
		if t.p.alarmed {
			return fmt.Errorf("%w: twice at one place: %w", ErrCorrupt, err)
		}
		t.p.alarmed = true
		t.p.log.Error().Err(err).Msg("a code in hand is issued already, reloading")
		return t.p.reload(ctx)
	}
	return err
}
