package e2e

import (
	"testing"
	"time"
)

func TestIssueOne(t *testing.T) {
	w := newWorld(t)
	w.Pool("spring", 10)
	w.Serve()
	start := time.Now()
	w.Send(ask{pool: "spring", request: "r-1", customer: "anna"})
	got := w.reader(w.names.Outcomes).Answers(1, 20*time.Second)[0]
	t.Logf("answered after %v: %s", time.Since(start), got.Value)
	if got.Type != "code.issued" || got.Code != "spring-0" || got.CustomerID != "anna" || got.Key != "anna" {
		t.Errorf("got %+v", got)
	}
}
