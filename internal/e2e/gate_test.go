package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"promopool/internal/consumer"
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

// TestGateOutbox: a database that has numbered fewer events than the topics hold is
// behind, too, though it may have issued nothing. Nothing is told from it until it
// is replaced, or a person has looked.
func TestGateOutbox(t *testing.T) {
	w := newWorld(t)
	n := w.Serve()
	launch := func(id string) {
		w.Draft(id)
		w.AddCodes(id, id, 100)
		staff{t, n.http, "anna"}.Want(200, "POST", "/v1/pools/"+id+"/launch", "")
	}
	events, outcomes := w.reader(w.names.PoolEvents), w.reader(w.names.Outcomes)
	hear := func(want string) bool {
		return events.more(20*time.Second, func(_ int, rec *consumer.Record) bool { return string(rec.Key) == want })
	}
	for i := range 10 {
		launch(fmt.Sprint("p-", i))
	}
	if !hear("p-9") {
		t.Fatal("the launch was not told")
	}
	n.Stop()
	last := w.number("SELECT last_value FROM outbox_no_seq")
	w.exec("SELECT setval('outbox_no_seq', $1)", last-1) // as a backup has it

	n = w.Serve()
	problems := n.Problems()
	if !strings.Contains(problems, "the gate is closed: topic "+w.names.PoolEvents+" has event number "+fmt.Sprint(last)) {
		t.Errorf("readyz says %q", problems)
	}
	launch("late")
	w.Send(ask{pool: "late", request: "r", customer: "c"})
	time.Sleep(time.Second) // to show that nothing comes
	if waiting, issued := w.number("SELECT count(*) FROM outbox"), w.number("SELECT count(*) FROM issuances"); waiting == 0 || issued != 0 {
		t.Errorf("%d events wait, %d codes are issued", waiting, issued)
	}

	w.exec("SELECT setval('outbox_no_seq', $1)", last+10)
	w.exec("UPDATE service SET gate = NULL")
	if !hear("late") {
		t.Error("nothing is told with the gate open")
	}
	outcomes.Answers(1, 20*time.Second)
}
