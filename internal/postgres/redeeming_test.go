package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"promopool/internal/domain"
	"promopool/internal/redeeming"
)

// wish is a redemption to be asked for.
func wish(pool, id, code, customer string) domain.RedemptionRequest {
	return domain.RedemptionRequest{PoolID: pool, RedemptionID: id, Code: code, CustomerID: customer}
}

// Judge redeems, in one transaction.
func (d *desk) Judge(asks ...domain.RedemptionRequest) []domain.Judgement {
	d.t.Helper()
	told := make([]redeeming.Ask, len(asks))
	for i, r := range asks {
		told[i] = redeeming.Ask{RedemptionRequest: r, Tell: true}
	}
	judged, err := d.Redeem(d.ctx, told)
	if err != nil {
		d.t.Fatal(err)
	}
	return judged
}

// said are the reasons, "redeemed" where there is none, with a + where it was
// said before.
func said(judged []domain.Judgement) (all []string) {
	for _, j := range judged {
		s := j.Reason.String()
		if j.Redeemed() {
			s = "redeemed"
		}
		if j.Repeated {
			s += "+"
		}
		all = append(all, s)
	}
	return all
}

// Want redeems and checks what is said.
func (d *desk) Want(want []string, asks ...domain.RedemptionRequest) []domain.Judgement {
	d.t.Helper()
	judged := d.Judge(asks...)
	if diff := cmp.Diff(want, said(judged)); diff != "" {
		d.t.Errorf("(-want +got)\n%s", diff)
	}
	return judged
}

// Told are the types of outcomes of redemptions that wait in the outbox, with the
// ids of their redemptions.
func (d *desk) Told() []string {
	d.t.Helper()
	events, err := d.Unpublished(d.ctx, 10_000)
	if err != nil {
		d.t.Fatal(err)
	}
	var all []string
	for _, e := range events {
		if e.Topic != domain.ToRedemptionOutcomes {
			continue
		}
		_, id, _ := strings.Cut(string(e.Value), `"redemption_id":"`)
		id, _, _ = strings.Cut(id, `"`)
		all = append(all, strings.TrimPrefix(e.Type, "promopool.")+" "+id)
	}
	return all
}

// shop makes a launched pool with ten codes c0…c9, of which c0 to c2 are issued to
// "customer".
func (d *desk) shop(id string, edit func(*domain.Pool)) domain.Pool {
	d.t.Helper()
	p := draft(id)
	edit(&p)
	if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
		d.t.Fatal(err)
	}
	d.Fill(id, "c", 10)
	p = d.Launch(id)
	if !p.MultiUse {
		d.Exec(`WITH r AS (UPDATE runs SET next = next + 3 WHERE pool = $1 RETURNING pool, lot)
			INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT pool, lot, s, clock_timestamp(), clock_timestamp(), 'request-' || s, 'customer' FROM r, generate_series(0, 2) s`, p.Key)
	}
	return p
}

func TestRedeemAndRollBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(p *domain.Pool) { p.CheckIssued = true })
	first := d.Want([]string{"redeemed", "redeemed+", "redemption_conflict", "already_redeemed", "not_issued", "code_not_found", "not_issued_to_customer", "redeemed"},
		wish("p", "r-1", "c0", "customer"), wish("p", "r-1", " c0 ", "customer"), wish("p", "r-1", "c1", "customer"),
		wish("p", "r-2", "c0", "customer"), wish("p", "r-3", "c5", "customer"), wish("p", "r-4", "C0", "customer"), wish("p", "r-5", "c1", ""),
		wish("p", "r-6", "c2", "customer"))
	again := d.Want([]string{"redeemed+", "redemption_conflict+", "already_redeemed+"},
		wish("p", "r-1", "c0", "customer"), wish("p", "r-1", "c1", "customer"), wish("p", "r-2", "c0", "customer"))
	for i, j := range []int{0, 2, 3} {
		if diff := cmp.Diff(first[j].Event(), again[i].Event()); diff != "" {
			t.Errorf("said otherwise (-first +again)\n%s", diff)
		}
	}
	want := []string{
		"code.redeemed r-1", "redemption.rejected r-1", "redemption.rejected r-2", "redemption.rejected r-3",
		"redemption.rejected r-4", "redemption.rejected r-5", "code.redeemed r-6",
	}
	if diff := cmp.Diff(want, d.Told()); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}

	for i, step := range []struct {
		id    string
		first bool
		err   error
	}{{"r-1", true, nil}, {"r-1", false, nil}, {"r-2", false, domain.ErrNotRedeemed}, {"r-9", false, domain.ErrNotFound}} {
		r, moved, err := d.RollBack(d.ctx, "anna", "p", step.id, "")
		if moved != step.first || !errors.Is(err, step.err) || err == nil && r.RolledBackAt.IsZero() {
			t.Errorf("step %d: got %+v, %t, %v", i, r, moved, err)
		}
	}
	if got := d.Told()[len(want):]; !slices.Equal(got, []string{"code.redemption_rolled_back r-1"}) {
		t.Errorf("rolled back, told %q", got)
	}
	back := d.Want([]string{"redeemed+", "redeemed", "already_redeemed"},
		wish("p", "r-1", "c0", "customer"), wish("p", "r-7", "c0", "customer"), wish("p", "r-8", "c0", "customer"))
	if back[0].RolledBackAt.IsZero() || !back[0].DecidedAt.Equal(first[0].DecidedAt) {
		t.Errorf("rolled back, it is answered %+v", back[0].Redemption)
	}
	if got := d.Int("SELECT sum(redeemed)::bigint FROM redemption_counts"); got != 2 {
		t.Errorf("%d redemptions are counted, want 2", got)
	}
	d.Sound()
}

// TestRedeemUnissued: a code that nobody has leaves the stock when it is
// redeemed, from wherever it is, and stays out.
func TestRedeemUnissued(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(*domain.Pool) {})
	d.shop("other", func(p *domain.Pool) { p.Processing = domain.External })
	d.Exec("SELECT refill(1, pool, 100) FROM pools WHERE id = 'p'")
	d.Want([]string{"redeemed", "redeemed", "already_redeemed", "redeemed", "redeemed", "redeemed"},
		wish("p", "r-1", "c5", ""), wish("p", "r-2", "c0", "someone"), wish("p", "r-3", "c5", ""), wish("p", "r-4", "c9", ""),
		wish("other", "r-1", "c7", ""), wish("other", "r-2", "nonsense", ""))
	d.Want([]string{"redeemed", "redeemed"}, wish("other", "r-3", "c7", ""), wish("other", "r-4", "c0", "")) // reported again
	free := func(id string) int64 {
		return d.Int("SELECT coalesce(sum(hi - next), 0)::bigint FROM runs r JOIN pools p USING (pool) WHERE p.id = $1", id)
	}
	if p, other := free("p"), free("other"); p != 5 || other != 6 {
		t.Errorf("%d and %d codes are left, want 5 and 6", p, other)
	}
	if _, _, err := d.RollBack(d.ctx, "anna", "p", "r-1", ""); err != nil {
		t.Fatal(err)
	}
	d.Want([]string{"redeemed"}, wish("p", "r-5", "c5", ""))
	if got := free("p"); got != 5 {
		t.Errorf("%d codes are left, want 5", got)
	}
	if got := d.Int("SELECT count(*) FROM withdrawn WHERE why = 'redeemed'"); got != 3 {
		t.Errorf("%d codes are withdrawn, want 3", got)
	}
	if _, err := d.ArchivePool(d.ctx, "anna", "p", 0); err != nil {
		t.Fatal(err)
	}
	d.Want([]string{"redeemed", "pool_not_active", "pool_not_active", "already_redeemed"},
		wish("p", "r-6", "c1", ""), wish("p", "r-7", "c6", ""), wish("p", "r-8", "c5", ""), wish("p", "r-9", "c0", ""))
}

// TestRedeemNowhere: what was said of a pool that was not there is said again
// when it is, and so is what was said of a draft.
func TestRedeemNowhere(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Want([]string{"pool_not_found", "pool_not_found+", "redemption_conflict"}, wish("p", "r-1", "c0", ""), wish("p", "r-1", "c0", ""), wish("p", "r-1", "c1", ""))
	d.Create("p")
	d.Fill("p", "c", 10)
	d.Want([]string{"pool_not_active"}, wish("p", "r-2", "c0", ""))
	d.Launch("p")
	d.Want([]string{"pool_not_found+", "pool_not_active+", "redemption_conflict+", "redeemed"},
		wish("p", "r-1", "c0", ""), wish("p", "r-2", "c0", ""), wish("p", "r-1", "c1", ""), wish("p", "r-3", "c0", ""))
	for id, want := range map[string]string{"r-1": "pool_not_found", "r-2": "pool_not_active", "r-3": ""} {
		if r, err := d.Redemption(d.ctx, "p", id); err != nil || r.Reason.String() != want {
			t.Errorf("%s: got %+v, %v, want %q", id, r, err, want)
		}
	}
	_, err := d.Redemption(d.ctx, "q", "r-1")
	wantErr(t, "redemption of no pool", err, domain.ErrNotFound)

	// For 30 days.
	d.Want([]string{"already_redeemed"}, wish("p", "r-4", "c0", ""))
	d.Exec("UPDATE redemptions SET decided_at = decided_at - interval '30 days 1 second'")
	d.Exec("UPDATE refused_redemptions SET decided_at = decided_at - interval '30 days 1 second' WHERE redemption_id = 'r-1'")
	if n, err := d.PruneRedemptions(d.ctx); n != 3 || err != nil {
		t.Errorf("%d rejections were dropped, %v, want 3", n, err)
	}
	d.Want([]string{"already_redeemed", "pool_not_active+", "redeemed+"}, wish("p", "r-1", "c0", ""), wish("p", "r-2", "c0", ""), wish("p", "r-3", "c0", ""))
}

// TestRedeemLimits: codes for many uses are counted, however many redeem them at
// once.
func TestRedeemLimits(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(p *domain.Pool) {
		total, each := int64(7), int64(2)
		p.MultiUse, p.RedemptionLimit, p.RedemptionLimitPerCustomer = true, &total, &each
	})
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			customer := fmt.Sprint("c-", n%5)
			judged, err := d.Redeem(d.ctx, []redeeming.Ask{{RedemptionRequest: wish("p", fmt.Sprint("r-", n), "c3", customer)}})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got[said(judged)[0]]++
			if judged[0].Redeemed() {
				got[customer]++
			}
		})
	}
	all.Wait()
	for n := range 5 {
		if by := got[fmt.Sprint("c-", n)]; by > 2 {
			t.Errorf("customer %d redeemed %d times", n, by)
		}
	}
	if got["redeemed"] != 7 || got["limit_reached"] != 13 {
		t.Errorf("got %v", got)
	}
	d.Want([]string{"limit_reached", "limit_reached", "redeemed", "redeemed", "limit_reached"},
		wish("p", "s-1", "c3", "new"), wish("p", "s-2", "c4", ""), wish("p", "s-3", "c4", "new"), wish("p", "s-4", "c4", "new"), wish("p", "s-5", "c4", "new"))
	if _, _, err := d.RollBack(d.ctx, "anna", "p", "s-3", ""); err != nil {
		t.Fatal(err)
	}
	d.Want([]string{"redeemed", "limit_reached"}, wish("p", "s-6", "c4", "new"), wish("p", "s-7", "c4", "new"))
	if uses := d.Int("SELECT sum(uses)::bigint FROM code_uses"); uses != 9 || d.Int("SELECT sum(redeemed)::bigint FROM redemption_counts") != 9 {
		t.Errorf("%d uses are counted, want 9", uses)
	}
}

// TestRedeemGenerated: a code that is written nowhere is found by its number.
func TestRedeemGenerated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Generate("p", "G-######", 1000)
	d.Launch("p")
	pool, err := d.Pool(d.ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	// Its text is to be had of an issued one only.
	d.Exec(`WITH r AS (UPDATE runs SET next = next + 1 WHERE pool = $1 RETURNING pool, lot)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, lot, 0, clock_timestamp(), clock_timestamp(), 'request', 'customer' FROM r`, pool.Key)
	i, err := d.Issuance(d.ctx, "p", "request")
	if err != nil {
		t.Fatal(err)
	}
	judged := d.Want([]string{"redeemed", "already_redeemed", "code_not_found", "code_not_found"},
		wish("p", "r-1", i.Code, ""), wish("p", "r-2", i.Code, ""), wish("p", "r-3", "G-!", ""), wish("p", "r-4", "G-222222", ""))
	if judged[0].IssuedTo != "customer" || judged[0].Place != i.Place {
		t.Errorf("got %+v", judged[0].Redemption)
	}
}

// TestRedeemOnce: of many who redeem one code at once, by transactions of their
// own, one does.
func TestRedeemOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(*domain.Pool) {})
	for round, code := range []string{"c0", "c4"} { // issued, and not
		var mu sync.Mutex
		got := map[string]int{}
		var all sync.WaitGroup
		for n := range 40 {
			all.Go(func() {
				judged, err := d.Redeem(d.ctx, []redeeming.Ask{{RedemptionRequest: wish("p", fmt.Sprint("r-", round, n/2), code, "")}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got[said(judged)[0]]++
			})
		}
		all.Wait()
		if got["redeemed"] != 1 || got["redeemed+"] != 1 || got["already_redeemed"] != 19 || got["already_redeemed+"] != 19 {
			t.Errorf("%s: got %v", code, got)
		}
	}
	d.Sound()
}

// TestSettingsBeforeRedemptions: an edit that was answered counts, and one that
// comes while redemptions are judged waits for them.
func TestSettingsBeforeRedemptions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(*domain.Pool) {})
	tx, err := d.sql.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	// A redemption under way, as far as its pool's name.
	if _, err := tx.Exec(d.ctx, "SELECT pg_advisory_xact_lock_shared(hashtextextended('pool:p', 0))"); err != nil {
		t.Fatal(err)
	}
	edited := make(chan error, 1)
	go func() {
		_, err := d.UpdatePool(d.ctx, "anna", "p", 0, func(p domain.Pool) (domain.Pool, error) { p.CheckIssued = true; return p, nil })
		edited <- err
	}()
	select {
	case err := <-edited:
		t.Fatalf("the edit did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := tx.Rollback(d.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-edited; err != nil {
		t.Fatal(err)
	}
	d.Want([]string{"not_issued"}, wish("p", "r-1", "c5", ""))
}

// TestRedeemPoison: what the database refuses is told from what it cannot do now.
func TestRedeemPoison(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(*domain.Pool) {})
	for name, r := range map[string]domain.RedemptionRequest{
		"TooLong": wish("p", strings.Repeat("r", 201), "c0", ""), "NUL": wish("p", "r", "c0", "\x00"), "NoUTF8": wish("nowhere", "\xff", "c0", ""),
	} {
		_, err := d.Redeem(d.ctx, []redeeming.Ask{{RedemptionRequest: r}})
		wantErr(t, name, err, redeeming.ErrPoison)
	}
	d.Exec("UPDATE service SET gate = 'lost'")
	_, err := d.Redeem(d.ctx, []redeeming.Ask{{RedemptionRequest: wish("p", "r-1", "c0", "")}})
	wantErr(t, "redeem while the gate is closed", err, domain.ErrAway)
	_, _, err = d.RollBack(d.ctx, "anna", "p", "r-1", "")
	wantErr(t, "roll back while the gate is closed", err, domain.ErrAway)
}

// TestRedeemedTold: a code's story, the lists of codes and the stock say what was
// redeemed.
func TestRedeemedTold(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.shop("p", func(*domain.Pool) {})
	d.Create("made")
	d.Generate("made", "G-######", 1000)
	made := d.Launch("made")
	d.Exec(`WITH r AS (UPDATE runs SET next = next + 2 WHERE pool = $1 RETURNING pool, lot)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, lot, s, clock_timestamp(), clock_timestamp(), 'request-' || s, 'customer' FROM r, generate_series(0, 1) s`, made.Key)
	issued, err := d.Issuance(d.ctx, "made", "request-1")
	if err != nil {
		t.Fatal(err)
	}
	d.Judge(wish("p", "r-1", "c0", "anna"), wish("p", "r-2", "c1", ""), wish("p", "r-3", "c5", ""), wish("p", "r-4", "c6", ""), wish("p", "r-5", "c2", ""),
		wish("made", "r-1", issued.Code, ""))
	for _, id := range []string{"r-2", "r-4"} { // issued, and not
		if _, _, err := d.RollBack(d.ctx, "bert", "p", id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.BlockCode(d.ctx, "bert", "p", "c2", ""); err != nil {
		t.Fatal(err)
	}

	states := func(p *domain.Pool, only domain.CodeState) (all []string) {
		codes, err := d.Codes(d.ctx, p, only, domain.Place{Seq: -1}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range codes {
			if only == "" || c.State == only {
				all = append(all, fmt.Sprint(c.Seq, " ", c.State))
			}
		}
		return all
	}
	for name, c := range map[string]struct{ got, want []string }{
		"All":           {states(&p, ""), []string{"0 redeemed", "1 issued", "2 blocked", "3 available", "4 available", "5 redeemed", "6 withdrawn", "7 available", "8 available", "9 available"}},
		"Redeemed":      {states(&p, domain.CodeRedeemed), []string{"0 redeemed", "5 redeemed"}},
		"Issued":        {states(&p, domain.CodeIssued), []string{"1 issued"}},
		"Withdrawn":     {states(&p, domain.CodeWithdrawn), []string{"6 withdrawn"}},
		"MadeAll":       {states(&made, ""), []string{"0 issued", "1 redeemed"}},
		"MadeRedeemed":  {states(&made, domain.CodeRedeemed), []string{"1 redeemed"}},
		"MadeWithdrawn": {states(&made, domain.CodeWithdrawn), nil},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}

	for code, want := range map[string]struct {
		state   domain.CodeState
		times   int64
		history string
	}{
		"c0": {domain.CodeRedeemed, 1, "added issued redeemed"}, "c1": {domain.CodeIssued, 0, "added issued redeemed redemption_rolled_back/bert"},
		"c2": {domain.CodeBlocked, 1, "added issued redeemed blocked/bert"}, "c5": {domain.CodeRedeemed, 1, "added redeemed"},
		"c6": {domain.CodeWithdrawn, 0, "added redeemed redemption_rolled_back/bert"},
	} {
		story, err := d.Code(d.ctx, "p", code)
		if err != nil {
			t.Fatal(err)
		}
		var history []string
		for _, m := range story.History {
			history = append(history, strings.TrimSuffix(string(m.Action)+"/"+string(m.Actor), "/"))
		}
		if got := strings.Join(history, " "); story.State != want.state || story.Redeemed != want.times || got != want.history || len(story.Redemptions) != 1 {
			t.Errorf("%s: %s, redeemed %d times, %s: %+v", code, story.State, story.Redeemed, got, story.Redemptions)
		}
	}
	stock, err := d.Stock(d.ctx, "p")
	if err != nil || stock.Redeemed != 3 || stock.Withdrawn != 2 || stock.Issued != 3 || stock.Available != 5 {
		t.Errorf("got %+v, %v", stock, err)
	}
	d.Sound()
}

// TestUnblockedWhileRedeemed: a blocked code is unblocked while another system reports
// that it was redeemed: the one waits for the other, and the code stays out.
func TestUnblockedWhileRedeemed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(p *domain.Pool) { p.Processing = domain.External })
	if _, err := d.BlockCode(d.ctx, "test", "p", "c5", ""); err != nil {
		t.Fatal(err)
	}
	tx, err := d.sql.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(d.ctx, "SELECT lock_codes(ARRAY[pool], ARRAY[lot], ARRAY[seq]) FROM codes WHERE code = 'c5'"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { _, err := d.UnblockCode(d.ctx, "test", "p", "c5", ""); answered <- err }()
	d.AwaitWaiting(answered)
	if _, err := tx.Exec(d.ctx, `SELECT commit_redemptions(clock_timestamp(), '{}', '{}', '{}',
		ARRAY[pool], ARRAY['r-1'], ARRAY[code], ARRAY[lot], ARRAY[seq], ARRAY[''], ARRAY[''], ARRAY[NULL::timestamptz],
		ARRAY[NULL::bytea], ARRAY[''], ARRAY[0], ARRAY[true], ARRAY[false], ARRAY[false], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')
		FROM codes WHERE code = 'c5'`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(d.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if story, err := d.Code(d.ctx, "p", "c5"); err != nil || story.State != domain.CodeRedeemed {
		t.Errorf("got %+v, %v", story, err)
	}
	d.Sound()
}
