package producer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/segmentio/kafka-go"
	"go.yaml.in/yaml/v3"

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

// TestHeadersDescribed: what is published has the headers that asyncapi.yaml
// names, each as it says, and no other.
func TestHeadersDescribed(t *testing.T) {
	d := describe(t, "codeIssued", "codeRejected", "deadLetter")
	all := answers(10)
	all[9].Traceparent = all[0].Traceparent // of a rejection too
	for _, r := range NewOutcomes(nil, "outcomes", 12, "cluster/topic/1", 12).records(3, all, time.Now()) {
		message := "codeIssued"
		if bytes.Contains(r.Value, []byte(`"rejected_at"`)) {
			message = "codeRejected"
		}
		d.Check(t, message, r.Headers)
	}
	letters := NewDeadLetters(nil, nil, "dead", 12, "requests", "cluster/topic/1")
	r := letters.record(3, &DeadLetter{Offset: 7, Value: bytes.Repeat([]byte("x"), 5000), Reason: "not_json", Detail: "it is no JSON"})
	d.Check(t, "deadLetter", r.Headers)
	d.Check(t, "deadLetter", truncated(r).Headers)
	for header := range d.left {
		t.Errorf("nothing was published with %s", header)
	}
}

// description is asyncapi.yaml, and which of its headers were not seen yet.
type description struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	left     map[string]bool // "codeIssued ce_id"
}

func describe(t *testing.T, messages ...string) *description {
	t.Helper()
	text, err := os.ReadFile("../../schemas/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := &description{compiler: jsonschema.NewCompiler(), left: map[string]bool{}}
	d.compiler.AssertFormat()
	if err := yaml.Unmarshal(text, &d.doc); err != nil {
		t.Fatal(err)
	}
	if err := d.compiler.AddResource("asyncapi.json", d.doc); err != nil {
		t.Fatal(err)
	}
	for _, message := range messages {
		for name := range d.names(message) {
			d.left[message+" "+name] = true
		}
	}
	return d
}

// names are the headers of a message.
func (d *description) names(message string) map[string]any {
	schemas := d.doc["components"].(map[string]any)
	headers := schemas["messages"].(map[string]any)[message].(map[string]any)["headers"].(map[string]any)
	all := maps.Clone(headers["properties"].(map[string]any))
	common, _ := headers["allOf"].([]any)
	for _, c := range common {
		name := path.Base(c.(map[string]any)["$ref"].(string))
		maps.Copy(all, schemas["schemas"].(map[string]any)[name].(map[string]any)["properties"].(map[string]any))
	}
	return all
}

func (d *description) Check(t *testing.T, message string, headers []kafka.Header) {
	t.Helper()
	schema, err := d.compiler.Compile("asyncapi.json#/components/messages/" + message + "/headers")
	if err != nil {
		t.Fatal(err)
	}
	got, named := map[string]any{}, d.names(message)
	for _, h := range headers {
		if _, ok := named[h.Key]; !ok {
			t.Errorf("%s has the header %s, which asyncapi.yaml has not", message, h.Key)
		}
		if _, ok := got[h.Key]; ok {
			t.Errorf("%s has %s twice", message, h.Key)
		}
		got[h.Key] = string(h.Value)
		delete(d.left, message+" "+h.Key)
	}
	if err := schema.Validate(got); err != nil {
		t.Errorf("%s leaves its description: %v", message, err)
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
