package postgres_test

import (
	"errors"
	"slices"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// Nothing in hand is issued after staff have changed what counts for it.
func revoked(d *desk) error {
	for id, change := range map[string]func() error{
		"archived": func() error { _, err := d.ArchivePool(d.ctx, "test", "archived", 0); return err },
		"closed": func() error {
			_, err := d.UpdatePool(d.ctx, "test", "closed", 0, func(p domain.Pool) (domain.Pool, error) {
				p.IssueEnd = time.Now().Add(-time.Minute).UTC().Truncate(time.Second)
				p.IssueStart = p.IssueEnd.Add(-time.Hour)
				return p, nil
			})
			return err
		},
	} {
		d.ample(id)
		p := d.Claim(len(id), "one")
		entries, plan := p.plan(id, p.Refill(id, 100), "a")
		if err := change(); err != nil {
			return err
		}
		if err := unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrCursor); err != nil {
			return err
		}
	}
	return nil
}

// A code that is blocked is not issued any more, whoever holds it.
func blocked(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 100)
	entries, plan := p.plan("p", runs, "a")
	if _, err := d.BlockCode(d.ctx, "test", "p", runs[0].Texts[0], ""); err != nil {
		return err
	}
	return unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrCursor)
}

// A code that a batch in flight issues is not taken out of its run beside that.
func blockedInFlight(d *desk) error {
	d.ample("p")
	runs := d.Claim(0, "one").Refill("p", 100)
	h := d.hold(`
		WITH r AS (UPDATE runs SET next = next + 1 WHERE partition IS NOT NULL RETURNING pool, lot)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id) SELECT pool, lot, 0, now(), now(), 'a', 'c' FROM r`)
	start := time.Now()
	err := h.before(func() error { _, err := d.BlockCode(d.ctx, "test", "p", runs[0].Texts[0], ""); return err }, "SELECT 1")
	if time.Since(start) > 400*time.Millisecond {
		return issuing.ErrBlocked // it may have given up waiting, and come again
	}
	if n := d.Int("SELECT count(*) FROM withdrawn"); n > 0 {
		d.t.Error("a code that was issued was taken out of the stock")
	}
	return err
}

// With the gate closed nothing is decided.
func gateClosed(d *desk) error {
	d.ample("p")
	p := d.Claim(0, "one")
	entries, plan := p.plan("p", p.Refill("p", 100), "a")
	d.Exec("UPDATE service SET gate = 'closed by the test'")
	return unwanted(p.Commit(d.ctx, entries, plan), issuing.ErrGate)
}

// A backend that froze in the middle of a batch is ended by the next claim.
func frozen(d *desk) error {
	d.ample("p")
	old := d.Claim(0, "one")
	runs := old.Refill("p", 100)
	f := d.freeze(&old.Claim, "SELECT 1 FROM runs WHERE partition IS NOT NULL FOR UPDATE")
	now := d.Claim(0, "two")
	if err := now.Issue("p", runs, "a"); err != nil {
		return errors.Join(errors.New("the frozen predecessor is in the way"), err)
	}
	if _, err := f.Exec(d.ctx, "COMMIT"); err == nil {
		d.t.Error("the frozen transaction committed")
	}
	return nil
}

// A code that another redeems while its lock is waited for is not redeemed again.
func redeemedMeanwhile(d *desk) error {
	pool := d.shop("p", func(*domain.Pool) {})
	h := d.hold("SELECT lock_codes(ARRAY[$1::int], ARRAY[lot], ARRAY[0::bigint]) FROM lots", pool.Key)
	var got []string
	err := h.before(func() error { got = said(d.Judge(wish("p", "second", "c0", "customer"))); return nil }, `
		INSERT INTO redemptions (pool, redemption_id, code, lot, seq, customer_id, issued_to, decided_at, reason, external, checked, multi_use)
		SELECT pool, 'first', 'c0', lot, 0, 'customer', 'customer', clock_timestamp(), 0, false, false, false FROM lots`)
	if err == nil && !slices.Equal(got, []string{"already_redeemed"}) {
		d.t.Errorf("got %v, want already_redeemed", got)
	}
	return err
}
