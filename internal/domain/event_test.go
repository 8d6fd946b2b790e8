package domain

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func exampleIssuance() *Issuance {
	return &Issuance{
		Pool: &Pool{Key: 3, ID: "summer-sale", CampaignID: "summer", ParameterName: "promo_code"},
		Code: "SUMMER-7KQ2-M9XD", RequestID: "r-1", CustomerID: "c-1001", Context: []byte(`{"workflow": "welcome", "step": 3}`),
		IssuedAt:  time.Date(2026, 6, 30, 10, 0, 0, 123456789, time.UTC),
		ValidFrom: time.Date(2026, 7, 1, 0, 0, 0, 0, time.FixedZone("CEST", 7200)), ValidUntil: time.Date(2026, 7, 31, 0, 0, 0, 500_000_000, time.UTC),
	}
}

func TestAppendIssued(t *testing.T) {
	i := exampleIssuance()
	const want = `{"request_id":"r-1","pool_id":"summer-sale","campaign_id":"summer","customer_id":"c-1001","code":"SUMMER-7KQ2-M9XD",` +
		`"parameter_name":"promo_code","issued_at":"2026-06-30T10:00:00.123456Z","valid_from":"2026-06-30T22:00:00Z",` +
		`"valid_until":"2026-07-31T00:00:00.5Z","context":{"workflow": "welcome", "step": 3}}`
	if got := string(AppendIssued(nil, i)); got != want {
		t.Errorf("event %s\nwant  %s", got, want)
	}
	i.ValidUntil, i.Context = time.Time{}, nil
	bounded := strings.NewReplacer(`"2026-07-31T00:00:00.5Z"`, "null", `{"workflow": "welcome", "step": 3}`, "null").Replace(want)
	if got := string(AppendIssued([]byte("x"), i)); got != "x"+bounded {
		t.Errorf("event %s\nwant  x%s", got, bounded)
	}
}

func TestAppendRejected(t *testing.T) {
	o := &Outcome{
		Request: &Request{PoolID: "summer-sale", RequestID: "r-1", CustomerID: "c-1001", Context: []byte(`{"a":"\u0000"}`)},
		Verdict: Rejected, Reason: PoolExhausted, DecidedAt: time.Date(2026, 6, 30, 10, 0, 0, 0, time.UTC),
	}
	const want = `{"request_id":"r-1","pool_id":"summer-sale","customer_id":"c-1001","reason":"pool_exhausted",` +
		`"detail":"The pool has no code left.","rejected_at":"2026-06-30T10:00:00Z","context":{"a":"\u0000"}}`
	if got := string(AppendRejected(nil, o)); got != want {
		t.Errorf("event %s\nwant  %s", got, want)
	}
}

// TestAppendAnyString: whatever the strings are, the event is JSON and says them.
func TestAppendAnyString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Filter(utf8.ValidString)
		i := exampleIssuance()
		i.RequestID, i.CustomerID, i.Code = text.Draw(t, "request"), text.Draw(t, "customer"), text.Draw(t, "code")
		pool := *i.Pool
		pool.ID, pool.CampaignID, pool.ParameterName = text.Draw(t, "pool"), text.Draw(t, "campaign"), text.Draw(t, "parameter")
		i.Pool = &pool
		wantMembers(t, AppendIssued(nil, i), map[string]string{
			"request_id": i.RequestID, "customer_id": i.CustomerID, "code": i.Code,
			"pool_id": pool.ID, "campaign_id": pool.CampaignID, "parameter_name": pool.ParameterName,
		})
		r := &Request{PoolID: pool.ID, RequestID: i.RequestID, CustomerID: i.CustomerID}
		o := &Outcome{Request: r, Verdict: Rejected, Reason: rapid.SampledFrom(Reasons).Draw(t, "reason"), DecidedAt: noon}
		wantMembers(t, AppendRejected(nil, o), map[string]string{
			"request_id": r.RequestID, "customer_id": r.CustomerID, "pool_id": r.PoolID, "reason": o.Reason.String(), "detail": o.Reason.Detail(),
		})
	})
}

func wantMembers(t *rapid.T, event []byte, want map[string]string) {
	var got map[string]any
	if err := json.Unmarshal(event, &got); err != nil {
		t.Fatalf("%v: %s", err, event)
	}
	for name, s := range want {
		if got[name] != s {
			t.Fatalf("%s is %q, want %q: %s", name, got[name], s, event)
		}
	}
}

func TestAppendEveryByte(t *testing.T) {
	var all strings.Builder
	for r := rune(0); r < 0x300; r++ {
		all.WriteRune(r)
	}
	all.WriteString("\u2028\u2029\ufeff\uffff\U0010ffff")
	var got string
	if err := json.Unmarshal(appendString(nil, all.String()), &got); err != nil || got != all.String() {
		t.Errorf("%v: %q", err, got)
	}
}

func TestEventTime(t *testing.T) {
	for want, at := range map[string]time.Time{
		"2026-07-01T12:00:00Z":        noon,
		"2026-07-01T12:00:00.000001Z": noon.Add(time.Microsecond),
		"2026-07-01T12:00:00.1Z":      noon.Add(100 * time.Millisecond),
		"2026-07-01T12:00:00.999999Z": noon.Add(time.Second - 1),
		"2026-07-01T10:00:00Z":        time.Date(2026, 7, 1, 12, 0, 0, 0, time.FixedZone("CEST", 7200)),
	} {
		if got := EventTime(at); got != want {
			t.Errorf("time %s, want %s", got, want)
		}
	}
}

// Times are written as the standard library writes them.
func TestEventTimeAny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-70_000_000_000, 400_000_000_000).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond"))
		if got, want := EventTime(at), at.UTC().Format("2006-01-02T15:04:05.999999Z07:00"); got != want {
			t.Fatalf("time %s, want %s", got, want)
		}
	})
}

// TestEventIDs pins the ids: a repeat from a later version must carry the same.
func TestEventIDs(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{IssuedEventID("summer-sale", "r-1"), "cc3bddea-7e1a-8e34-be4f-4cdbfab17e12"},
		{IssuedEventID("p", "ü😀"), "81ab5f6e-58b8-882b-98aa-8819d17621d6"},
		{IssuedEventID(strings.Repeat("p", 200), strings.Repeat("r", 200)), "aa23c381-d737-8485-bba6-eb32cf1375d3"},
		{RejectedEventID("kafka/promo.code-requests/1", 11, 1<<40), "b17f10aa-d766-8aab-9c48-5dc878d06557"},
	} {
		if c.got != c.want {
			t.Errorf("id %s, want %s", c.got, c.want)
		}
	}
}

func TestEventIDsDiffer(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]string{}
	note := func(what, id string) {
		if !form.MatchString(id) {
			t.Errorf("%s: %s is no UUID of version 8", what, id)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have the same id", what, other)
		}
		seen[id] = what
	}
	note("ab c", IssuedEventID("ab", "c"))
	note("a bc", IssuedEventID("a", "bc"))
	note("abc", IssuedEventID("abc", ""))
	note("rejected s 1 2", RejectedEventID("s", 1, 2))
	note("rejected s 12", RejectedEventID("s", 12, 0))
	note("rejected s1 2", RejectedEventID("s1", 2, 0))
	note("rejected s 1 20", RejectedEventID("s", 1, 20))
}

func TestValidEventID(t *testing.T) {
	for s, want := range map[string]bool{
		"":                             false,
		"a":                            true,
		"\n":                           true,
		strings.Repeat("x", 200):       true,
		strings.Repeat("x", 201):       false,
		strings.Repeat("ü", 100):       true,
		strings.Repeat("ü", 100) + "x": false,
		"a\x00":                        false,
		"a\xff":                        false,
	} {
		if got := ValidEventID(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestDataSchema(t *testing.T) {
	if got, want := DataSchema(TypeCodeIssued), "urn:promopool:schema:code.issued:1"; got != want {
		t.Errorf("schema %s, want %s", got, want)
	}
}
