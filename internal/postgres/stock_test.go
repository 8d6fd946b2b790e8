package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"promopool/internal/domain"
)

// countsOnly leaves out how fast codes go, which TestStockForecast looks at.
var countsOnly = cmpopts.IgnoreFields(domain.Stock{}, "PerMinute", "ExhaustedAt")

func TestStock(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	check := func(want domain.Stock) {
		t.Helper()
		got, err := d.Stock(d.ctx, "beach")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, countsOnly); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := d.Stock(d.ctx, "nowhere"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	check(domain.Stock{})
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	d.Fill("beach", "now", 6000, past, future)
	d.Fill("beach", "later", 70, future)
	d.Fill("beach", "over", 50, nil, past)
	d.Fill("beach", "useless", 3, future, nil, nil, past)
	d.Fill("beach", "open", 400)
	check(domain.Stock{Total: 6523, Available: 6400, Scheduled: 70, Expired: 53})

	d.Launch("beach")
	d.Hold("beach", 200)
	check(domain.Stock{Total: 6523, Available: 6400, Held: 200, Scheduled: 70, Expired: 53})
	d.IssueHeld("beach", 200)
	check(domain.Stock{Total: 6523, Available: 6200, Scheduled: 70, Issued: 200, Expired: 53})
	d.Hold("beach", 100) // folds the finished run away
	d.IssueHeld("beach", 30)
	check(domain.Stock{Total: 6523, Available: 6170, Held: 70, Scheduled: 70, Issued: 230, Expired: 53})
	d.Exec("UPDATE lots SET issue_end = now() WHERE issue_start IS NOT NULL AND size = 6000")
	check(domain.Stock{Total: 6523, Available: 400, Scheduled: 70, Issued: 230, Expired: 5823})
}

// TestStockPoolWindow: a code may be issued when its window and the pool's allow
// it; every code is counted once.
func TestStockPoolWindow(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	now := time.Now()
	hour := func(n time.Duration) time.Time { return now.Add(n * time.Hour).UTC().Truncate(time.Microsecond) }
	d.Fill("beach", "open", 6000)
	d.Fill("beach", "later", 70, hour(1))
	d.Fill("beach", "over", 5, nil, hour(-1))
	d.Fill("beach", "useless", 3, nil, nil, nil, hour(-1))
	d.Launch("beach")
	d.Hold("beach", 200)
	d.IssueHeld("beach", 10)
	for _, c := range []struct {
		name       string
		start, end time.Time
		want       domain.Stock
		open       domain.CodeState
	}{
		{"Open", hour(-2), hour(2), domain.Stock{Available: 5990, Scheduled: 70, Expired: 8}, domain.CodeAvailable},
		{"NotYet", hour(2), time.Time{}, domain.Stock{Scheduled: 6060, Expired: 8}, domain.CodeScheduled},
		{"Over", time.Time{}, hour(-2), domain.Stock{Expired: 6068}, domain.CodeExpired},
		{"None", time.Time{}, time.Time{}, domain.Stock{Available: 5990, Scheduled: 70, Expired: 8}, domain.CodeAvailable},
	} {
		if _, err := d.UpdatePool(d.ctx, "test", "beach", 0, func(p domain.Pool) (domain.Pool, error) {
			p.IssueStart, p.IssueEnd = c.start, c.end
			return p, nil
		}); err != nil {
			t.Fatal(err)
		}
		c.want.Total, c.want.Issued = 6078, 10
		got, err := d.Stock(d.ctx, "beach")
		if diff := cmp.Diff(c.want, got, countsOnly); diff != "" || err != nil {
			t.Errorf("%s: %s %v", c.name, diff, err)
		}
		if code, err := d.Code(d.ctx, "beach", "open5999"); err != nil || code.State != c.open || !code.Window.IssueEnd.IsZero() {
			t.Errorf("%s: got %+v, %v, want %s", c.name, code, err, c.open)
		}
		if code, err := d.Code(d.ctx, "beach", "open0"); err != nil || code.State != domain.CodeIssued {
			t.Errorf("%s: got %+v, %v, want it issued", c.name, code, err)
		}
	}
	totals, err := d.Totals(d.ctx)
	if err != nil || totals.Free+totals.Held != 6060 {
		t.Errorf("got %+v, %v, want 6060 codes", totals, err)
	}
	d.Exec("UPDATE pools SET issue_end = now()")
	if totals, err = d.Totals(d.ctx); err != nil || totals.Free+totals.Held != 0 {
		t.Errorf("got %+v, %v, want no codes of a pool that is over", totals, err)
	}
}

func TestStockMultiUse(t *testing.T) {
	d := newDesk(t)
	p := draft("many")
	p.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
		t.Fatal(err)
	}
	d.Fill("many", "m", 3)
	d.Fill("many", "later", 2, time.Now().Add(time.Hour))
	d.Launch("many")
	d.Hold("many", 100)
	d.IssueHeld("many", 10)
	got, err := d.Stock(d.ctx, "many")
	if diff := cmp.Diff(domain.Stock{Total: 5, Available: 3, Scheduled: 2, Issued: 10}, got, countsOnly); diff != "" || err != nil {
		t.Error(diff, err)
	}
	issue, err := d.Issuance(d.ctx, "many", "request-7")
	if err != nil || issue.Code != "m1" || issue.Seq != 7 {
		t.Errorf("got %+v, %v, want m1", issue, err)
	}
	if code, err := d.Code(d.ctx, "many", "m1"); err != nil || code.State != domain.CodeAvailable || code.Issue != nil {
		t.Errorf("got %+v, %v", code, err)
	}
}

func TestCode(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	d.Fill("beach", "now", 6000, nil, future)
	d.Fill("beach", "later", 1, future)
	d.Fill("beach", "over", 1, nil, time.Now().Add(-time.Hour))
	d.Launch("beach")
	d.Hold("beach", 2)
	d.IssueHeld("beach", 2)
	for code, want := range map[string]domain.CodeState{
		"now0": domain.CodeIssued, "now1": domain.CodeIssued, "now2": domain.CodeAvailable,
		"later0": domain.CodeScheduled, "over0": domain.CodeExpired,
	} {
		got, err := d.Code(d.ctx, "beach", code)
		if err != nil || got.State != want || (got.Issue != nil) != (want == domain.CodeIssued) || got.History[0].At.IsZero() {
			t.Errorf("%s: got %+v, %v, want %s", code, got, err, want)
		}
	}
	got, err := d.Code(d.ctx, "beach", "now1")
	if err != nil || got.Issue == nil || got.Issue.RequestID != "request-1" || got.Issue.CustomerID != "customer" || !got.Window.IssueEnd.Equal(future) {
		t.Errorf("got %+v, %v", got, err)
	}
	issue, err := d.Issuance(d.ctx, "beach", "request-1")
	if err != nil || issue.Code != "now1" || issue.Pool.ID != "beach" || issue.IssuedAt != got.Issue.IssuedAt {
		t.Errorf("got %+v, %v", issue, err)
	}
	if _, err := d.Code(d.ctx, "beach", "none"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := d.Issuance(d.ctx, "beach", "none"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}
