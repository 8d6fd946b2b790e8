package producer

import (
	"testing"
	"time"

	"promopool/internal/domain"
)

// TestRedemptionHeadersDescribed: what is told of redemptions has the headers that
// asyncapi.yaml names, each as it says, and no other, whoever publishes it.
func TestRedemptionHeadersDescribed(t *testing.T) {
	d := describe(t, "codeRedeemed", "redemptionRejected", "codeRedemptionRolledBack")
	messages := map[string]string{
		domain.TypeCodeRedeemed: "codeRedeemed", domain.TypeRedemptionRejected: "redemptionRejected", domain.TypeRedemptionRolledBack: "codeRedemptionRolledBack",
	}
	at := time.Date(2026, 7, 28, 12, 0, 0, 123456000, time.UTC)
	redeemed := domain.Redemption{
		RedemptionRequest: domain.RedemptionRequest{PoolID: "summer", RedemptionID: "r", Code: "C"}, DecidedAt: at, Processing: domain.Internal,
	}
	rejected := redeemed
	rejected.Reason = domain.NoSuchCode
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	o := NewRedemptions(nil, "outcomes", 12, "stream", 12)
	for _, r := range o.records(3, []Redeemed{{Redemption: &redeemed, Offset: 7, Traceparent: []byte(trace)}, {Redemption: &rejected, Offset: 8, Traceparent: []byte(trace)}}, at) {
		d.Check(t, messages[header(r, "ce_type")], r.Headers)
	}
	redeemed.RolledBackAt = at
	for _, e := range []domain.Event{redeemed.Event(), rejected.Event(), redeemed.RolledBackEvent()} {
		e.No, e.Traceparent = 5, trace
		d.Check(t, messages[e.Type], eventRecord(&e, at).Headers)
	}
	for _, name := range []string{"ce_requeststream", "ce_requestpartition", "ce_requestoffset"} {
		delete(d.left, "codeRedemptionRolledBack "+name) // nobody's record is answered by it
	}
	for name := range d.left {
		t.Errorf("nothing was published with %s", name)
	}
}

func header(r Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
