// Package guesses keeps people from finding codes by trying. Who tries codes that
// cannot be redeemed uses up a bucket of tokens, and so does a pool whose codes
// are tried; while either is empty, tries are turned away before anyone has looked
// at them. A try that succeeds costs nothing: it borrows its token while it is
// looked at, so that however many come at once no more fail than there are tokens.
//
// Memory is bounded: of callers and pools the latest are known, ten thousand each.
// Who has not been heard of for longest is forgotten, and begins anew.
package guesses

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"promopool/internal/domain"
)

// Limit is how many failed tries are let through: so many at once, and so many a
// minute for good.
type Limit struct {
	PerMinute int
	Burst     int
}

// Limits are those of each caller and of each pool.
type Limits struct {
	Caller Limit
	Pool   Limit
}

// DefaultLimits leave a shop whose customers mistype alone, and let who guesses try
// few codes.
func DefaultLimits() Limits {
	return Limits{Caller: Limit{PerMinute: 60, Burst: 100}, Pool: Limit{PerMinute: 600, Burst: 1000}}
}

// Check returns an error for limits that nothing could get through.
func (l Limits) Check() error {
	for name, one := range map[string]Limit{"caller": l.Caller, "pool": l.Pool} {
		if one.PerMinute < 1 || one.Burst < 1 {
			return fmt.Errorf("limit of guesses by %s: %d a minute and %d at once: each must be above 0", name, one.PerMinute, one.Burst)
		}
	}
	return nil
}

// Scopes of limits.
const (
	ofCaller = "caller"
	ofPool   = "pool"
)

const (
	// remembered bounds how many callers and how many pools are known.
	remembered = 10_000
	// quiet is for how long nothing more is logged of a caller.
	quiet = time.Minute
)

// Limited says that a try was turned away.
type Limited struct {
	RetryAfter time.Duration
	ByPool     bool // by those of all callers together
}

func (l *Limited) Error() string { return "too many tries have failed" }

// Guard turns tries away.
type Guard struct {
	callers *recent
	pools   *recent
	log     zerolog.Logger
	limited *prometheus.CounterVec
}

// New returns a guard. Limits must be such as Check accepts.
func New(l Limits, log zerolog.Logger, reg prometheus.Registerer) *Guard {
	g := &Guard{
		callers: newRecent(l.Caller), pools: newRecent(l.Pool), log: log.With().Str("component", "guesses").Logger(),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_redemption_tries_limited_total", Help: "Tries to redeem or check a code that were turned away since too many had failed, by whose limit: the caller's or the pool's."}, []string{"scope"}),
	}
	g.limited.WithLabelValues(ofCaller)
	g.limited.WithLabelValues(ofPool)
	reg.MustRegister(g.limited)
	return g
}

// Try is one that is looked at.
type Try struct{ caller, pool *bucket }

// Begin lets a try of a caller at a pool go on, or returns a *Limited. The
// caller's bucket is asked first: who is turned away by it takes nothing from
// those who share the pool.
func (g *Guard) Begin(ctx context.Context, caller netip.Addr, pool string) (*Try, error) {
	t := &Try{caller: g.callers.of(block(caller))}
	wait, err := t.caller.borrow(ctx)
	switch {
	case err != nil:
		return nil, err
	case wait > 0:
		g.turnAway(t.caller, caller, pool, ofCaller)
		return nil, &Limited{RetryAfter: wait}
	}
	t.pool = g.pools.of(pool)
	wait, err = t.pool.borrow(ctx)
	if err == nil && wait == 0 {
		return t, nil
	}
	t.caller.giveBack(false)
	if err != nil {
		return nil, err
	}
	g.turnAway(t.caller, caller, pool, ofPool)
	return nil, &Limited{RetryAfter: wait, ByPool: true}
}

// End tells what became of the try.
func (t *Try) End(failed bool) {
	t.pool.giveBack(failed)
	t.caller.giveBack(failed)
}

// block is what one customer of a network has: an address, of IPv6 sixty-four bits.
func block(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	return a.String()
}

func (g *Guard) turnAway(b *bucket, caller netip.Addr, pool, scope string) {
	g.limited.WithLabelValues(scope).Inc()
	if !b.mayLog() {
		return
	}
	if domain.CheckID(pool) != nil {
		pool = "" // whatever it is, it is nothing of ours
	}
	g.log.Warn().Str("caller", caller.String()).Str("pool_id", pool).Str("scope", scope).Msg("too many tries to redeem codes have failed, turning more away")
}

// bucket holds tokens. Tokens that are lent are not spent yet.
type bucket struct {
	limiter *rate.Limiter

	mu      sync.Mutex
	lent    int             // guarded by mu
	waiting []chan struct{} // for what is lent to come back; guarded by mu
	logged  time.Time       // guarded by mu
}

// borrow takes a token, waiting while all that are left are lent. A time above 0
// is how long it takes until there is one.
func (b *bucket) borrow(ctx context.Context) (time.Duration, error) {
	for {
		b.mu.Lock()
		tokens := b.limiter.TokensAt(time.Now())
		switch {
		case tokens < 1:
			b.mu.Unlock()
			return time.Duration(math.Ceil((1 - tokens) / float64(b.limiter.Limit()) * float64(time.Second))), nil
		case tokens >= float64(b.lent+1):
			b.lent++
			b.mu.Unlock()
			return 0, nil
		}
		back := make(chan struct{})
		b.waiting = append(b.waiting, back)
		b.mu.Unlock()
		select {
		case <-back:
		case <-ctx.Done():
			b.mu.Lock()
			defer b.mu.Unlock()
			if at := slices.Index(b.waiting, back); at >= 0 {
				b.waiting = slices.Delete(b.waiting, at, at+1)
			} else {
				b.wake(time.Now()) // what came back for us is for the next
			}
			return 0, ctx.Err()
		}
	}
}

func (b *bucket) giveBack(spent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lent--
	now := time.Now()
	if spent {
		b.limiter.AllowN(now, 1) // there is one: no more are lent than there are
	}
	b.wake(now)
}

// wake lets as many look again as there are tokens for, which may be more than came
// back: time has brought some. Where there is none, all look, in vain. The caller
// holds mu.
func (b *bucket) wake(now time.Time) {
	n := len(b.waiting)
	if tokens := b.limiter.TokensAt(now); tokens >= 1 {
		n = min(n, int(tokens)-b.lent)
	}
	for ; n > 0; n-- {
		close(b.waiting[0])
		b.waiting = b.waiting[1:]
	}
}

func (b *bucket) mayLog() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !b.logged.IsZero() && now.Sub(b.logged) < quiet {
		return false
	}
	b.logged = now
	return true
}
