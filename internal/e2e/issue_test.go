package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func TestIssueOne(t *testing.T) {
	w := newWorld(t)
	w.Pool("spring", 10)
	w.Serve()
	w.Send(ask{pool: "spring", request: "r-1", customer: "anna"})
	got := w.reader(w.names.Outcomes).Answers(1, 20*time.Second)[0]
	if got.Type != "code.issued" || got.Code != "c0de-spring-0" || got.CustomerID != "anna" || got.Key != "anna" {
		t.Errorf("got %+v", got)
	}
	if want := string((ask{}).record().Headers[4].Value); got.Traceparent != want {
		t.Errorf("traceparent %q, want %q", got.Traceparent, want)
	}
}

// ledger is what a reader of the outcomes has learned.
type ledger struct {
	issued   map[string]answer // by pool and request
	codes    map[string]string // by pool and code: the request
	rejected map[string]int    // by reason
}

func newLedger() *ledger {
	return &ledger{issued: map[string]answer{}, codes: map[string]string{}, rejected: map[string]int{}}
}

// add takes an outcome in and says what is wrong with it.
func (l *ledger) add(a answer) error {
	if a.Type == "code.rejected" {
		l.rejected[a.Reason]++
		return nil
	}
	request, code := a.PoolID+"/"+a.RequestID, a.PoolID+"/"+a.Code
	if first, ok := l.issued[request]; ok && (first.ID != a.ID || first.Time != a.Time || !bytes.Equal(first.Value, a.Value)) {
		return fmt.Errorf("request %s answered differently: %s %s %s, then %s %s %s", request, first.ID, first.Time, first.Value, a.ID, a.Time, a.Value)
	}
	if other, ok := l.codes[code]; ok && other != request {
		return fmt.Errorf("code %s issued to %s and %s", code, other, request)
	}
	l.issued[request], l.codes[code] = a, request
	return nil
}

// learn reads n outcomes into the ledger.
func (l *ledger) learn(t testing.TB, r *reader, n int, within time.Duration) {
	t.Helper()
	for _, a := range r.Answers(n, within) {
		if err := l.add(a); err != nil {
			t.Error(err)
		}
	}
}

// TestIssueRepeated: 24,000 requests over three pools, a fifth of them repeated
// on another key, and everything published a second time.
func TestIssueRepeated(t *testing.T) {
	const distinct = 24_000
	w := newWorld(t)
	var asks []ask
	for i := range distinct {
		a := ask{pool: fmt.Sprintf("pool-%d", i%3), request: fmt.Sprintf("r-%06d", i), customer: fmt.Sprintf("c-%d", i%5000)}
		asks = append(asks, a)
		if i%5 == 0 {
			a.key = fmt.Sprintf("other-%d", i)
			asks = append(asks, a)
		}
	}
	for p := range 3 {
		w.Pool(fmt.Sprintf("pool-%d", p), distinct/3+p*1000)
	}
	w.Serve()
	w.Serve()
	w.Send(asks...)
	l, r := newLedger(), w.reader(w.names.Outcomes)
	l.learn(t, r, len(asks), 60*time.Second)
	w.Send(asks...)
	l.learn(t, r, len(asks), 60*time.Second)
	if len(l.issued) != distinct || len(l.codes) != distinct || len(l.rejected) != 0 {
		t.Errorf("%d requests with a code, %d codes, rejected %v; want %d of each and none", len(l.issued), len(l.codes), l.rejected, distinct)
	}
	w.Verify()
}
