package issuing_test

import (
	"fmt"
	"testing"
	"time"
)

// While somebody sits on one pool's lock, the requests for other pools are
// answered, though more partitions wait for the lock than there are slots.
func TestBlockedPoolBlocksNoOther(t *testing.T) {
	w := newWorld(t)
	w.Pool("locked", 50)
	w.Pool("free", 6_000)
	i := w.Issuer("one", nil)
	stuck, lively := []*part{}, i.Open(10, 0)
	for n := range 6 {
		w.Publish(n, asks("locked", fmt.Sprint("r", n), 2)...)
		stuck = append(stuck, i.Open(n, 0))
	}
	w.Publish(10, asks("free", "warm", 10)...)
	lively.Want(map[string]int{"issued": 10})

	tx, err := w.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM pools WHERE id = 'locked' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(stuck, func(p *part) error { return p.Work(10) })
	}()
	time.Sleep(1500 * time.Millisecond) // all of them have been refused the lock once
	var longest time.Duration
	for k := range 5 {
		w.Publish(10, asks("free", fmt.Sprint("k", k), 10)...)
		start := time.Now()
		lively.Want(map[string]int{"issued": 10})
		longest = max(longest, time.Since(start))
	}
	if longest > 700*time.Millisecond {
		t.Errorf("a batch for another pool took %v", longest)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	w.Check()
}
