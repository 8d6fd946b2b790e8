package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"promopool/internal/consumer"
)

// load publishes requests in the background at a rate until told to stop, and
// counts them.
type load struct {
	stop chan struct{}
	done chan struct{}
	sent int
}

// Load begins to publish requests for a pool, a batch every tick.
func (w *world) Load(pool, prefix string, perTick int, tick time.Duration, most int) *load {
	l := &load{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for l.sent < most {
			asks := make([]ask, 0, perTick)
			for i := range min(perTick, most-l.sent) {
				n := l.sent + i
				asks = append(asks, ask{pool: pool, request: fmt.Sprintf("%s-%07d", prefix, n), customer: fmt.Sprintf("c-%d", n)})
			}
			w.Send(asks...)
			l.sent += len(asks)
			select {
			case <-ticker.C:
			case <-l.stop:
				return
			}
		}
	}()
	return l
}

// Stop ends the load and returns how many requests were sent.
func (l *load) Stop() int {
	close(l.stop)
	<-l.done
	return l.sent
}

// TestKillAndFreeze: under load one of three processes is killed and one frozen
// for 15 s. Everything is answered, exactly.
func TestKillAndFreeze(t *testing.T) {
	const requests = 100_000
	w := newWorld(t)
	w.Pool("p", requests+10_000)
	a, b := w.Serve(), w.Serve()
	w.Serve()
	w.Send(ask{pool: "p", request: "first", customer: "first"})
	l, r := newLedger(), w.reader(w.names.Outcomes)
	l.learn(t, r, 1, 20*time.Second)

	// Everything at full speed at first, then a trickle on every partition, so
	// that one can see when each is answered again.
	flood := w.Load("p", "flood", 4000, time.Millisecond, requests)
	trickle := w.Load("p", "trickle", 24, 100*time.Millisecond, 1<<30)
	seen := map[int]time.Time{}
	var stall [partitions]time.Duration
	total := 0
	read := func(until func() bool) {
		r.more(60*time.Second, func(p int, rec *consumer.Record) bool {
			total++
			if err := l.add(parse(t, p, rec)); err != nil {
				t.Error(err)
			}
			now := time.Now()
			if last, ok := seen[p]; ok {
				stall[p] = max(stall[p], now.Sub(last))
			}
			seen[p] = now
			return until()
		})
	}
	var once sync.Once
	killed := time.Time{}
	read(func() bool {
		if total > requests/4 {
			once.Do(func() { go a.Kill(); b.Freeze(); killed = time.Now() })
		}
		return !killed.IsZero() && time.Since(killed) > 15*time.Second
	})
	b.Thaw()
	<-flood.done
	want := flood.sent + trickle.Stop() + 1
	read(func() bool { return len(l.issued) >= want })
	if len(l.issued) != want || len(l.rejected) > 0 {
		t.Errorf("%d requests have a code, want %d; rejected %v", len(l.issued), want, l.rejected)
	}
	t.Logf("longest silence of a partition: %v; repeats: %d", stall, total-len(l.issued))
	for p, d := range stall {
		if d > 10*time.Second {
			t.Errorf("partition %d was silent for %v", p, d)
		}
	}
	w.Verify()
}

// TestStopHandsOver: a process told to end finishes, leaves at once and exits 0.
func TestStopHandsOver(t *testing.T) {
	w := newWorld(t)
	w.Pool("p", 50_000)
	a := w.Serve()
	w.Serve()
	load := w.Load("p", "r", 48, 50*time.Millisecond, 1<<30)
	l, r := newLedger(), w.reader(w.names.Outcomes)
	l.learn(t, r, 500, 20*time.Second)
	start := time.Now()
	a.Stop()
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("ended after %v", time.Since(start))
	l.learn(t, r, 500, 20*time.Second)
	want := load.Stop()
	r.more(20*time.Second, func(p int, rec *consumer.Record) bool {
		if err := l.add(parse(t, p, rec)); err != nil {
			t.Error(err)
		}
		return len(l.issued) >= want
	})
	if len(l.issued) != want {
		t.Errorf("%d requests have a code, want %d", len(l.issued), want)
	}
	w.Verify()
}
