package load

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

func TestRedemptions(t *testing.T) {
	for _, tt := range []struct{ name, key, in, want string }{
		{"Lines", "code", `{"redemption_id":"r", "pool_id":"p","code":"C"}`, `p r C {"redemption_id":"r", "pool_id":"p","code":"C"}`},
		{"LineWithoutPool", "redemption", `{"redemption_id":"r","code":"C","order_id":"o"}`, `default r r {"redemption_id":"r","pool_id":"default","code":"C","order_id":"o"}`},
		{"LineWithoutCode", "code", `{"redemption_id":"r","pool_id":"p"}`, "line 1: pool_id or code is missing"},
		{"NotJSON", "code", "{", "line 1: not the JSON of a redemption"},
		{"CSV", "fixed:one", "code;redemption_id;pool_id;customer_id;order_id;occurred_at;context\nC;r;p;c;o;2026-07-01T10:00:00Z;{}\n",
			`p r one {"redemption_id":"r","pool_id":"p","code":"C","customer_id":"c","order_id":"o","occurred_at":"2026-07-01T10:00:00Z","context":{}}`},
		{"CSVHeader", "code", "a,b\n1,2\n", "line 1: the header must name code, and may name redemption_id, pool_id, customer_id, order_id, occurred_at and context"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := ParseRedemptionKeying(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			r := Redemptions{In: strings.NewReader(tt.in), Pool: "default", Key: key, IDs: NewIDs("")}
			var got []string
			for m, err := range r.Messages() {
				if err != nil {
					got = append(got, err.Error())
					break
				}
				got = append(got, fmt.Sprintf("%s %s %s %s", m.PoolID, m.RequestID, m.Key, m.Value))
				rec := record(&m, noon)
				if q, bad := consumer.DecodeRedemption(&consumer.Record{Value: rec.Value, Headers: rec.Headers}); bad != nil || q.RedemptionID != m.RequestID {
					t.Errorf("is read as %+v, %+v", q, bad)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := ParseRedemptionKeying("customer"); err == nil {
		t.Error("another key was taken")
	}
}

// Made-up ones take codes by turns, and their outcomes are known again.
func TestRedemptionsMadeUp(t *testing.T) {
	key, err := ParseRedemptionKeying("code")
	if err != nil {
		t.Fatal(err)
	}
	r := Redemptions{Pool: "p", Count: 5, Codes: []string{"A", "B"}, Key: key, IDs: NewIDs("x-")}
	n := 0
	for m, err := range r.Messages() {
		if err != nil {
			t.Fatal(err)
		}
		at, ok := r.IDs.Index(m.RequestID)
		if want := []string{"A", "B"}[n%2]; string(m.Key) != want || !ok || at != n {
			t.Errorf("number %d: got %+v", n, m)
		}
		n++
		q := domain.RedemptionRequest{PoolID: m.PoolID, RedemptionID: m.RequestID, Code: "A"}
		for _, reason := range []domain.RedemptionReason{domain.NotRejected, domain.LimitReached} {
			e := (&domain.Redemption{RedemptionRequest: q, DecidedAt: noon, Reason: reason}).Event()
			o, err := readOutcome(&consumer.Record{Value: e.Value, Headers: outcomeType(e.Type)})
			if err != nil || o.request != m.RequestID || o.pool != "p" || o.reason != reason.String() {
				t.Errorf("outcome read as %+v, %v", o, err)
			}
		}
	}
	if n != 5 {
		t.Errorf("%d were made up, want 5", n)
	}
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func outcomeType(eventType string) []kafka.Header {
	return []kafka.Header{{Key: "ce_type", Value: []byte(eventType)}}
}
