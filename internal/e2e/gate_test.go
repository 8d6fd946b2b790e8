package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestGate: a database restored from an old backup is behind the topics. The
// service notices, issues nothing, and readyz says so.
func TestGate(t *testing.T) {
	w := newWorld(t)
	w.Pool("p", 1000)
	n := w.Serve()
	r := w.reader(w.names.Outcomes)
	ask100 := func(prefix string) {
		var asks []ask
		for i := range 100 {
			asks = append(asks, ask{pool: "p", request: fmt.Sprint(prefix, i), customer: fmt.Sprint("c-", i)})
		}
		w.Send(asks...)
	}
	ask100("a")
	r.Answers(100, 20*time.Second)
	n.Stop()
	// The backup: nothing was issued, nothing decided.
	w.exec(`TRUNCATE issuances, batches`)
	w.exec(`UPDATE partitions SET next_offset = 0, batch_no = 0`)
	w.exec(`UPDATE runs SET next = lo, partition = NULL`)
	w.exec(`UPDATE lots SET done = 0`)

	n = w.Serve()
	ask100("b")
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(n.Problems(), "gate is closed"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("readyz does not say that the database is behind, but %q", n.Problems())
		}
	}
	time.Sleep(time.Second) // to show that nothing comes
	if issued := w.number(`SELECT count(*) FROM issuances`); issued != 0 {
		t.Errorf("%d codes issued again", issued)
	}
}

// TestTopicMadeAnew: outcomes of an earlier incarnation of the request topic
// are no sign of a lost database.
func TestTopicMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.Pool("p", 1000)
	n := w.Serve()
	r := w.reader(w.names.Outcomes)
	w.Send(ask{pool: "p", request: "old", customer: "c"})
	r.Answers(1, 20*time.Second)
	n.Stop()
	w.RemakeTopic(w.names.Requests)
	w.Serve()
	w.Send(ask{pool: "p", request: "new", customer: "c"}, ask{pool: "p", request: "old", customer: "c"})
	for _, a := range r.Answers(2, 20*time.Second) {
		if a.Type != "code.issued" {
			t.Errorf("got %s %s", a.Type, a.Reason)
		}
	}
}
