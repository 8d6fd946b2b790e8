package postgres_test

import (
	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// What the pool's lock guards is read after the wait for it.
func filledMeanwhile(d *desk) error {
	d.Create("p")
	d.Launch("p")
	p := d.Claim(0, "one")
	h := d.hold("SELECT 1 FROM pools FOR UPDATE")
	var outcomes []domain.Outcome
	err := h.before(func() (err error) { outcomes, err = p.locked("p", nil, "a"); return err }, `
		WITH l AS (SELECT nextval('lot_numbers')::int AS lot), c AS (INSERT INTO codes (pool, lot, seq, code) SELECT p.pool, l.lot, 0, 'late' FROM pools p, l)
		SELECT add_lot(p.pool, l.lot, 1, NULL, NULL, NULL, NULL, NULL) FROM pools p, l`)
	if err == nil && outcomes[0].Verdict != domain.Issued {
		d.t.Errorf("%v, want the code that was there before the decision", outcomes[0].Reason)
	}
	return err
}

// Nothing is taken ahead from a pool that is archived meanwhile.
func archivedMeanwhile(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	h := d.hold("SELECT 1 FROM pools FOR UPDATE")
	var runs []*domain.Run
	err := h.before(func() error { runs = p.Refill("p", 100); return nil }, "UPDATE pools SET state = 'archived', archived_at = now()")
	if len(runs) > 0 {
		d.t.Errorf("%d codes of an archived pool are taken ahead", left(runs))
	}
	return err
}

// A pool that is being made is waited for before it is said not to be.
func createdMeanwhile(d *desk) error {
	p := d.Claim(0, "one")
	h := d.hold("SELECT pg_advisory_xact_lock(hashtextextended('pool:p', 0))")
	found := false
	l := issuing.Locking{Claims: []*issuing.Claim{&p.Claim}, Sure: []string{"p"}, Requests: map[string][]string{"p": {"a"}}}
	err := h.before(func() error {
		return p.CommitLocked(d.ctx, l, func(in issuing.Locked) issuing.Decision {
			found = in.Pools["p"] != nil
			return issuing.Decision{}
		})
	}, `INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at)
		SELECT 'p', campaign, 'p', 'p', 'code', false, false, false, 'internal', now() FROM campaigns`)
	if err == nil && !found {
		d.t.Error("no pool, though it was made before the decision")
	}
	return err
}

// A request that another partition issues while the lock is waited for.
func issuedMeanwhile(d *desk) error {
	d.Create("p")
	d.Fill("p", "c", 1)
	d.Launch("p")
	p := d.Claim(0, "one")
	h := d.hold("SELECT 1 FROM pools FOR UPDATE")
	var outcomes []domain.Outcome
	err := h.before(func() (err error) { outcomes, err = p.locked("p", nil, "a"); return err }, `
		WITH r AS (UPDATE runs SET next = next + 1 RETURNING pool, lot)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id) SELECT pool, lot, 0, now(), now(), 'a', 'c' FROM r`)
	if err == nil && outcomes[0].Verdict != domain.Repeated {
		d.t.Errorf("verdict %d, reason %v, want the code that was issued before the decision", outcomes[0].Verdict, outcomes[0].Reason)
	}
	return err
}

// Nobody hears of a sold out pool while a partition holds codes of it.
func heldByOthers(d *desk) error {
	d.ample("p")
	p, q := d.Claim(0, "one"), d.Claim(1, "one")
	runs := q.Refill("p", 100)
	d.Exec("UPDATE runs SET partition = $1 WHERE partition IS NULL", q.Partition)
	outcomes, err := p.locked("p", nil, "a")
	if err == nil && outcomes[0].Verdict != domain.Issued {
		d.t.Errorf("%v, while another holds %d codes", outcomes[0].Reason, left(runs))
	}
	return err
}

// A batch under locks waits for no cursor that is another's by now, who may wait for
// what it has locked.
func cursorElsewhere(d *desk) error {
	d.ample("p")
	d.ample("q")
	p, q := d.Claim(0, "one"), d.Claim(1, "one")
	runs := p.Refill("p", 100)
	entries, plan := p.plan("p", runs, "a")
	if err := p.GiveBack(d.ctx, p.Partition, runs[0].Lot.Pool); err != nil {
		return err
	}
	if hers := q.Refill("p", 100); hers[0].Lo != runs[0].Lo {
		d.t.Fatalf("took %+v, want the codes of %+v", hers[0], runs[0])
	}
	h := d.hold("SELECT 1 FROM runs WHERE partition = $1 FOR UPDATE", q.Partition)
	l := issuing.Locking{
		Claims: []*issuing.Claim{&p.Claim}, Whole: []string{"q"}, Cursors: []int32{runs[0].Lot.Pool},
		Requests: map[string][]string{"q": {"b"}},
	}
	err := p.CommitLocked(d.ctx, l, func(issuing.Locked) issuing.Decision { return issuing.Decision{Plan: plan, Entries: entries} })
	h.do("ROLLBACK")
	return unwanted(err, issuing.ErrCursor)
}

// A batch under locks waits for nobody who has a free run locked, as a batch has that
// remembers it as its own: he may wait for what the batch under locks has.
func freeRunLocked(d *desk) error {
	d.Create("p")
	d.Fill("p", "c", 10)
	d.Launch("p")
	p := d.Claim(0, "one")
	h := d.hold("SELECT 1 FROM runs WHERE partition IS NULL FOR UPDATE")
	_, err := p.locked("p", nil, "a")
	h.do("ROLLBACK")
	if err := unwanted(err, issuing.ErrCursor); err != nil {
		return err
	}
	_, err = p.locked("p", nil, "a")
	return err
}
