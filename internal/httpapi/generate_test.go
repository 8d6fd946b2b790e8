package httpapi_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestGenerate(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach"}`)
	const pool = "/v1/pools/beach"
	r := s.Want(202, "POST", pool+"/generate", `{"count": 1000000000, "issue_end": "2100-01-01T02:00:00+02:00"}`, "Idempotency-Key", "first")
	for field, want := range map[string]any{
		"kind": "generation", "status": "completed", "added": 1e9, "rows": 1e9, "bytes": 0.0, "file_name": "",
		"pattern": "#############", "alphabet": "23456789ABCDEFGHJKMNPQRSTUVWXYZ", "pool_id": "beach",
	} {
		if got := r.Get(field); got != want {
			t.Errorf("%s: got %v, want %v", field, got, want)
		}
	}
	again := s.Want(202, "POST", pool+"/generate", `{"count": 1000000000, "issue_end": "2100-01-01T00:00:00Z", "length": 13}`, "Idempotency-Key", "first")
	if again.Get("task") != r.Get("task") || again.Header.Get("Location") != r.Header.Get("Location") {
		t.Errorf("got %s again, want %s", again.body, r.body)
	}
	s.Want(200, "GET", r.Header.Get("Location"), "")
	if got := s.Want(404, "GET", r.Header.Get("Location")+"/file", ""); !strings.Contains(string(got.body), "were generated") {
		t.Errorf("got %s", got.body)
	}
	s.Want(202, "POST", pool+"/generate", `{"count": 5, "prefix": "A9-", "length": 12, "alphabet": "abcdefghkm", "suffix": "#"}`)
	list := s.Want(200, "GET", pool+"/imports", "").Get("items").([]any)
	if len(list) != 2 || list[0].(map[string]any)["pattern"] != `\A\9-############\#` {
		t.Errorf("got %v", list)
	}
	if got := s.Want(200, "GET", pool+"/stock", ""); got.Get("available") != 1e9+5 {
		t.Errorf("got %s", got.body)
	}
	space := s.Want(200, "GET", pool+"/space?length=13&count=1000", "")
	for field, want := range map[string]any{"made": 1e9, "guess_odds": 1e9 / 24417546297445042591.0, "max_guess_odds": 1e-6, "most": 1e12, "refused": nil} {
		if got := space.Get(field); got != want {
			t.Errorf("%s: got %v, want %v", field, got, want)
		}
	}
	if !strings.Contains(string(space.body), `"space":24417546297445042591,`) || !strings.Contains(string(space.body), `"remaining":24417546296445042591,`) {
		t.Errorf("got %s", space.body)
	}
	for _, sample := range space.Get("samples").([]any) {
		s.Want(404, "GET", pool+"/codes/"+url.PathEscape(sample.(string)), "")
	}
	if got := s.Want(200, "GET", pool+"/space?pattern=AAAAAAAAAAAAA", ""); got.Get("refused.type") != "/problems/pattern-meets" || len(got.Get("samples").([]any)) != 0 {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "GET", pool+"/space?pattern=B-9999&count=2", ""); got.Get("refused.type") != "/problems/guessable" || got.Get("guess_odds_after") != 2e-4 || got.Get("most") != 0.0 {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(409, "POST", pool+"/imports", "A\n", "Content-Type", "text/csv").Get("type"); got != "/problems/filled-otherwise" {
		t.Errorf("got %v", got)
	}
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "filled"}`)
	s.Fill("filled", 0, "A")
	if got := s.Want(200, "GET", "/v1/pools/filled/space", ""); got.Get("refused.type") != "/problems/filled-otherwise" || got.Get("most") != 0.0 {
		t.Errorf("got %s", got.body)
	}
	s.Want(409, "POST", "/v1/pools/filled/generate", `{"count": 1}`)
}

func TestGenerateProblems(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "description": "d"}`)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "old", "description": "d"}`)
	s.Want(200, "POST", "/v1/pools/old/launch", "")
	s.Want(200, "POST", "/v1/pools/old/archive", "")
	s.Want(202, "POST", "/v1/pools/beach/generate", `{"count": 1, "pattern": "S-######"}`, "Idempotency-Key", "k")
	for _, tt := range []struct {
		name, path, body string
		header           []string
		status           int
		kind, says       string
	}{
		{name: "NoPool", path: "/v1/pools/none/generate", body: `{"count": 1}`, status: 404, kind: "not-found"},
		{name: "Archived", path: "/v1/pools/old/generate", body: `{"count": 1}`, status: 409, kind: "wrong-state", says: "archived"},
		{name: "NoCount", body: `{}`, status: 422, kind: "invalid-settings", says: `"field":"count"`},
		{name: "NullCount", body: `{"count": null}`, status: 422, kind: "invalid-settings", says: `"field":"count"`},
		{name: "ZeroCount", body: `{"count": 0}`, status: 422, kind: "invalid-settings", says: `"field":"count"`},
		{name: "HugeCount", body: `{"count": 1000000000001}`, status: 422, kind: "invalid-settings", says: "1000000000000"},
		{name: "HalfCount", body: `{"count": 1.5}`, status: 422, kind: "invalid-settings", says: "whole number"},
		{name: "Unknown", body: `{"count": 1, "patern": "#"}`, status: 422, kind: "invalid-settings", says: "patern"},
		{name: "BothForms", body: `{"count": 1, "pattern": "########", "length": 3}`, status: 422, kind: "invalid-settings", says: "give it or them"},
		{name: "BadPattern", body: `{"count": 1, "pattern": "#\\"}`, status: 422, kind: "invalid-settings", says: `"field":"pattern"`},
		{name: "EmptyPattern", body: `{"count": 1, "pattern": ""}`, status: 422, kind: "invalid-settings", says: `"field":"pattern"`},
		{name: "BadAlphabet", body: `{"count": 1, "alphabet": "aa"}`, status: 422, kind: "invalid-settings", says: `"field":"alphabet"`},
		{name: "EmptyAlphabet", body: `{"count": 1, "alphabet": ""}`, status: 422, kind: "invalid-settings", says: `"field":"alphabet"`},
		{name: "NoLength", body: `{"count": 1, "length": 0}`, status: 422, kind: "invalid-settings", says: `"field":"length"`},
		{name: "HugeLength", body: `{"count": 1, "length": 1000000000}`, status: 422, kind: "invalid-settings", says: `"field":"length"`},
		{name: "LongLength", body: `{"count": 1, "length": 26}`, status: 422, kind: "invalid-settings", says: "2^127"},
		{name: "NoOdds", body: `{"count": 1, "max_guess_odds": 0}`, status: 422, kind: "invalid-settings", says: "max_guess_odds"},
		{name: "SureOdds", body: `{"count": 1, "max_guess_odds": 2}`, status: 422, kind: "invalid-settings", says: "max_guess_odds"},
		{name: "BadTime", body: `{"count": 1, "issue_end": "tomorrow"}`, status: 422, kind: "invalid-settings", says: "issue_end"},
		{name: "Over", body: `{"count": 1, "issue_end": "2020-01-01T00:00:00Z"}`, status: 422, kind: "invalid-settings", says: "is over"},
		{name: "Guessable", body: `{"count": 1000000, "pattern": "S-######"}`, status: 422, kind: "guessable", says: "at most 886 codes"},
		{name: "Meets", body: `{"count": 1, "pattern": "A-######"}`, status: 422, kind: "pattern-meets", says: "S-######"},
		{name: "KeyReused", body: `{"count": 2, "pattern": "S-######"}`, header: []string{"Idempotency-Key", "k"}, status: 422, kind: "idempotency-key-reused"},
		{name: "LongKey", body: `{"count": 2}`, header: []string{"Idempotency-Key", strings.Repeat("k", 201)}, status: 400, kind: "bad-request"},
		{name: "OddQuery", path: "/v1/pools/beach/space?pattern=9&nonsense=1", status: 400, kind: "bad-request", says: "is not known"},
		{name: "OddCount", path: "/v1/pools/beach/space?count=0", status: 400, kind: "bad-request", says: "count"},
		{name: "OddLength", path: "/v1/pools/beach/space?length=x", status: 400, kind: "bad-request", says: "length"},
		{name: "OddOdds", path: "/v1/pools/beach/space?max_guess_odds=NaN", status: 400, kind: "bad-request", says: "max_guess_odds"},
		{name: "OddPattern", path: "/v1/pools/beach/space?pattern=%ff", status: 422, kind: "invalid-settings", says: "pattern"},
		{name: "SpaceOfNoPool", path: "/v1/pools/none/space", status: 404, kind: "not-found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			method := "POST"
			if tt.path == "" {
				tt.path = "/v1/pools/beach/generate"
			}
			if tt.body == "" {
				method = "GET"
			}
			r := s.Want(tt.status, method, tt.path, tt.body, tt.header...)
			if r.Get("type") != "/problems/"+tt.kind || !strings.Contains(string(r.body), tt.says) {
				t.Errorf("got %s, want %s about %s", r.body, tt.kind, tt.says)
			}
		})
	}
	s.t = t
	if got := s.Want(200, "GET", "/v1/pools/beach/stock", "").Get("total"); got != 1.0 {
		t.Errorf("got %v codes, want 1", got)
	}
}

// TestReplenishSetting: members that are not named stay, those of the pattern
// together.
func TestReplenishSetting(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "replenish": {"below": 5, "count": 10, "length": 9}}`)
	for _, tt := range []struct {
		patch, want string // want: the setting; "": refused
		says        string
	}{
		{`{}`, `{"below":5,"count":10,"pattern":"#########","alphabet":"23456789ABCDEFGHJKMNPQRSTUVWXYZ","max_guess_odds":0.000001,"stopped":null}`, ""},
		{`{"replenish": {"below": 7}}`, `{"below":7,"count":10,"pattern":"#########",`, ""},
		{`{"replenish": {"pattern": "B-########", "max_guess_odds": 0.5}}`, `{"below":7,"count":10,"pattern":"B-########",`, ""},
		{`{"replenish": {"length": 30, "alphabet": "01", "prefix": "9"}}`, `{"below":7,"count":10,"pattern":"\\9##############################","alphabet":"01","max_guess_odds":0.5,"stopped":null}`, ""},
		{`{"replenish": {"prefix": "x"}}`, "", "which codes"},
		{`{"replenish": {"below": 0}}`, "", "below"},
		{`{"replenish": {"count": -1}}`, "", "count"},
		{`{"replenish": {"pattern": "99", "count": 51}}`, "", "at most 50 codes"},
		{`{"replenish": {"pattern": "9", "count": 6}}`, "", "at most 5 codes"},
		{`{"replenish": {"stopped": null}}`, "", "stopped"},
		{`{"replenish": true}`, "", "object"},
		{`{"multi_use": true}`, "", "never runs dry"},
		{`{"replenish": null}`, `null`, ""},
		{`{"replenish": {"below": 7, "count": 3}}`, "", "which codes"},
		{`{"replenish": {"below": 7, "pattern": "#########"}}`, "", "needs count"},
		{`{"replenish": {"count": 7, "pattern": "#########"}}`, "", "needs below"},
	} {
		status := 200
		if tt.want == "" {
			status = 422
		}
		r := s.Want(status, "PATCH", "/v1/pools/beach", tt.patch)
		want := tt.says
		if status == 200 {
			want = fmt.Sprintf(`"replenish":%s`, tt.want)
		}
		if !strings.Contains(string(r.body), want) {
			t.Errorf("%s: got %s, want %s", tt.patch, r.body, want)
		}
	}
	// Odds are no whole numbers.
	if got := s.Want(200, "GET", "/v1/pools/beach/history", ""); !strings.Contains(string(got.body), `"replenish.max_guess_odds":{"from":0.000001,"to":0.5}`) {
		t.Errorf("got %s", got.body)
	}
}
