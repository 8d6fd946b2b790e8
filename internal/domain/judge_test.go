package domain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shop is a pool with two codes, of which A is issued to anna, and the requests
// that were answered there; it judges as the rules are written down, by going
// through all that was said before, to hold Judge against.
type shop struct {
	pool    *Pool // nil: there is none
	blocked map[string]bool
	issued  map[string]*Issuance
	window  Window
	said    []spoken
}

type spoken struct {
	RedemptionRequest
	reason     RedemptionReason
	rolledBack bool
}

// count is how often redemptions that fit stand.
func (s *shop) count(fits func(*spoken) bool) (n int64) {
	for i := range s.said {
		if !s.said[i].rolledBack && s.said[i].reason == NotRejected && fits(&s.said[i]) {
			n++
		}
	}
	return n
}

// first is the first answer to the redemption_id.
func (s *shop) first(id string) *spoken {
	at := slices.IndexFunc(s.said, func(o spoken) bool { return o.RedemptionID == id && o.reason != RedemptionConflict })
	if at < 0 {
		return nil
	}
	return &s.said[at]
}

func (s *shop) judge(r RedemptionRequest, now time.Time) RedemptionReason {
	if first := s.first(r.RedemptionID); first != nil {
		if first.Code != r.Code || first.CustomerID != r.CustomerID || first.OrderID != r.OrderID {
			return RedemptionConflict
		}
		return first.reason
	}
	p, issue := s.pool, s.issued[r.Code]
	exists := r.Code == "A" || r.Code == "B"
	if p == nil {
		return NoSuchPool
	}
	if p.State == Draft {
		return PoolInactive
	}
	if p.Processing == External {
		return NotRejected
	}
	if !exists {
		return NoSuchCode
	}
	if p.State == Archived && issue == nil && !p.MultiUse {
		return PoolInactive
	}
	if s.blocked[r.Code] {
		return BlockedCode
	}
	if p.CheckIssued {
		if issue == nil {
			return NotIssued
		}
		if issue.CustomerID != r.CustomerID {
			return NotIssuedToCustomer
		}
	}
	sameCode := func(o *spoken) bool { return o.Code == r.Code }
	if !p.MultiUse && s.count(sameCode) > 0 {
		return RedeemedBefore
	}
	at := now
	if !r.OccurredAt.IsZero() && !r.OccurredAt.After(now) && !r.OccurredAt.Before(now.Add(-24*time.Hour)) {
		at = r.OccurredAt
	}
	from, until := s.window.AvailableFrom, s.window.AvailableTill
	if issue != nil {
		from, until = issue.ValidFrom, issue.ValidUntil
	}
	if at.Before(from) {
		return NotYetValid
	}
	if !until.IsZero() && !until.After(at) {
		return NoLongerValid
	}
	if p.RedemptionLimit != nil && s.count(sameCode) >= *p.RedemptionLimit {
		return LimitReached
	}
	if p.RedemptionLimitPerCustomer != nil {
		if r.CustomerID == "" {
			return CustomerNeeded
		}
		if s.count(func(o *spoken) bool { return o.Code == r.Code && o.CustomerID == r.CustomerID }) >= *p.RedemptionLimitPerCustomer {
			return LimitReached
		}
	}
	return NotRejected
}

// TestJudge leads facts and the shop through the same requests, settings that
// change and redemptions that are rolled back in between.
func TestJudge(t *testing.T) {
	seen := map[RedemptionReason]int{}
	for range 5 { // or a reason may not be met
		rapid.Check(t, func(t *rapid.T) { judgeLikeShop(t, seen) })
	}
	for _, r := range RedemptionReasons {
		if seen[r] == 0 {
			t.Errorf("%q (%d) was never the answer", r, r)
		}
	}
}

func judgeLikeShop(t *rapid.T, seen map[RedemptionReason]int) {
	hour := func(label string) time.Time {
		if rapid.IntRange(0, 2).Draw(t, label) > 0 {
			return time.Time{}
		}
		return noon.Add(time.Duration(rapid.IntRange(-30, 30).Draw(t, label)) * time.Hour)
	}
	s := shop{blocked: map[string]bool{}, issued: map[string]*Issuance{}}
	if rapid.IntRange(0, 9).Draw(t, "pool") > 0 {
		s.pool = &Pool{ID: "p", MultiUse: rapid.Bool().Draw(t, "multi_use")}
	}
	s.window = Window{AvailableFrom: hour("from"), AvailableTill: hour("till")}
	if s.pool != nil && !s.pool.MultiUse {
		s.issued["A"] = &Issuance{CustomerID: "anna", ValidFrom: noon.Add(-time.Hour), ValidUntil: hour("until")}
	}
	f := RedemptionFacts{
		Pools: map[string]*Pool{}, First: map[RedemptionKey]*Redemption{}, Conflicts: map[ConflictKey]*Redemption{},
		Codes: map[CodeKey]*CodeFacts{},
	}
	if s.pool != nil {
		f.Pools["p"] = s.pool
		for seq, code := range []string{"A", "B"} {
			f.Codes[CodeKey{"p", code}] = &CodeFacts{Place: Place{Lot: 1, Seq: int64(seq)}, Window: s.window, Issue: s.issued[code]}
		}
	}
	withdrawn := map[string]bool{}
	limit := func(label string) *int64 {
		if !s.pool.MultiUse || rapid.Bool().Draw(t, label) {
			return nil
		}
		return number(int64(rapid.IntRange(1, 3).Draw(t, label)))
	}
	settle := func(t *rapid.T) {
		if s.pool == nil {
			return
		}
		s.pool.State = rapid.SampledFrom([]State{Draft, Active, Active, Active, Archived}).Draw(t, "state")
		s.pool.Processing = rapid.SampledFrom([]Processing{Internal, Internal, Internal, External}).Draw(t, "processing")
		s.pool.CheckIssued = !s.pool.MultiUse && rapid.Bool().Draw(t, "check_issued")
		s.pool.RedemptionLimit, s.pool.RedemptionLimitPerCustomer = limit("limit"), limit("per customer")
		code := rapid.SampledFrom([]string{"A", "B"}).Draw(t, "code")
		s.blocked[code] = rapid.IntRange(0, 4).Draw(t, "blocked") == 0
		f.Codes[CodeKey{"p", code}].Blocked = s.blocked[code]
	}
	settle(t)
	redeem := func(t *rapid.T) {
		r := RedemptionRequest{
			PoolID: "p", RedemptionID: fmt.Sprint("r-", rapid.IntRange(0, 20).Draw(t, "id")),
			Code:       rapid.SampledFrom([]string{"A", "A", "A", "B", "B", "C"}).Draw(t, "code"),
			CustomerID: rapid.SampledFrom([]string{"anna", "anna", "bert", ""}).Draw(t, "customer"),
			OrderID:    rapid.SampledFrom([]string{"", "", "", "o-1"}).Draw(t, "order"), OccurredAt: hour("occurred"),
		}
		f.Now = noon.Add(time.Duration(len(s.said)) * time.Minute)
		want := s.judge(r, f.Now)
		first := s.first(r.RedemptionID)
		j := f.Judge(&r)
		seen[j.Reason]++
		if j.Reason != want {
			t.Fatalf("%+v: got %q, want %q", r, j.Reason, want)
		}
		if j.Repeated != slices.ContainsFunc(s.said, func(o spoken) bool {
			return o.RedemptionID == r.RedemptionID && (*Pseudonyms)(nil).same(&o.RedemptionRequest, &r)
		}) {
			t.Fatalf("%+v: repeated is %t", r, j.Repeated)
		}
		switch again := f.Judge(&r); {
		case !again.Repeated || again.Redemption != j.Redemption || again.Withdraw:
			t.Fatalf("%+v again: got %+v after %+v", r, again, j)
		case (want == RedemptionConflict) != (j.Event().ID != RedemptionEventID("p", r.RedemptionID)):
			t.Fatalf("%+v: the id of the answer is wrong", r)
		}
		fresh := first == nil && want == NotRejected && s.pool.State == Active && !s.pool.MultiUse
		takes := fresh && (r.Code == "A" || r.Code == "B") && s.issued[r.Code] == nil && !withdrawn[r.Code]
		if j.Withdraw != takes {
			t.Fatalf("%+v: withdraw is %t", r, j.Withdraw)
		}
		withdrawn[r.Code] = withdrawn[r.Code] || takes
		if !j.Repeated {
			s.said = append(s.said, spoken{RedemptionRequest: r, reason: want})
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"redeem": redeem, "redeemAgain": redeem, "redeemOnceMore": redeem, "settle": settle,
		"rollBack": func(t *rapid.T) {
			if len(s.said) == 0 {
				t.Skip("nothing was said")
			}
			o := &s.said[rapid.IntRange(0, len(s.said)-1).Draw(t, "which")]
			if o.reason != NotRejected || o.rolledBack {
				t.Skip("nothing to roll back")
			}
			o.rolledBack = true
			// As the store reads it then.
			if code := f.Codes[CodeKey{"p", o.Code}]; code != nil {
				sameCode := func(x *spoken) bool { return x.Code == o.Code }
				code.Redeemed = !s.pool.MultiUse && s.count(sameCode) > 0
				code.Uses = s.count(sameCode)
				code.UsesBy = map[string]int64{}
				for _, c := range []string{"anna", "bert"} {
					code.UsesBy[c] = s.count(func(x *spoken) bool { return x.Code == o.Code && x.CustomerID == c })
				}
			}
		},
	})
}

// TestMoment: a shop that was offline is believed for a day.
func TestMoment(t *testing.T) {
	for _, c := range []struct {
		name     string
		occurred time.Time
		want     time.Time
	}{
		{"Unsaid", time.Time{}, noon},
		{"Now", noon, noon},
		{"Before", noon.Add(-time.Hour), noon.Add(-time.Hour)},
		{"ADayBefore", noon.Add(-24 * time.Hour), noon.Add(-24 * time.Hour)},
		{"LongBefore", noon.Add(-24*time.Hour - time.Microsecond), noon},
		{"Later", noon.Add(time.Microsecond), noon},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := RedemptionRequest{OccurredAt: c.occurred}
			if got := r.Moment(noon); !got.Equal(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
