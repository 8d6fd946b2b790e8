package domain

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNothingRefusedFromMemory: what is at hand may be out of date, so it founds no
// rejection, whatever is asked; but that a request is another's, which stays so.
func TestNothingRefusedFromMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		at := rapid.Custom(func(t *rapid.T) time.Time {
			return now.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "hours")) * time.Hour)
		})
		some := func(label string) time.Time {
			if rapid.Bool().Draw(t, label+" is open") {
				return time.Time{}
			}
			return at.Draw(t, label)
		}
		pool := &Pool{Key: 1, ID: "p", State: rapid.SampledFrom([]State{Draft, Active, Archived}).Draw(t, "state"), IssueStart: some("start"), IssueEnd: some("end")}
		lot := &Lot{Pool: 1, No: 1, Size: 3, Window: Window{IssueStart: some("lot start"), IssueEnd: some("lot end"), AvailableTill: some("till")}}
		shelf := &Shelf{Pool: pool, Runs: []*Run{{Lot: lot, Hi: int64(rapid.IntRange(0, 3).Draw(t, "codes")), Holder: 1}}}
		stored := &Issuance{Pool: pool, RequestID: "r0", CustomerID: "c0"}
		var requests []Request
		for n := range rapid.IntRange(1, 6).Draw(t, "requests") {
			requests = append(requests, Request{
				Offset: int64(n), PoolID: rapid.SampledFrom([]string{"p", "unheard of"}).Draw(t, "pool"),
				RequestID: fmt.Sprint("r", rapid.IntRange(0, 3).Draw(t, "id")), CustomerID: fmt.Sprint("c", rapid.IntRange(0, 1).Draw(t, "customer")),
				ExpiresAt: some("expires"),
			})
		}
		plan := Assign(now, []Batch{{Requests: requests, Shelves: map[string]*Shelf{"p": shelf}}}, map[Key]*Issuance{{1, "r0"}: stored})
		for _, o := range plan.Outcomes[0] {
			if o.Verdict == Rejected && o.Reason != RequestConflict {
				t.Fatalf("%+v is rejected from memory: %s", *o.Request, o.Reason)
			}
		}
	})
}
