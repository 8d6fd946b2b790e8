package issuing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"promopool/internal/domain"
)

const (
	firstGrant = 200    // codes; the scarce mark in the schema is made of it
	mostGrant  = 20_000 // codes
	// emptiedSoon is how soon a grant must be used up for the next to be four
	// times as large.
	emptiedSoon = 2 * time.Second
	// runOverhead is what a run costs beside its texts: with a lot of its own, as
	// where every code has dates of its own, more than they do.
	runOverhead = 400
	// textOverhead is what a code's text costs beside its bytes.
	textOverhead = 32
)

// buffer is what a partition holds of a pool: the codes it assigns next.
// Memory is never the authority: whatever makes it wrong hands the runs back
// in the database, and the next commit from it finds out.
type buffer struct {
	pool *domain.Pool
	runs []*domain.Run // first expiring first

	grant     int64 // size of the last one
	grantedAt time.Time
	usedAt    time.Time
	refilling bool
}

func newBuffer(pool *domain.Pool) *buffer { return &buffer{pool: pool} }

// left is how many codes are at hand.
func (b *buffer) left() int64 {
	var n int64
	for _, r := range b.runs {
		n += r.Usable()
	}
	return n
}

// fitting is how many codes are at hand that may be issued now.
func (b *buffer) fitting(now time.Time) int64 {
	if !b.pool.Open(now) {
		return 0
	}
	var n int64
	for _, r := range b.runs {
		if r.Lot.Fits(now) {
			n += r.Usable()
		}
	}
	return n
}

// want is the size of the next grant.
func (b *buffer) want(now time.Time) int64 {
	switch {
	case b.grant == 0:
		return firstGrant
	case now.Sub(b.grantedAt) < emptiedSoon:
		return min(4*b.grant, mostGrant)
	}
	return b.grant
}

// add puts granted runs among those at hand, and drops those that are used up.
func (b *buffer) add(g Stock, now time.Time) {
	var n int64
	b.runs = slices.DeleteFunc(b.runs, func(r *domain.Run) bool { return r.Left() == 0 })
	for _, r := range g.Runs {
		n += r.Usable()
		b.runs = append(b.runs, r)
	}
	slices.SortStableFunc(b.runs, func(r, s *domain.Run) int {
		switch {
		case r.Lot.Sooner(&s.Lot.Window):
			return -1
		case s.Lot.Sooner(&r.Lot.Window):
			return 1
		}
		return 0
	})
	b.pool = g.Pool
	if n > 0 {
		b.grant, b.grantedAt = n, now
	}
}

// bytes is what a buffer costs.
func (b *buffer) bytes() int64 {
	n := int64(len(b.runs)) * runOverhead
	for _, r := range b.runs {
		n += textBytes(r.Texts)
	}
	return n
}

func textBytes(texts []string) int64 {
	n := int64(len(texts)) * textOverhead
	for _, t := range texts {
		n += int64(len(t))
	}
	return n
}

// arrivals are grants on their way from the goroutines that fetch them to the
// partition that asked.
type arrivals struct {
	pending sync.WaitGroup

	mu     sync.Mutex
	grants []arrival // guarded by mu
}

type arrival struct {
	id    string
	stock Stock
	err   error
}

func (a *arrivals) put(g arrival) {
	a.mu.Lock()
	a.grants = append(a.grants, g)
	a.mu.Unlock()
}

func (a *arrivals) take() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	grants := a.grants
	a.grants = nil
	return grants
}

// refill asks the store for codes and loads their texts.
func (p *Partition) refill(ctx context.Context, pool *domain.Pool, want int64) (Stock, error) {
	g, err := p.i.store.Refill(ctx, p.claim.Partition, pool, want)
	if err != nil {
		return Stock{}, fmt.Errorf("refill: %w", err)
	}
	if err := p.i.load(ctx, g.Runs); err != nil {
		return Stock{}, fmt.Errorf("load granted codes: %w", err)
	}
	p.i.metrics.refills.Inc()
	return g, nil
}

// load gives runs their texts.
func (i *Issuer) load(ctx context.Context, runs []*domain.Run) error {
	if len(runs) == 0 {
		return nil
	}
	texts, err := i.store.Texts(ctx, runs)
	if err != nil {
		return err
	}
	for n, r := range runs {
		r.Texts = texts[n]
	}
	return nil
}

// refillNow gets codes while a batch of the given time waits for them.
func (p *Partition) refillNow(ctx context.Context, b *buffer, need int64, now time.Time) error {
	if b.pool.Mode != domain.Ample || b.pool.State != domain.Active || !b.pool.Open(now) {
		return nil
	}
	g, err := p.refill(ctx, b.pool, max(b.want(time.Now()), need))
	if err != nil {
		p.stale = true
		return err
	}
	p.accept(b, g)
	return nil
}

func (p *Partition) accept(b *buffer, g Stock) {
	before := b.bytes()
	b.add(g, time.Now())
	p.hold(b.bytes() - before)
}

// hold accounts for what is at hand; negative when it is gone.
func (p *Partition) hold(bytes int64) {
	p.held += bytes
	p.i.buffered.Add(bytes)
}

// topUp begins to refill, off the hot path, what the last batch has drawn
// down below half of its last grant. decided is the database's time of it.
func (p *Partition) topUp(pools map[string]int64, decided time.Time) {
	now := time.Now()
	for id := range pools {
		b := p.buffers[id]
		if b == nil {
			continue
		}
		b.usedAt = now
		if b.refilling || b.grant == 0 || b.pool.Mode != domain.Ample || !b.pool.Open(decided) || b.fitting(decided) > b.grant/2 {
			continue
		}
		b.refilling = true
		p.arrivals.pending.Add(1)
		pool, want := b.pool, b.want(now)
		go func() {
			defer p.arrivals.pending.Done()
			ctx, cancel := context.WithTimeout(context.Background(), grace)
			defer cancel()
			g, err := p.refill(ctx, pool, want)
			p.arrivals.put(arrival{id: id, stock: g, err: err})
		}()
	}
	p.keepBudget()
}

// keepBudget gives the longest idle buffer back while the process is over its
// budget.
func (p *Partition) keepBudget() {
	if p.i.buffered.Load() < p.i.Budget {
		return
	}
	var idlest string
	for id, b := range p.buffers {
		if b.left() > 0 && !b.refilling && (idlest == "" || b.usedAt.Before(p.buffers[idlest].usedAt)) {
			idlest = id
		}
	}
	if idlest == "" || time.Since(p.buffers[idlest].usedAt) < time.Second {
		return
	}
	b := p.buffers[idlest]
	p.forget(idlest, nil)
	p.i.metrics.giveBacks.Inc()
	p.arrivals.pending.Add(1)
	go func() {
		defer p.arrivals.pending.Done()
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		if err := p.i.store.GiveBack(ctx, p.claim.Partition, b.pool.Key); err != nil {
			p.arrivals.put(arrival{id: idlest, err: err})
		}
	}()
}

// merge takes in the grants that have arrived.
func (p *Partition) merge() {
	for _, g := range p.arrivals.take() {
		b := p.buffers[g.id]
		if b == nil || g.err != nil {
			// Granted in the database, perhaps, but not at hand: found again
			// by reading what we hold.
			p.stale = true
			continue
		}
		b.refilling = false
		p.accept(b, g.stock)
	}
}

// settleRefill waits for a grant on its way, so that no run of the pool is
// granted behind the back of a transaction that hands them back.
func (p *Partition) settleRefill(id string) {
	if b := p.buffers[id]; b != nil && b.refilling {
		p.arrivals.pending.Wait()
		p.merge()
	}
}

// forget drops what is at hand of a pool after it was handed back.
func (p *Partition) forget(id string, pool *domain.Pool) {
	b := p.buffers[id]
	if b == nil {
		return
	}
	p.hold(-b.bytes())
	if pool == nil {
		delete(p.buffers, id)
		return
	}
	b.pool, b.runs = pool, nil
}

// reload reads what the partition holds, keeping the texts that are at hand.
func (p *Partition) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	p.arrivals.pending.Wait()
	p.arrivals.take()
	for {
		buffers, err := p.read(ctx)
		if errors.Is(err, ErrCursor) {
			continue // handed back between the two questions: it is not held any more
		}
		if err != nil {
			return err
		}
		p.buffers = buffers
		break
	}
	p.stale = false
	var held int64
	for _, b := range p.buffers {
		held += b.bytes()
	}
	p.hold(held - p.held)
	return nil
}

// read reads what the partition holds.
func (p *Partition) read(ctx context.Context) (map[string]*buffer, error) {
	stock, err := p.i.store.Held(ctx, p.claim.Partition)
	if err != nil {
		return nil, err
	}
	buffers := make(map[string]*buffer, len(stock))
	var missing []*domain.Run
	for _, id := range slices.Sorted(maps.Keys(stock)) {
		missing = append(missing, p.buffers[id].fill(stock[id].Runs)...)
	}
	if err := p.i.load(ctx, missing); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(stock)) {
		s := stock[id]
		b, old := newBuffer(s.Pool), p.buffers[id]
		if old != nil {
			b.grant, b.grantedAt, b.usedAt = old.grant, old.grantedAt, old.usedAt
		}
		b.runs = s.Runs
		b.grant = max(b.grant, min(b.left(), mostGrant))
		buffers[id] = b
	}
	return buffers, nil
}

// place is a run's key.
type place struct {
	lot int32
	lo  int64
}

// fill gives runs, as they are now, the texts that are at hand of them, and
// returns those of which they are not.
func (b *buffer) fill(runs []*domain.Run) (missing []*domain.Run) {
	at := map[place]*domain.Run{}
	if b != nil {
		for _, r := range b.runs {
			at[place{r.Lot.No, r.Lo}] = r
		}
	}
	for _, now := range runs {
		r := at[place{now.Lot.No, now.Lo}]
		if r == nil || r.GrantNo != now.GrantNo || now.Next < r.Next || r.Hi < now.Hi || int64(len(r.Texts)) != r.Left() {
			missing = append(missing, now)
			continue
		}
		now.Texts = r.Texts[now.Next-r.Next : now.Hi-r.Next]
	}
	return missing
}
