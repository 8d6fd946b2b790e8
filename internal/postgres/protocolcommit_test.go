package postgres_test

import (
	"errors"
	"time"

	"promopool/internal/issuing"
)

// A partition that is taken over while a batch of it is in flight: the batch finds
// out when it moves the partition's row.
func claimedInFlight(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	entries, plan := p.plan("p", p.Refill("p", 100), "a")
	h := d.hold("SELECT 1 FROM runs WHERE partition IS NOT NULL FOR UPDATE")
	err := h.before(func() error { return p.Commit(d.ctx, entries, plan) }, "UPDATE partitions SET epoch = epoch + 1")
	return unwanted(err, issuing.ErrFenced)
}

// A worker that goes on after a lost answer as if nothing had been committed.
func answerLost(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	entries, plan := p.plan("p", runs, "a", "b")
	if err := p.Commit(d.ctx, entries, plan); err != nil {
		return err
	}
	for _, t := range plan.Takes {
		t.Run.Next += t.N
	}
	p.at += 2
	_, plan = p.plan("p", runs, "c")
	entries[0].First, entries[0].End = p.at, p.at+1
	return unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrFenced)
}

// A cursor that is gone stops the whole batch, though the other is where it was.
func cursorGone(d *desk) error {
	d.ample("p")
	d.ample("q")
	p := d.Claim(0, "one")
	entries, plan := p.plan("p", p.Refill("p", 100), "a")
	_, other := p.plan("q", p.Refill("q", 100), "b")
	for _, i := range other.Issues {
		i.Take += len(plan.Takes)
		plan.Issues = append(plan.Issues, i)
	}
	plan.Takes = append(plan.Takes, other.Takes...)
	d.Exec("UPDATE runs SET partition = NULL WHERE pool = (SELECT pool FROM pools WHERE id = 'q') AND partition IS NOT NULL")
	before := d.written()
	err := unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrCursor)
	if after := d.written(); after != before {
		d.t.Errorf("written: %s, before: %s", after, before)
	}
	return err
}

// Codes that were handed back and taken again by the same partition are others.
func retaken(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	entries, plan := p.plan("p", runs, "a")
	if err := p.GiveBack(d.ctx, p.Partition, runs[0].Lot.Pool); err != nil {
		return err
	}
	if again := p.Refill("p", 100); again[0].Lo != runs[0].Lo {
		d.t.Fatalf("took %+v, want the codes of %+v", again[0], runs[0])
	}
	return unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrCursor)
}

// One request in two partitions at once.
func requestTwice(d *desk) error {
	d.ample("p")
	p, q := d.Claim(0, "one"), d.Claim(1, "one")
	mine, hers := p.Refill("p", 100), q.Refill("p", 100)
	entries, plan := q.plan("p", hers, "a")
	if err := p.Issue("p", mine, "a"); err != nil {
		return err
	}
	return unwanted(q.Commit(d.ctx, entries, plan), issuing.ErrRaced)
}

// One code in two partitions' hands.
func placeTwice(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	entries, plan := p.plan("p", runs, "a")
	d.Exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, lot, next, now(), now(), 'thief', 'thief' FROM runs WHERE partition IS NOT NULL`)
	defer d.Exec("DELETE FROM issuances WHERE request_id = 'thief'")
	return unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrPlaceTaken)
}

// A decision that waited is taken again: the windows may have closed.
func staleDecision(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	entries, plan := p.plan("p", p.Refill("p", 100), "a")
	plan.At = plan.At.Add(-time.Second)
	if err := p.Commit(d.ctx, entries, plan); !errors.Is(err, issuing.ErrAgain) {
		d.t.Errorf("a decision of a second ago: got %v, want %v", err, issuing.ErrAgain)
	}
	return nil
}

// Deliveries from before what is decided do not move the border back.
func readAgain(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	p.at = 50
	if err := p.Issue("p", runs, "a", "b"); err != nil {
		return err
	}
	p.at = 10
	if err := p.Issue("p", runs, "c"); err != nil {
		return err
	}
	if next := d.Claim(0, "two").NextOffset; next != 52 {
		d.t.Errorf("decided up to %d, want 52", next)
	}
	return nil
}
