package issuing

import (
	"sync"
	"time"

	"promopool/internal/domain"
)

const (
	// clockAge is how long the database's clock is carried on by ours: they may run
	// apart, and a look-up now and then costs nothing.
	clockAge = time.Second
	// clockTrip bounds how long an answer with the database's time may have taken:
	// by so much what is carried on may be behind.
	clockTrip = 5 * time.Millisecond
	// wariness is how many groups look stored issuances up after one was found.
	wariness = 100
)

// clock carries the database's time on without asking. It is never ahead of the
// database: what was read there is taken for the time at which it arrived here.
type clock struct {
	mu   sync.Mutex
	read time.Time // the database's; zero: unknown; guarded by mu
	at   time.Time // ours when it arrived; guarded by mu
	wary int       // groups that must look up; guarded by mu
}

// set notes the database's time, which has just arrived in answer to what was
// asked at the given time of ours.
func (c *clock) set(now, asked time.Time) {
	arrived := time.Now()
	if arrived.Sub(asked) > clockTrip {
		return
	}
	c.mu.Lock()
	c.read, c.at = now, arrived
	c.mu.Unlock()
}

// now is the database's time, or a little before it. ok: it is known, and no
// group of late had requests with stored issuances.
func (c *clock) now() (now time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wary > 0 {
		c.wary--
		return time.Time{}, false
	}
	age := time.Since(c.at)
	if c.read.IsZero() || age > clockAge {
		return time.Time{}, false
	}
	return c.read.Add(age).Truncate(time.Microsecond), true
}

// doubt forgets the time, which may have been another server's, and has the next
// groups look up.
func (c *clock) doubt() {
	c.mu.Lock()
	c.read, c.wary = time.Time{}, wariness
	c.mu.Unlock()
}

// saw notes whether a group had requests with stored issuances.
func (c *clock) saw(outcomes [][]domain.Outcome) {
	for _, batch := range outcomes {
		for i := range batch {
			if batch[i].Verdict == domain.Repeated || batch[i].Reason == domain.RequestConflict {
				c.mu.Lock()
				c.wary = wariness
				c.mu.Unlock()
				return
			}
		}
	}
}
