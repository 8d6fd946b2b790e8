package domain

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPseudonyms(t *testing.T) {
	p, q := NewPseudonyms(bytes.Repeat([]byte{1}, 32)), NewPseudonyms(bytes.Repeat([]byte{2}, 32))
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		alias := p.Customer(a)
		switch {
		case !IsPseudonym(alias) || !IsPseudonym(p.Order(a)) || !ValidEventID(alias):
			t.Fatalf("%q is no pseudonym", alias)
		case (alias == p.Customer(b)) != (a == b):
			t.Fatalf("%q and %q are called %s and %s", a, b, alias, p.Customer(b))
		case alias == q.Customer(a) || alias == p.Order(a) || alias == p.Customer(alias):
			t.Fatalf("%q is called the same by another key, as an order, or twice", a)
		case a != "" && len(a) > 3 && strings.Contains(alias, a):
			t.Fatalf("%q is in %s", a, alias)
		}
		i := &Issuance{CustomerID: alias, Pseudonyms: p}
		if !i.IssuedTo(a) || i.IssuedTo(b) != (a == b) || !i.IssuedTo(alias) {
			t.Fatalf("%s is not %q's, or %q's", alias, a, b)
		}
	})
	// RFC 4231 has no vector with such a key; this one is made by openssl dgst -mac HMAC.
	if got := p.Customer("c-1001"); got != "erased:gDd9KkTqMwLYofIMrzuzNw" {
		t.Errorf("got %s", got)
	}
	for text, want := range map[string]bool{
		"erased:AAAAAAAAAAAAAAAAAAAAAA": true, "erased:-_AAAAAAAAAAAAAAAAAAAA": true,
		"erased:": false, "erased:c-1001": false, "erased:AAAAAAAAAAAAAAAAAAAAA": false, "erased:AAAAAAAAAAAAAAAAAAAAAAA": false,
		"erased:+/AAAAAAAAAAAAAAAAAAAA": false, "Erased:AAAAAAAAAAAAAAAAAAAAAA": false, "AAAAAAAAAAAAAAAAAAAAAA": false, "": false,
	} {
		if IsPseudonym(text) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
	// A customer who is called so where nobody was ever erased is a customer.
	if i := (&Issuance{CustomerID: "erased:AAAAAAAAAAAAAAAAAAAAAA"}); !i.IssuedTo("erased:AAAAAAAAAAAAAAAAAAAAAA") || i.IssuedTo("c") {
		t.Error("not the customer's own")
	}
}

// TestAssignErased: a repeat of an erased customer's request has its code, and whoever
// else uses its id has none.
func TestAssignErased(t *testing.T) {
	p := NewPseudonyms(bytes.Repeat([]byte{1}, 32))
	pool := &Pool{Key: 1, ID: "p", State: Active}
	stored := &Issuance{Pool: pool, Code: "X", RequestID: "r", CustomerID: p.Customer("ann"), Pseudonyms: p, IssuedAt: noon}
	known := map[Key]*Issuance{{1, "r"}: stored}
	requests := []Request{
		{Offset: 0, PoolID: "p", RequestID: "r", CustomerID: "ann", Context: []byte(`{"a":1}`)},
		{Offset: 1, PoolID: "p", RequestID: "r", CustomerID: "bob"},
	}
	plan := Assign(noon.Add(time.Hour), []Batch{{Requests: requests, Shelves: map[string]*Shelf{"p": {Pool: pool}}}}, known)
	ann, bob := plan.Outcomes[0][0], plan.Outcomes[0][1]
	if ann.Verdict != Repeated || ann.Issue != stored || ann.Alias != stored.CustomerID {
		t.Errorf("the erased customer: got %+v", ann)
	}
	if value := string(AppendIssued(nil, ann.Issue)); strings.Contains(value, "ann") || !strings.Contains(value, `"context":null`) {
		t.Errorf("told %s", value)
	}
	if bob.Verdict != Rejected || bob.Reason != RequestConflict || bob.Alias != "" {
		t.Errorf("another: got %+v", bob)
	}
	outcomes, err := Replay(Range{End: 1}, requests[:1], map[string]*Pool{"p": pool}, known)
	if err != nil || outcomes[0].Issue != stored || outcomes[0].Alias != stored.CustomerID {
		t.Errorf("replayed: %+v, %v", outcomes, err)
	}
	if _, err := Replay(Range{End: 2}, requests[1:], map[string]*Pool{"p": pool}, known); err == nil {
		t.Error("another's request is taken for the erased customer's")
	}
	rejected := Outcome{Request: &requests[0], Verdict: Rejected, Reason: PoolExhausted, DecidedAt: noon, Alias: "erased:x"}
	if value := string(AppendRejected(nil, &rejected)); strings.Contains(value, "ann") || strings.Contains(value, `"a"`) || !strings.Contains(value, `"customer_id":"erased:x"`) {
		t.Errorf("told %s", value)
	}
}
