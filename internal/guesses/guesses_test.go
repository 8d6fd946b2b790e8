package guesses

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
)

var (
	anna = netip.MustParseAddr("192.0.2.1")
	bert = netip.MustParseAddr("192.0.2.2")
)

// booth is a guard with its log.
type booth struct {
	*Guard
	t   *testing.T
	log bytes.Buffer
}

func open(t *testing.T, caller, pool Limit) *booth {
	b := &booth{t: t}
	b.Guard = New(Limits{caller, pool}, zerolog.New(&b.log), prometheus.NewRegistry())
	return b
}

// Try begins and ends one, and returns why it was turned away.
func (b *booth) Try(caller netip.Addr, pool string, failed bool) *Limited {
	b.t.Helper()
	try, err := b.Begin(b.t.Context(), caller, pool)
	if limited := (*Limited)(nil); errors.As(err, &limited) {
		return limited
	}
	if err != nil {
		b.t.Fatal(err)
	}
	try.End(failed)
	return nil
}

// Tries are failing ones until one is turned away.
func (b *booth) Tries(caller netip.Addr, pool string) (n int) {
	for ; b.Try(caller, pool, true) == nil; n++ {
		if n > 100_000 {
			b.t.Fatal("nobody is turned away")
		}
	}
	return n
}

func (b *booth) limited(scope string) float64 {
	var m dto.Metric
	if err := b.Guard.limited.WithLabelValues(scope).Write(&m); err != nil {
		b.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

var wide = Limit{PerMinute: 60_000, Burst: 100_000}

func TestLimitOfCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Limit{PerMinute: 6, Burst: 10}, wide)
		for range 1000 {
			if b.Try(anna, "p", false) != nil {
				t.Fatal("who guesses nothing was turned away")
			}
		}
		if n := b.Tries(anna, "p"); n != 10 {
			t.Errorf("%d tries failed, want 10", n)
		}
		switch l := b.Try(anna, "q", false); {
		case l == nil || l.ByPool || l.RetryAfter < 9*time.Second || l.RetryAfter > 10*time.Second:
			t.Errorf("at another pool: got %+v, want to be told to wait 10 s", l)
		default:
			time.Sleep(l.RetryAfter)
		}
		if n := b.Tries(anna, "p"); n != 1 {
			t.Errorf("then %d tries failed, want 1", n)
		}
		if n := b.Tries(bert, "p"); n != 10 {
			t.Errorf("%d tries of another failed, want 10", n)
		}
		time.Sleep(time.Hour)
		if n := b.Tries(anna, "p"); n != 10 {
			t.Errorf("an hour later %d tries failed, want 10", n)
		}
		if got := b.limited(ofCaller); got != 5 {
			t.Errorf("%v were counted, want 5", got)
		}
	})
}

// Who is turned away takes nothing from the pool; many callers together do.
func TestLimitOfPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Limit{PerMinute: 1, Burst: 10}, Limit{PerMinute: 1, Burst: 25})
		b.Tries(anna, "p")
		for range 1000 {
			_ = b.Try(anna, "p", true)
		}
		if n := b.Tries(bert, "p"); n != 10 {
			t.Errorf("%d tries of another failed, want 10", n)
		}
		third := netip.MustParseAddr("2001:db8::1")
		if n := b.Tries(third, "p"); n != 5 {
			t.Errorf("%d tries of a third failed, want the 5 that the pool has left", n)
		}
		if l := b.Try(third, "p", false); l == nil || !l.ByPool {
			t.Errorf("got %+v, want the pool to turn it away", l)
		}
		if n := b.Tries(netip.MustParseAddr("2001:db8::2"), "q"); n != 5 { // of one network, so one caller; what the pool turned away cost it nothing
			t.Errorf("%d of its tries at another pool failed, want 5", n)
		}
		if got := b.limited(ofPool); got != 2 {
			t.Errorf("%v were counted, want 2", got)
		}
	})
}

// However many come at once, no more fail than there are tokens, and who redeems
// rightly waits for a moment and is let through.
func TestLimitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Limit{PerMinute: 1, Burst: 10}, wide)
		looked, most := 0, 0
		var mu sync.Mutex
		atOnce := func(n int, failed bool) (through, limited int) {
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					try, err := b.Begin(t.Context(), anna, "p")
					mu.Lock()
					if err != nil {
						limited++
						mu.Unlock()
						return
					}
					through++
					looked++
					most = max(most, looked)
					mu.Unlock()
					time.Sleep(time.Millisecond)
					mu.Lock()
					looked--
					mu.Unlock()
					try.End(failed)
				})
			}
			all.Wait()
			return through, limited
		}
		if through, _ := atOnce(500, false); through != 500 || most != 10 {
			t.Errorf("%d were let through, %d at once, want 500, 10 at once", through, most)
		}
		if through, limited := atOnce(500, true); through != 10 || limited != 490 {
			t.Errorf("%d failed and %d were turned away, want 10 and 490", through, limited)
		}
	})
}

// Who gives up waiting leaves the place to the next.
func TestLimitGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Limit{PerMinute: 1, Burst: 1}, wide)
		first, err := b.Begin(t.Context(), anna, "p")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gaveUp, went := make(chan error, 1), make(chan error, 1)
		go func() { _, err := b.Begin(ctx, anna, "p"); gaveUp <- err }()
		synctest.Wait()
		go func() { _, err := b.Begin(t.Context(), anna, "p"); went <- err }()
		synctest.Wait()
		if err := <-gaveUp; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		first.End(false)
		if err := <-went; err != nil {
			t.Error(err)
		}
	})
}

func TestLimitLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Limit{PerMinute: 1, Burst: 1}, wide)
		for range 200 {
			_ = b.Try(anna, "p", true)
			_ = b.Try(bert, "a pool that cannot be", true)
			time.Sleep(time.Second)
		}
		lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
		if len(lines) != 8 { // each at once and then every minute
			t.Errorf("%d lines:\n%s", len(lines), b.log.String())
		}
		if !strings.Contains(lines[0], `"caller":"192.0.2.1"`) || !strings.Contains(lines[0], `"pool_id":"p"`) || strings.Contains(b.log.String(), "cannot be") {
			t.Errorf("got %s", lines[0])
		}
	})
}

func TestMemoryBounded(t *testing.T) {
	b := open(t, Limit{PerMinute: 1, Burst: 2}, wide)
	b.Tries(anna, "p")
	for n := range 3 * remembered {
		_ = b.Try(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), fmt.Sprint("pool-", n), true)
		if n%1000 == 0 && b.Try(anna, "p", true) == nil {
			t.Fatal("one that goes on was forgotten")
		}
	}
	if len(b.callers.known) != remembered || b.callers.order.Len() != remembered || len(b.pools.known) != remembered {
		t.Errorf("%d callers and %d pools are known, want %d", len(b.callers.known), len(b.pools.known), remembered)
	}
}

// Who waits for a try that is looked at for long is let through when it has failed:
// tokens have come back meanwhile.
func TestLimitSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Limit{PerMinute: 60, Burst: 3}, wide)
		b.Tries(anna, "p")
		time.Sleep(time.Second)
		slow, err := b.Begin(t.Context(), anna, "p") // with the only token
		if err != nil {
			t.Fatal(err)
		}
		var through sync.WaitGroup
		for range 2 {
			through.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				try, err := b.Begin(ctx, anna, "p")
				if err != nil {
					t.Errorf("one that waited: %v", err)
					return
				}
				try.End(true)
			})
		}
		synctest.Wait()
		time.Sleep(5 * time.Second)
		slow.End(true)
		through.Wait()
	})
}
