package httpapi_test

import (
	"strings"
	"testing"
)

// TestByHand: why a code is not issued or blocked, as programs are told.
func TestByHand(t *testing.T) {
	s := open(t)
	for _, id := range []string{"live", "draft", "dry", "over"} {
		s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "x", "description": "d", "id": "`+id+`"}`)
		s.Fill(id, 0, id+"-A", id+"-B", id+"-C")
		if id != "draft" {
			s.Want(200, "POST", "/v1/pools/"+id+"/launch", "")
		}
	}
	const live = "/v1/pools/live"
	s.Want(200, "POST", live+"/codes/live-A/issue", `{"request_id": "r-1", "customer_id": "c-1"}`)
	s.Want(200, "POST", live+"/codes/live-A/issue", `{"request_id": "r-1", "customer_id": "c-1"}`)
	s.Want(200, "POST", live+"/issue", `{"request_id": "r-1", "customer_id": "c-1"}`)
	s.Want(200, "POST", live+"/codes/live-B/block", "")
	s.Want(200, "PATCH", "/v1/pools/over", `{"issue_end": "2020-01-01T00:00:00Z"}`)
	for _, code := range []string{"A", "B", "C"} {
		s.Want(200, "POST", "/v1/pools/dry/codes/dry-"+code+"/block", `{"note": null}`)
	}
	ask := func(request, customer string) string {
		return `{"request_id": "` + request + `", "customer_id": "` + customer + `"}`
	}
	for _, tt := range []struct {
		name, path, body string
		status           int
		kind, reason     string
		says             string
	}{
		{name: "AnothersRequest", path: live + "/issue", body: ask("r-1", "c-2"), status: 409, kind: "request-conflict", reason: "request_conflict"},
		{name: "OtherCode", path: live + "/codes/live-C/issue", body: ask("r-1", "c-1"), status: 409, kind: "request-conflict", reason: "request_conflict"},
		{name: "Issued", path: live + "/codes/live-A/issue", body: ask("r-2", "c-1"), status: 409, kind: "code-issued", reason: "code_issued"},
		{name: "Blocked", path: live + "/codes/live-B/issue", body: ask("r-2", "c-1"), status: 409, kind: "code-blocked", reason: "code_blocked"},
		{name: "Draft", path: "/v1/pools/draft/issue", body: ask("r-2", "c-1"), status: 409, kind: "pool-not-active", reason: "pool_not_active"},
		{name: "DraftCode", path: "/v1/pools/draft/codes/draft-A/issue", body: ask("r-2", "c-1"), status: 409, kind: "pool-not-active", reason: "pool_not_active"},
		{name: "Exhausted", path: "/v1/pools/dry/issue", body: ask("r-2", "c-1"), status: 409, kind: "pool-exhausted", reason: "pool_exhausted"},
		{name: "NoneNow", path: "/v1/pools/over/issue", body: ask("r-2", "c-1"), status: 409, kind: "no-code-in-window", reason: "no_code_in_window"},
		{name: "NotNow", path: "/v1/pools/over/codes/over-A/issue", body: ask("r-2", "c-1"), status: 409, kind: "code-not-in-window", reason: "code_not_in_window"},
		{name: "BlockInDraft", path: "/v1/pools/draft/codes/draft-A/block", status: 409, kind: "wrong-state", says: "draft"},

		{name: "NoPool", path: "/v1/pools/none/issue", body: ask("r-2", "c-1"), status: 404, kind: "not-found"},
		{name: "NoCode", path: live + "/codes/none/issue", body: ask("r-2", "c-1"), status: 404, kind: "not-found", says: "capitals"},
		{name: "OddCode", path: live + "/codes/a%00/issue", body: ask("r-2", "c-1"), status: 404, kind: "not-found"},
		{name: "BlockNoCode", path: live + "/codes/none/block", status: 404, kind: "not-found", says: "capitals"},
		{name: "UnblockNoPool", path: "/v1/pools/none/codes/none/unblock", status: 404, kind: "not-found"},
		{name: "NoRequest", path: live + "/issue", body: `{"customer_id": "c"}`, status: 422, kind: "invalid-settings", says: `"request_id"`},
		{name: "NoCustomer", path: live + "/issue", body: `{"request_id": "r"}`, status: 422, kind: "invalid-settings", says: `"customer_id"`},
		{name: "NullCustomer", path: live + "/issue", body: `{"request_id": "r", "customer_id": null}`, status: 422, kind: "invalid-settings", says: `"customer_id"`},
		{name: "NUL", path: live + "/issue", body: ask(`\u0000`, "c"), status: 422, kind: "invalid-settings", says: `"request_id"`},
		{name: "Long", path: live + "/issue", body: ask("r", strings.Repeat("x", 201)), status: 422, kind: "invalid-settings", says: `"customer_id"`},
		{name: "Context", path: live + "/issue", body: `{"request_id": "r", "customer_id": "c", "context": {}}`, status: 422, kind: "invalid-settings", says: `"context"`},
		{name: "EmptyBody", path: live + "/issue", status: 415, kind: "unsupported-media-type"},
		{name: "LongNote", path: live + "/codes/live-C/block", body: `{"note": "` + strings.Repeat("x", 1001) + `"}`, status: 422, kind: "invalid-settings", says: `"note"`},
		{name: "NoteNumber", path: live + "/codes/live-C/block", body: `{"note": 1}`, status: 422, kind: "invalid-settings", says: `"note"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := s.Want(tt.status, "POST", tt.path, tt.body)
			if r.Get("type") != "/problems/"+tt.kind || !strings.Contains(string(r.body), tt.says) {
				t.Errorf("got %s", r.body)
			}
			if tt.reason != "" && r.Get("reason") != tt.reason {
				t.Errorf("got %s, want reason %s", r.body, tt.reason)
			}
		})
	}
	if got := s.Want(200, "GET", live+"/stock", ""); got.Get("issued") != 1.0 || got.Get("withdrawn") != 1.0 {
		t.Errorf("got %s", got.body)
	}
	s.wantQuiet("live-", "dry-")
}
