package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestDrain: pools warmed up over all partitions and then drained past their
// end through a single key give exactly what they have.
func TestDrain(t *testing.T) {
	for _, size := range []int{1_000, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Pool("p", size)
			w.Serve()
			w.Serve()
			warm := min(size/2, 24_000)
			var asks []ask
			for i := range warm {
				asks = append(asks, ask{pool: "p", request: fmt.Sprintf("w-%d", i), customer: fmt.Sprintf("c-%d", i)})
			}
			l, r := newLedger(), w.reader(w.names.Outcomes)
			w.Send(asks...)
			l.learn(t, r, len(asks), time.Minute)
			asks = asks[:0]
			const beyond = 500
			for i := range size - warm + beyond {
				asks = append(asks, ask{pool: "p", request: fmt.Sprintf("d-%d", i), customer: "one"})
			}
			w.Send(asks...)
			l.learn(t, r, len(asks), 2*time.Minute)
			if len(l.issued) != size || l.rejected["pool_exhausted"] != beyond || len(l.rejected) != 1 {
				t.Errorf("%d issued, rejected %v; want %d and %d pool_exhausted", len(l.issued), l.rejected, size, beyond)
			}
			w.Verify()
		})
	}
}

// TestDrainSmall: three processes drain a pool of 20 codes through all
// partitions at once.
func TestDrainSmall(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.Serve()
	}
	l, r := newLedger(), w.reader(w.names.Outcomes)
	for round := range 5 {
		pool := fmt.Sprintf("small-%d", round)
		w.Pool(pool, 20)
		var asks []ask
		for i := range 240 {
			asks = append(asks, ask{pool: pool, request: fmt.Sprint(i), customer: fmt.Sprintf("c-%d", i)})
		}
		start := time.Now()
		w.Send(asks...)
		l.learn(t, r, len(asks), 30*time.Second)
		t.Logf("drained in %v", time.Since(start))
	}
	if len(l.issued) != 100 || l.rejected["pool_exhausted"] != 5*220 {
		t.Errorf("%d issued, rejected %v; want 100 and 1100 pool_exhausted", len(l.issued), l.rejected)
	}
	w.Verify()
}
