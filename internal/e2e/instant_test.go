package e2e

import (
	"fmt"
	"testing"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/postgres"
)

func (w *world) store() *postgres.Store {
	w.t.Helper()
	s, err := postgres.Open(w.t.Context(), w.database, "e2e", 4)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// TestLaunchTakesEffect: a request sent the instant that launch has answered,
// or that codes are added, is not refused for the old state; and nothing is
// issued after archive has answered.
func TestLaunchTakesEffect(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	w.Serve()
	w.Serve()
	r := w.reader(w.names.Outcomes)
	one := func(pool, request string, key int) answer {
		w.Send(ask{pool: pool, request: request, customer: fmt.Sprintf("c-%d", key)})
		return r.Answers(1, 20*time.Second)[0]
	}
	for i := range 20 {
		pool := fmt.Sprintf("pool-%d", i)
		if a := one(pool, "before", i); a.Reason != "pool_not_found" {
			t.Errorf("pool that is not there: got %s %s", a.Type, a.Reason)
		}
		w.Draft(pool)
		w.AddCodes(pool, pool, 1)
		if a := one(pool, "draft", i+1); a.Reason != "pool_not_active" {
			t.Errorf("draft: got %s %s", a.Type, a.Reason)
		}
		if _, err := s.LaunchPool(t.Context(), "test", pool, 0); err != nil {
			t.Fatal(err)
		}
		if a := one(pool, "launched", i+2); a.Type != "code.issued" {
			t.Errorf("launched: got %s %s", a.Type, a.Reason)
		}
		if a := one(pool, "empty", i+3); a.Reason != "pool_exhausted" {
			t.Errorf("empty: got %s %s", a.Type, a.Reason)
		}
		w.AddCodes(pool, pool+"-more", 10_000)
		if a := one(pool, "empty", i+3); a.Type != "code.issued" {
			t.Errorf("refilled: got %s %s", a.Type, a.Reason)
		}
		if _, err := s.ArchivePool(t.Context(), "test", pool, 0); err != nil {
			t.Fatal(err)
		}
		if a := one(pool, "archived", i+4); a.Reason != "pool_not_active" {
			t.Errorf("archived: got %s %s", a.Type, a.Reason)
		}
		if a := one(pool, "launched", i+2); a.Type != "code.issued" {
			t.Errorf("repeat after archive: got %s %s", a.Type, a.Reason)
		}
	}
	w.Verify()
}

// TestArchiveUnderLoad: from the instant that archive has answered, no
// issuance is made.
func TestArchiveUnderLoad(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	w.Pool("p", 200_000)
	w.Serve()
	w.Serve()
	load := w.Load("p", "r", 240, 10*time.Millisecond, 1<<30)
	l, r := newLedger(), w.reader(w.names.Outcomes)
	l.learn(t, r, 5000, 30*time.Second)
	if _, err := s.ArchivePool(t.Context(), "test", "p", 0); err != nil {
		t.Fatal(err)
	}
	issued := w.number(`SELECT count(*) FROM issuances`)
	time.Sleep(500 * time.Millisecond) // for batches that were on their way, to show that they do not commit
	want := load.Stop()
	answered := len(l.issued)
	r.more(30*time.Second, func(p int, rec *consumer.Record) bool {
		answered++
		if err := l.add(parse(t, p, rec)); err != nil {
			t.Error(err)
		}
		return answered >= want
	})
	if after := w.number(`SELECT count(*) FROM issuances`); after != issued || int64(len(l.issued)) != issued {
		t.Errorf("%d issuances when archive had answered, %d later, %d answered", issued, after, len(l.issued))
	}
	if held := w.number(`SELECT count(*) FROM runs WHERE partition IS NOT NULL`); held != 0 {
		t.Errorf("%d runs held after archive", held)
	}
	w.Verify()
}
