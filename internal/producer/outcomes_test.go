package producer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"promopool/internal/domain"
)

func answers(n int) []Answer {
	pool := &domain.Pool{Key: 1, ID: "summer", CampaignID: "summer-2026", ParameterName: "promo_code"}
	at := time.Date(2026, 7, 28, 12, 0, 0, 123456000, time.UTC)
	all := make([]Answer, n)
	for i := range all {
		r := &domain.Request{Offset: int64(i), PoolID: pool.ID, RequestID: fmt.Sprintf("0199f3a1-7c00-7%03x-8a2b-9c3d4e5f6071", i), CustomerID: fmt.Sprintf("customer-%d", i),
			Context: []byte(`{"workflow_run":"wf-123456789012","step":3,"channel":"email","locale":"de-DE"}`)}
		o := &domain.Outcome{Request: r, Verdict: domain.Issued, Issue: &domain.Issuance{Pool: pool, Code: fmt.Sprintf("SUMMER-%08d", i), RequestID: r.RequestID,
			CustomerID: r.CustomerID, Context: r.Context, IssuedAt: at, ValidFrom: at, ValidUntil: at.AddDate(0, 1, 0)}}
		if i%10 == 9 {
			*o = domain.Outcome{Request: r, Verdict: domain.Rejected, Reason: domain.PoolExhausted, DecidedAt: at.Add(time.Duration(i%3) * time.Second)}
		}
		all[i] = Answer{Outcome: o, Offset: r.Offset, Key: []byte(r.CustomerID)}
		if i%2 == 0 {
			all[i].Traceparent = []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		}
	}
	return all
}

// Records that are laid out together are what each would be alone.
func TestRecords(t *testing.T) {
	o := NewOutcomes(nil, "outcomes", 12, "stream", 12)
	all, now := answers(2000), time.Now()
	records := o.records(3, all, now)
	for i := range all {
		got, want := records[i], o.records(3, all[i:i+1], now)[0]
		if !bytes.Equal(got.Value, want.Value) || !json.Valid(got.Value) || !bytes.Equal(got.Key, all[i].Key) || len(got.Headers) != len(want.Headers) {
			t.Fatalf("record %d: got %s, want %s", i, got.Value, want.Value)
		}
		for j := range got.Headers {
			if got.Headers[j].Key != want.Headers[j].Key || !bytes.Equal(got.Headers[j].Value, want.Headers[j].Value) {
				t.Fatalf("record %d: header %v, want %v", i, got.Headers[j], want.Headers[j])
			}
		}
		if cap(got.Value) != len(got.Value) || cap(got.Headers) != len(got.Headers) {
			t.Fatalf("record %d: an append to it would write into its neighbour", i)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	o := NewOutcomes(nil, "outcomes", 12, "stream", 12)
	all, now := answers(1000), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		o.records(3, all, now)
	}
}
