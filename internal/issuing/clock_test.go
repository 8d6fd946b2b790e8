package issuing

import (
	"testing"
	"testing/synctest"
	"time"

	"promopool/internal/domain"
)

// TestClock: the time that is carried on is the database's or a little before
// it, and is not used where it is not known well, or where asking pays.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := func() time.Time { return time.Now().Add(-42 * time.Hour) }
		var c clock
		if _, ok := c.now(); ok {
			t.Error("known before it was read")
		}
		ask := func(there, back time.Duration) {
			asked := time.Now()
			time.Sleep(there)
			read := database()
			time.Sleep(back)
			c.set(read, asked)
		}
		ask(time.Millisecond, 3*time.Millisecond)
		for range 10 {
			now, ok := c.now()
			if behind := database().Sub(now); !ok || behind < 0 || behind > 4*time.Millisecond {
				t.Errorf("%s behind, %t", behind, ok)
			}
			time.Sleep(90 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		if _, ok := c.now(); ok {
			t.Error("used though it is old")
		}
		ask(3*time.Millisecond, 3*time.Millisecond)
		if _, ok := c.now(); ok {
			t.Error("used though the answer took long")
		}
		ask(0, 0)
		if _, ok := c.now(); !ok {
			t.Error("not used")
		}

		c.saw([][]domain.Outcome{{{Verdict: domain.Issued}, {Verdict: domain.Rejected, Reason: domain.PoolExhausted}}})
		if _, ok := c.now(); !ok {
			t.Error("not used though no issuance was stored")
		}
		for _, o := range []domain.Outcome{{Verdict: domain.Repeated}, {Verdict: domain.Rejected, Reason: domain.RequestConflict}} {
			c.saw([][]domain.Outcome{{}, {{Verdict: domain.Issued}, o}})
			for range wariness {
				if _, ok := c.now(); ok {
					t.Fatal("used though issuances were stored of late")
				}
			}
			if _, ok := c.now(); !ok {
				t.Error("not used again")
			}
		}
		c.doubt()
		ask(0, 0)
		for range wariness {
			if _, ok := c.now(); ok {
				t.Fatal("used in doubt")
			}
		}
	})
}
