package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// TestPassedOver blocks codes that many may use, issues the others in every way
// and unblocks them, in any order: no blocked code is issued, how often each was
// is told exactly, and none is left only when all are blocked.
func TestPassedOver(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	runs, issued, exhausted := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := newManyModel(t, d, fmt.Sprintf("m%d", runs))
		t.Repeat(map[string]func(*rapid.T){
			"refill": m.refill, "issue": m.issue, "issueAgain": m.issue, "locked": m.locked, "giveBack": m.giveBack,
			"next": m.next, "code": m.code, "block": m.block, "blockAnother": m.block, "unblock": m.unblock,
			"": m.check,
		})
		m.checkSound(t)
		issued, exhausted = issued+m.issued, exhausted+m.exhausted
	})
	if issued == 0 || exhausted == 0 {
		t.Errorf("%d codes were issued, and %d times there was none", issued, exhausted)
	}
}

// manyModel is a multi-use pool, and how often each of its codes was issued.
type manyModel struct {
	*desk
	id        string
	pool      domain.Pool
	codes     []string
	times     map[string]int64
	blocked   map[string]bool
	part      *partition
	inHand    []*domain.Run
	asked     int
	issued    int
	exhausted int
}

func newManyModel(t *rapid.T, d *desk, id string) *manyModel {
	for _, table := range []string{"runs", "lots", "lot_changes", "codes", "issuances", "blocks", "passes", "code_history", "batches", "partitions", "outbox"} {
		d.Exec("DELETE FROM " + table)
	}
	m := &manyModel{desk: d, id: id, times: map[string]int64{}, blocked: map[string]bool{}}
	p := draft(id)
	p.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
		t.Fatal(err)
	}
	for l, size := range []int{rapid.IntRange(1, 4).Draw(t, "size"), 2} {
		prefix := fmt.Sprintf("%s-%d-", id, l)
		d.Fill(id, prefix, size, nil, time.Now().Add(time.Duration(l+1)*time.Hour))
		for seq := range size {
			m.codes = append(m.codes, fmt.Sprint(prefix, seq))
		}
	}
	m.pool = d.Launch(id)
	m.part = d.Claim(0, "worker")
	return m
}

func (m *manyModel) some(t *rapid.T) string { return rapid.SampledFrom(m.codes).Draw(t, "code") }

func (m *manyModel) ask() string {
	m.asked++
	return fmt.Sprint(m.id, "-", m.asked)
}

func (m *manyModel) given(t *rapid.T, code string) {
	if m.blocked[code] || !slices.Contains(m.codes, code) {
		t.Fatalf("%q was issued, blocked %t", code, m.blocked[code])
	}
	m.times[code]++
	m.issued++
}

func (m *manyModel) refill(t *rapid.T) {
	m.Exec("UPDATE pools SET mode = 'ample' WHERE id = $1", m.id)
	m.inHand = append(m.inHand, m.part.Refill(m.id, rapid.Int64Range(1, 9).Draw(t, "want"))...)
}

func (m *manyModel) issue(t *rapid.T) {
	var usable int64
	for _, r := range m.inHand {
		usable += r.Usable()
	}
	if usable == 0 {
		t.Skip("nothing in hand")
	}
	ids := make([]string, rapid.Int64Range(1, min(usable, 3)).Draw(t, "requests"))
	for i := range ids {
		ids[i] = m.ask()
	}
	entries, plan := m.part.plan(m.id, m.inHand, ids...)
	err := m.part.Commit(m.ctx, entries, plan)
	if errors.Is(err, issuing.ErrCursor) {
		m.inHand = nil // blocked or unblocked since
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range plan.Outcomes[0] {
		m.given(t, o.Issue.Code)
	}
	for _, take := range plan.Takes {
		take.Run.Next += take.N
		take.Run.Texts = take.Run.Texts[take.N:]
	}
	m.part.BatchNo++
	m.part.at += int64(len(ids))
}

func (m *manyModel) locked(t *rapid.T) {
	ids := []string{m.ask(), m.ask(), m.ask()}
	outcomes, err := m.part.locked(m.id, nil, ids...)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		switch all := len(m.blocked) == len(m.codes); {
		case all != (o.Reason == domain.PoolExhausted), all == (o.Verdict == domain.Issued):
			t.Fatalf("got %+v with %d of %d codes blocked", o, len(m.blocked), len(m.codes))
		case all:
			m.exhausted++
		default:
			m.given(t, o.Issue.Code)
		}
	}
}

func (m *manyModel) giveBack(t *rapid.T) {
	if err := m.part.GiveBack(m.ctx, m.part.Partition, m.pool.Key); err != nil {
		t.Fatal(err)
	}
}

func (m *manyModel) next(t *rapid.T) {
	i, err := m.IssueNext(m.ctx, "test", byHand(m.id, m.ask()), "")
	var denied *domain.Denied
	switch all := len(m.blocked) == len(m.codes); {
	case err == nil && !all:
		m.given(t, i.Code)
	case errors.As(err, &denied) && denied.Reason == domain.DeniedExhausted && all:
		m.exhausted++
	default:
		t.Fatalf("got %v with %d of %d codes blocked", err, len(m.blocked), len(m.codes))
	}
}

func (m *manyModel) code(t *rapid.T) {
	c := m.some(t)
	i, err := m.IssueCode(m.ctx, "test", c, byHand(m.id, m.ask()), "")
	var denied *domain.Denied
	switch {
	case err == nil && i.Code == c:
		m.given(t, c)
	case errors.As(err, &denied) && denied.Reason == domain.DeniedBlocked && m.blocked[c]:
	default:
		t.Fatalf("got %q, %v, want %q, blocked %t", i.Code, err, c, m.blocked[c])
	}
}

func (m *manyModel) block(t *rapid.T) {
	c := m.some(t)
	if story, err := m.BlockCode(m.ctx, "test", m.id, c, ""); err != nil || story.State != domain.CodeBlocked {
		t.Fatalf("got %+v, %v", story, err)
	}
	m.blocked[c] = true
}

func (m *manyModel) unblock(t *rapid.T) {
	c := m.some(t)
	if story, err := m.UnblockCode(m.ctx, "test", m.id, c, ""); err != nil || story.State != domain.CodeAvailable {
		t.Fatalf("got %+v, %v", story, err)
	}
	delete(m.blocked, c)
}

func (m *manyModel) check(t *rapid.T) {
	want := domain.Stock{Total: int64(len(m.codes)), Withdrawn: int64(len(m.blocked))}
	want.Available = want.Total - want.Withdrawn
	for _, n := range m.times {
		want.Issued += n
	}
	got, err := m.Stock(m.ctx, m.id)
	got.PerMinute = 0 // TestForecast's
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("stock (-want +got): %s %v", diff, err)
	}
	for _, only := range []domain.CodeState{"", domain.CodeBlocked} {
		rows, err := m.Codes(m.ctx, &m.pool, only, domain.Place{Seq: -1}, 100)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, r := range rows {
			if r.Times != m.times[r.Code] || (r.State == domain.CodeBlocked) != m.blocked[r.Code] {
				t.Fatalf("%s is %s and was issued %d times, want %d, blocked %t", r.Code, r.State, r.Times, m.times[r.Code], m.blocked[r.Code])
			}
			seen++
		}
		if want := map[domain.CodeState]int{"": len(m.codes), domain.CodeBlocked: len(m.blocked)}[only]; seen != want {
			t.Fatalf("%d codes are listed as %q, want %d", seen, only, want)
		}
	}
	if m.asked%4 == 0 {
		m.checkSound(t)
	}
}

func (m *manyModel) checkSound(t *rapid.T) {
	if broken := m.broken(); len(broken) > 0 {
		t.Fatal(broken)
	}
}
