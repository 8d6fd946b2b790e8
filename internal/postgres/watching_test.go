package postgres_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"promopool/internal/domain"
)

// Notify sets the notice of a pool; 0: off.
func (d *desk) Notify(id string, below int64) {
	d.t.Helper()
	if _, err := d.UpdatePool(d.ctx, "test", id, 0, func(p domain.Pool) (domain.Pool, error) {
		if p.Notify = below > 0; p.Notify {
			p.NotifyBelow = &below
		}
		return p, nil
	}); err != nil {
		d.t.Fatal(err)
	}
}

// Hire adds someone with subscriptions.
func (d *desk) Hire(id string, scopes ...string) {
	d.t.Helper()
	if _, err := d.CreateStaff(d.ctx, "test", domain.Staff{ID: id, Name: strings.ToUpper(id), Email: id + "@example.com", Active: true}, false); err != nil {
		d.t.Fatal(err)
	}
	for _, text := range scopes {
		d.Subscribe(id, text)
	}
}

// Subscribe is the store's, of a scope's text.
func (d *desk) Subscribe(id, scope string) {
	d.t.Helper()
	to, err := domain.ParseScope(scope)
	if err == nil {
		_, err = d.Store.Subscribe(d.ctx, "test", id, to)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// Activate switches notices to someone on or off.
func (d *desk) Activate(id string, active bool) {
	d.t.Helper()
	if _, err := d.UpdateStaff(d.ctx, "test", id, func(p domain.Staff) (domain.Staff, error) { p.Active = active; return p, nil }); err != nil {
		d.t.Fatal(err)
	}
}

// JudgeStockOf judges a pool's stock.
func (d *desk) JudgeStockOf(id string) {
	d.t.Helper()
	if _, err := d.JudgeStock(d.ctx, int32(d.Int("SELECT pool FROM pools WHERE id = $1", id))); err != nil {
		d.t.Fatal(err)
	}
}

// Use takes n free codes of a pool away, as issuing does.
func (d *desk) Use(id string, n int) {
	d.t.Helper()
	d.Exec(`UPDATE runs r SET next = next + $2 FROM pools p WHERE p.id = $1 AND r.pool = p.pool
		AND (r.lot, r.lo) = (SELECT lot, lo FROM runs WHERE pool = p.pool AND hi - next >= $2 AND available_till > now() ORDER BY lot, lo LIMIT 1)`, id, n)
}

// ToldOf takes what is in the outbox out: pool events as "low p 3/10", notices as
// "pool_low p 3/10 > anna".
func (d *desk) ToldOf() []string {
	d.t.Helper()
	events, err := d.Unpublished(d.ctx, 1000)
	if err != nil {
		d.t.Fatal(err)
	}
	var all []string
	var numbers []int64
	ids := map[string]bool{}
	for _, e := range events {
		var v struct {
			Remaining int64   `json:"remaining"`
			Threshold *int64  `json:"threshold"`
			Kind      string  `json:"kind"`
			Staff     string  `json:"staff_id"`
			Text      string  `json:"text"`
			PerMinute float64 `json:"per_minute"`
		}
		if err := json.Unmarshal(e.Value, &v); err != nil {
			d.t.Fatal(err)
		}
		says := fmt.Sprintf(" %s %d", e.PoolID, v.Remaining)
		if v.Threshold != nil {
			says += fmt.Sprintf("/%d", *v.Threshold)
		}
		switch {
		case e.Topic == domain.ToStaffNotifications:
			says = v.Kind + says + " > " + v.Staff
			if e.Key != v.Staff || !strings.Contains(v.Text, "/pools/"+e.PoolID) {
				d.t.Errorf("notice with the key %q: %s", e.Key, e.Value)
			}
		case strings.HasSuffix(e.Type, "launched"), strings.HasSuffix(e.Type, "archived"):
			says = strings.TrimPrefix(e.Type, "promopool.pool.") + " " + e.PoolID
		default:
			says = strings.TrimPrefix(e.Type, "promopool.pool.") + says
		}
		if ids[e.ID] {
			d.t.Errorf("%s came twice", says)
		}
		ids[e.ID] = true
		all, numbers = append(all, says), append(numbers, e.No)
	}
	if err := d.Published(d.ctx, numbers); err != nil {
		d.t.Fatal(err)
	}
	return all
}

// Tells wants just these in the outbox.
func (d *desk) Tells(want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.ToldOf()); diff != "" {
		d.t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestCrossings: each crossing is told once, whatever moves the stock or the
// threshold, in the transaction of the change where that is staff's.
func TestCrossings(t *testing.T) {
	d := newDesk(t)
	d.Create("p")
	d.Notify("p", 10)
	d.Fill("p", "a", 20)
	d.Hire("anna", "all", "pool:p", "campaign:summer")
	d.Hire("ben", "pool:p")
	d.Hire("cleo", "all")
	d.Activate("cleo", false)
	d.Hire("dora")
	d.Launch("p")
	d.Tells("launched p")
	d.JudgeStockOf("p")
	d.Tells()

	d.Use("p", 10)
	d.JudgeStockOf("p")
	d.Tells()
	d.Use("p", 1)
	d.JudgeStockOf("p")
	d.JudgeStockOf("p")
	d.Tells("low p 9/10", "pool_low p 9/10 > anna", "pool_low p 9/10 > ben")
	d.Fill("p", "b", 1)
	d.JudgeStockOf("p")
	d.Tells("replenished p 10/10")

	// By staff, at once.
	d.Notify("p", 11)
	d.Tells("low p 10/11", "pool_low p 10/11 > anna", "pool_low p 10/11 > ben")
	d.Notify("p", 0)
	d.Tells()
	d.Notify("p", 11)
	d.Tells("low p 10/11", "pool_low p 10/11 > anna", "pool_low p 10/11 > ben")
	d.Notify("p", 10)
	d.Tells("replenished p 10/10")

	// By time, of the codes and of the pool.
	d.Fill("p", "c", 5, nil, "2001-01-01")
	d.JudgeStockOf("p")
	d.Tells()
	d.Exec("UPDATE runs SET available_till = '2001-01-01' WHERE hi - next = 9")
	d.JudgeStockOf("p")
	d.Tells("low p 1/10", "pool_low p 1/10 > anna", "pool_low p 1/10 > ben")
	if _, err := d.UpdatePool(d.ctx, "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueEnd = time.Now().Add(-time.Hour)
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
	d.Tells("exhausted p 0/10", "pool_exhausted p 0/10 > anna", "pool_exhausted p 0/10 > ben")
	if _, err := d.UpdatePool(d.ctx, "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
		p.IssueEnd = time.Time{}
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
	d.Tells() // fewer than the threshold: known
	d.Use("p", 1)
	d.JudgeStockOf("p")
	d.Tells("exhausted p 0/10", "pool_exhausted p 0/10 > anna", "pool_exhausted p 0/10 > ben")
	if _, err := d.ArchivePool(d.ctx, "test", "p", 0); err != nil {
		t.Fatal(err)
	}
	d.Fill2("q")
	d.JudgeStockOf("p")
	d.Tells("archived p", "launched q")
	d.chained()
}

// Fill2 launches a pool with two codes and no notice.
func (d *desk) Fill2(id string) {
	d.t.Helper()
	d.Create(id)
	d.Fill(id, id, 2)
	d.Launch(id)
}

// chained wants the crossings of each pool to follow one another.
func (d *desk) chained() {
	d.t.Helper()
	if n := d.Int(`SELECT count(*) FROM (SELECT *, lag(to_state, 1, 'ok') OVER w AS before, row_number() OVER w AS n FROM crossings WINDOW w AS (PARTITION BY pool ORDER BY low_no)) c
		WHERE n <> low_no OR before <> from_state`); n != 0 {
		d.t.Errorf("%d crossings do not follow those before them", n)
	}
}

// TestLaunchedLow: a pool that is launched with too few codes is told low at once,
// and sold out where it has none.
func TestLaunchedLow(t *testing.T) {
	d := newDesk(t)
	d.Hire("anna", "campaign:summer")
	d.Create("few")
	d.Notify("few", 10)
	d.Fill("few", "a", 3)
	d.Launch("few")
	d.Tells("launched few", "low few 3/10", "pool_low few 3/10 > anna")
	d.Create("none")
	d.Notify("none", 10)
	d.Launch("none")
	d.Tells("launched none", "low none 0/10", "pool_low none 0/10 > anna", "exhausted none 0/10", "pool_exhausted none 0/10 > anna")
	d.Create("quiet")
	d.Launch("quiet")
	d.Tells("launched quiet", "exhausted quiet 0")
	many := draft("many")
	many.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", many, false); err != nil {
		t.Fatal(err)
	}
	d.Launch("many")
	d.JudgeStockOf("many")
	d.Tells("launched many")
	d.Launch("many") // again
	d.Tells()
}

// TestLateSubscribers: whoever subscribes while a pool is low, or is active again,
// is told of the crossing that lasts, once.
func TestLateSubscribers(t *testing.T) {
	d := newDesk(t)
	d.Create("p")
	d.Notify("p", 10)
	d.Fill("p", "a", 9)
	d.Hire("anna", "all")
	d.Hire("ben", "all")
	d.Activate("ben", false)
	d.Launch("p")
	d.Tells("launched p", "low p 9/10", "pool_low p 9/10 > anna")
	d.Hire("cleo", "campaign:summer")
	d.Use("p", 2)
	d.JudgeStockOf("p")
	d.JudgeStockOf("p")
	d.Tells("pool_low p 7/10 > cleo")
	d.Activate("ben", true)
	d.Subscribe("anna", "pool:p")
	d.JudgeStockOf("p")
	d.Tells("pool_low p 7/10 > ben")
	d.Use("p", 7)
	d.JudgeStockOf("p")
	d.Tells("exhausted p 0/10", "pool_exhausted p 0/10 > anna", "pool_exhausted p 0/10 > ben", "pool_exhausted p 0/10 > cleo")
	d.Hire("dora", "pool:p")
	d.JudgeStockOf("p")
	d.Tells("pool_exhausted p 0/10 > dora")
	// A few are back. Who heard that all were gone need not hear that few are left.
	d.Fill("p", "b", 2)
	d.JudgeStockOf("p")
	d.Tells()
	d.Hire("emil", "pool:p")
	d.JudgeStockOf("p")
	d.JudgeStockOf("p")
	d.Tells("pool_low p 2/10 > emil")
	d.Fill("p", "c", 8)
	d.JudgeStockOf("p")
	d.Tells("replenished p 10/10")
	d.Hire("fred", "all")
	d.JudgeStockOf("p")
	d.Tells()
	// Someone of the same id is someone else.
	if err := d.DeleteStaff(d.ctx, "test", "emil"); err != nil {
		t.Fatal(err)
	}
	d.Use("p", 1)
	d.Notify("p", 11)
	d.ToldOf()
	d.Hire("emil", "all")
	d.JudgeStockOf("p")
	if got := d.ToldOf(); len(got) != 1 || !strings.HasSuffix(got[0], "> emil") {
		t.Errorf("told %v", got)
	}
	d.chained()
}

// TestJudgedAtOnce: however many judge, a crossing is told once.
func TestJudgedAtOnce(t *testing.T) {
	d := newDesk(t)
	d.Hire("anna", "all")
	d.Fill2("p")
	d.Notify("p", 2)
	d.ToldOf()
	for round := range 20 {
		if round%2 == 0 {
			d.Use("p", 1)
		} else {
			d.Fill("p", fmt.Sprint("more-", round), 1)
		}
		var all sync.WaitGroup
		key := int32(d.Int("SELECT pool FROM pools"))
		for range 8 {
			all.Go(func() {
				if _, err := d.JudgeStock(d.ctx, key); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		d.JudgeStockOf("p")
		want := []string{"low p 1/2", "pool_low p 1/2 > anna"}
		if round%2 == 1 {
			want = []string{"replenished p 2/2"}
		}
		d.Tells(want...)
	}
}

// TestSoldOutTold: the batch that first hears "exhausted" tells it, and no other.
func TestSoldOutTold(t *testing.T) {
	d := newDesk(t)
	d.Hire("anna", "all")
	d.Fill2("p")
	d.Notify("p", 1)
	p := d.Claim(0, "w")
	d.Tells("launched p")
	for i, want := range [][]string{nil, nil, {"low p 0/1", "pool_low p 0/1 > anna", "exhausted p 0/1", "pool_exhausted p 0/1 > anna"}, nil} {
		if _, err := p.locked("p", func() {}, fmt.Sprint("r-", i)); err != nil {
			t.Fatal(err)
		}
		d.Tells(want...)
	}
}

// TestStockForecast: the stock tells how fast codes go.
func TestStockForecast(t *testing.T) {
	d := newDesk(t)
	d.Create("p")
	d.Fill("p", "a", 100)
	if s, err := d.Stock(d.ctx, "p"); err != nil || s.PerMinute != 0 || !s.ExhaustedAt.IsZero() {
		t.Errorf("of a draft: %+v, %v", s, err)
	}
	d.Launch("p")
	d.Exec("UPDATE stock_watch SET sample_at = ARRAY[now() - interval '1 hour', now() - interval '61 seconds'], samples = ARRAY[0, 10]")
	d.Use("p", 70)
	d.JudgeStockOf("p")
	s, err := d.Stock(d.ctx, "p")
	if in := time.Until(s.ExhaustedAt); err != nil || s.PerMinute < 55 || s.PerMinute > 60 || in < 20*time.Second || in > 40*time.Second {
		t.Errorf("gone in %v: %+v, %v", in, s, err)
	}
	if n := d.Int("SELECT cardinality(samples) FROM stock_watch"); n != 3 {
		t.Errorf("%d samples, want 3", n)
	}
	d.JudgeStockOf("p")
	if n := d.Int("SELECT cardinality(samples) FROM stock_watch"); n != 3 {
		t.Errorf("%d samples a moment later, want 3", n)
	}
}

// TestLookAt: a look sees what the stock has, in as many runs as there are.
func TestLookAt(t *testing.T) {
	d := newDesk(t)
	d.Fill2("p")
	d.Fill2("gone")
	d.Create("draft")
	d.Fill("p", "b", 5, nil, "2001-01-01")
	d.Fill("p", "c", 7, "2099-01-01")
	d.Exec("UPDATE runs SET partition = 1 WHERE hi - next = 2")
	marks, err := d.Watched(d.ctx)
	if err != nil || len(marks) != 2 {
		t.Fatalf("got %v, %v", marks, err)
	}
	if _, err := d.ArchivePool(d.ctx, "test", "gone", 0); err != nil {
		t.Fatal(err)
	}
	sights, err := d.LookAt(d.ctx, []int32{marks[0].Pool, marks[1].Pool, 4711})
	if err != nil || len(sights) != 1 || sights[0].Left != 9 || sights[0].Runs < 3 || sights[0].Pool.ID != "p" || sights[0].Watch.State != domain.StockOK {
		t.Fatalf("got %+v, %v", sights, err)
	}
	if err := d.ReportUse(d.ctx, "one", []int32{1, 2}); err != nil {
		t.Fatal(err)
	}
	if err := d.ReportUse(d.ctx, "two", []int32{2, 3}); err != nil {
		t.Fatal(err)
	}
	used, err := d.UsedPools(d.ctx, time.Minute)
	if slices.Sort(used); err != nil || !slices.Equal(used, []int32{1, 2, 3}) {
		t.Errorf("got %v, %v", used, err)
	}
	if used, err = d.UsedPools(d.ctx, 0); err != nil || len(used) != 0 {
		t.Errorf("got %v, %v", used, err)
	}
}
