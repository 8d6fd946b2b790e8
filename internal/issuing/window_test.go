package issuing_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promopool/internal/domain"
)

// Window sets the pool's own issue window, to hours from now; both 0: none.
func (w *world) Window(id string, start, end time.Duration) {
	w.Helper()
	_, err := w.store.UpdatePool(w.ctx(), "test", id, 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueStart, p.IssueEnd = time.Time{}, time.Time{}
		if now := time.Now().UTC().Truncate(time.Microsecond); start != end {
			p.IssueStart, p.IssueEnd = now.Add(start*time.Hour), now.Add(end*time.Hour)
		}
		return p, nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// Outside the pool's window nothing is issued, and the reason says whether there
// are codes. What partitions hold is no way round it.
func TestPoolWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.Issuer("a", nil)
	p, q := i.Open(0, 0), i.Open(1, 0)
	for _, c := range []struct {
		id    string
		codes int
		edit  []func(*domain.Pool)
	}{{"ample", 6000, nil}, {"scarce", 50, nil}, {"many", 2, []func(*domain.Pool){multiUse}}} {
		w.Pool(c.id, c.codes, c.edit...)
		ask := func(part *part, prefix string, want string) {
			t.Helper()
			w.Publish(part.n, asks(c.id, prefix, 10)...)
			part.Want(map[string]int{want: 10})
		}
		ask(p, "a", "issued")
		ask(q, "b", "issued")
		w.Window(c.id, 1, 2)
		ask(p, "c", "no_code_in_window")
		ask(q, "d", "no_code_in_window")
		if held := w.Held(c.id); held != 0 {
			t.Errorf("%s: %d codes are held outside the window, want none", c.id, held)
		}
		w.Window(c.id, -2, -1)
		ask(p, "c", "no_code_in_window") // new deliveries of rejected requests
		w.Window(c.id, -1, 1)
		ask(p, "c", "issued")
		ask(q, "d", "issued")
		w.Window(c.id, -2, -1)
		ask(q, "c", "issued") // what a request was given it keeps
		w.Window(c.id, 0, 0)
		ask(q, "e", "issued")
	}
	w.Pool("dry", 0)
	w.Pool("over", 0)
	w.Fill("over", 5, nil, time.Now().Add(-time.Hour))
	for _, id := range []string{"dry", "over"} {
		w.Window(id, 1, 2)
		w.Publish(0, asks(id, "a", 3)...)
		p.Want(map[string]int{"pool_exhausted": 3})
	}
	w.Check()
	if n := w.Int(`SELECT count(*) FROM batches b, jsonb_array_elements(b.evidence) e JOIN pools p ON p.pool = (e->>'pool')::int
		WHERE (e->>'left')::bigint > 0 AND (e->>'issue_end')::timestamptz - (e->>'issue_start')::timestamptz = interval '1 hour'`); n != 9 {
		t.Errorf("%d batches keep the window that they refused for, want 9", n)
	}
}

// A pool that is closed is not filled up again and again: codes taken ahead would
// only have to be handed back.
func TestPoolWindowClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 6000)
	store := &faulty{Store: w.store}
	p := w.Issuer("a", store).Open(0, 0)
	end := time.Now().UTC().Truncate(time.Microsecond).Add(300 * time.Millisecond)
	if _, err := w.store.UpdatePool(t.Context(), "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueEnd = end
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
	for k := 0; w.Count("no_code_in_window") == 0; k++ {
		w.Publish(0, ask("p", fmt.Sprint("a", k)))
		if err := p.Work(1); err != nil {
			t.Fatal(err)
		}
	}
	if w.Count("issued") == 0 {
		t.Error("nothing was issued inside the window")
	}
	before := store.Calls("refill")
	for k := range 3 {
		w.Publish(0, asks("p", fmt.Sprint("c", k), 10)...)
		p.Want(map[string]int{"no_code_in_window": 10})
	}
	if n := store.Calls("refill") - before; n != 0 {
		t.Errorf("%d refills of a closed pool, want none", n)
	}
	w.Check()
}

// A window that begins while requests come: the first of them that is decided
// after it gets a code.
func TestPoolWindowBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 6000)
	begin := time.Now().UTC().Truncate(time.Microsecond).Add(400 * time.Millisecond)
	if _, err := w.store.UpdatePool(t.Context(), "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueStart, p.IssueEnd = begin, begin.Add(400*time.Millisecond)
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
	_, parts := crew(w, 2, 4)
	together(parts, func(p *part) error {
		for k := 0; ; k++ {
			w.Publish(p.n, ask("p", fmt.Sprintf("%d-%d", p.n, k)))
			if err := p.Work(1); err != nil {
				return err
			}
			w.mu.Lock()
			o := w.answers[p.n][p.at-1]
			w.mu.Unlock()
			at := o.DecidedAt
			if o.Issue != nil {
				at = o.Issue.IssuedAt
			}
			want := "issued"
			if at.Before(begin) || !at.Before(begin.Add(400*time.Millisecond)) {
				want = "no_code_in_window"
			}
			if got := name(o); got != want {
				t.Errorf("at %v after it begins: got %s, want %s", at.Sub(begin), got, want)
			}
			if at.After(begin.Add(600 * time.Millisecond)) {
				return nil
			}
		}
	})
	if w.Count("issued") == 0 || w.Count("no_code_in_window") == 0 {
		t.Errorf("got %d issued, %d not", w.Count("issued"), w.Count("no_code_in_window"))
	}
	w.Check()
}

// A request that follows the answer to a change of the window is decided by the
// window after it, whatever partitions hold and remember, while all issue.
func TestPoolWindowTakesEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, parts := crew(w, 2, 6)
	for id, codes := range map[string]int{"ample": 60_000, "scarce": 4000} {
		w.Pool(id, codes)
		var changes atomic.Int64 // even: open or opening; odd: closed or closing
		var settled atomic.Int64 // the last change that was answered
		stop, answered := make(chan struct{}), make(chan struct{}, 1)
		var staff sync.WaitGroup
		staff.Go(func() {
			defer close(stop)
			for k := range int64(16) {
				changes.Add(1)
				if k%2 == 0 {
					w.Window(id, -2, -1)
				} else {
					w.Window(id, -1, 1)
				}
				settled.Add(1)
				for range 3 * len(parts) { // let some be asked
					<-answered
				}
			}
		})
		together(parts, func(p *part) error {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return nil
				default:
				}
				before := settled.Load()
				sure := changes.Load() == before
				w.Publish(p.n, asks(id, fmt.Sprintf("%d-%d", p.n, k), 3)...)
				if err := p.Work(3); err != nil {
					return err
				}
				select {
				case answered <- struct{}{}:
				default:
				}
				if !sure || changes.Load() != before {
					continue // staff changed it meanwhile
				}
				want := []string{"issued", "no_code_in_window"}[before%2]
				w.mu.Lock()
				got := name(w.answers[p.n][p.at-1])
				w.mu.Unlock()
				soldOut := id == "scarce" && got == "pool_exhausted"
				if got != want && !soldOut {
					t.Errorf("%s: got %s after change %d, want %s", id, got, before, want)
				}
			}
		})
		staff.Wait()
	}
	if w.Count("issued") == 0 || w.Count("no_code_in_window") == 0 {
		t.Errorf("got %d issued, %d not", w.Count("issued"), w.Count("no_code_in_window"))
	}
	w.Check()
}
