package postgres_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// The rules of the transactions (docs/issuing.md, "The order of locks"), each by the
// turn of events that it is there for, on PostgreSQL and with certainty: whoever must
// wait is seen to wait. The simulation tries such turns at random, on a model.

// held is a transaction beside the store that holds locks.
type held struct {
	*desk
	conn *pgx.Conn
}

func (d *desk) hold(sql string, args ...any) *held {
	d.t.Helper()
	conn, err := pgx.Connect(d.ctx, d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.Background()) })
	h := &held{d, conn}
	h.do("BEGIN")
	h.do(sql, args...)
	return h
}

func (h *held) do(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.conn.Exec(h.ctx, sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

// before has what wait for this transaction, does a last thing and commits, and
// returns what came of the one that waited.
func (h *held) before(what func() error, sql string, args ...any) error {
	h.t.Helper()
	done := make(chan error, 1)
	go func() { done <- what() }()
	for waits := 0; waits == 0; time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-done:
			h.t.Errorf("nobody waited for the lock, and what came of it is: %v", err)
			h.do("COMMIT")
			return err
		default:
		}
		if err := h.sql.QueryRow(h.ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waits); err != nil {
			h.t.Fatal(err)
		}
	}
	h.do(sql, args...)
	h.do("COMMIT")
	return <-done
}

// slow reports whether a busy machine was too slow for the patience of a batch: then
// what came of it says nothing.
func slow(err error) bool {
	return errors.Is(err, issuing.ErrAgain) || errors.Is(err, issuing.ErrBlocked)
}

func TestProtocol(t *testing.T) {
	rules := map[string]func(*desk) error{
		"ClaimedInFlight": claimedInFlight, "AnswerLost": answerLost, "CursorGone": cursorGone, "Retaken": retaken,
		"RequestTwice": requestTwice, "PlaceTwice": placeTwice, "StaleDecision": staleDecision, "ReadAgain": readAgain,
		"FilledMeanwhile": filledMeanwhile, "ArchivedMeanwhile": archivedMeanwhile, "CreatedMeanwhile": createdMeanwhile,
		"IssuedMeanwhile": issuedMeanwhile, "HeldByOthers": heldByOthers, "Revoked": revoked, "Blocked": blocked, "BlockedInFlight": blockedInFlight,
		"GateClosed": gateClosed, "Frozen": frozen, "RedeemedMeanwhile": redeemedMeanwhile,
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for try := 1; ; try++ {
				d := openDesk(t, pgtest.Recycled(t, postgres.Migrate), "")
				err := rule(d)
				if slow(err) && try < 10 {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				d.Sound()
				return
			}
		})
	}
}

// Unwanted is what a rule was answered instead of what it wants.
func unwanted(got, want error) error {
	switch {
	case errors.Is(got, want), got == nil && want == nil:
		return nil
	case got != nil:
		return got
	}
	return errors.New("committed, want: " + want.Error())
}

// ample is a launched pool with many codes.
func (d *desk) ample(id string) {
	d.Create(id)
	d.Fill(id, id+"-", 10_000)
	d.Launch(id)
}

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
