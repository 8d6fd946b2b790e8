package httpapi_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"promopool/internal/domain"
	"promopool/internal/guesses"
)

// shop makes an active pool of which the code ONE is issued to "customer".
func shop(t *testing.T, s *site, settings string) {
	t.Helper()
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "description": "d"`+settings+`}`)
	s.Want(200, "POST", "/v1/pools/beach/launch", "")
	s.Fill("beach", 1, "ONE", "TWO", "THREE", "FOUR")
}

// TestRedeemRepeated: a repeat gets the same bytes, a rejection too, whatever the
// way to ask.
func TestRedeemRepeated(t *testing.T) {
	s := open(t)
	shop(t, s, "")
	const beach, context = "/v1/pools/beach", `{ "a":  [1, "<é>"] }`
	body := fmt.Sprintf(`{"redemption_id": "r-1", "customer_id": "anna", "order_id": null, "occurred_at": "2026-07-01T10:00:00+02:00", "context": %s}`, context)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	first := s.Want(200, "POST", beach+"/codes/ONE/redeem", body, "traceparent", trace)
	if got := string(first.body); !strings.HasSuffix(got, `,"context":`+context+"}\n") || !strings.Contains(got, `"occurred_at":"2026-07-01T08:00:00Z"`) {
		t.Errorf("got %s", got)
	}
	again := s.Want(200, "POST", beach+"/codes/%20ONE/redeem", `{"redemption_id": "r-1", "customer_id": "anna"}`)
	read := s.Want(200, "GET", beach+"/redemptions/r-1", "")
	if string(again.body) != string(first.body) || string(read.body) != string(first.body) {
		t.Errorf("first %s, then %s, read %s", first.body, again.body, read.body)
	}
	conflict := s.Want(409, "POST", beach+"/codes/TWO/redeem", body)
	if conflict.Get("reason") != "redemption_conflict" || !strings.HasSuffix(string(conflict.body), `,"context":`+context+"}\n") {
		t.Errorf("got %s", conflict.body)
	}
	refused := s.Want(409, "POST", beach+"/codes/ONE/redeem", `{"redemption_id": "r-2"}`)
	if refused.Get("type") != "/problems/redemption-rejected" || refused.Get("reason") != "already_redeemed" || strings.Contains(string(refused.body), "ONE") {
		t.Errorf("got %s", refused.body)
	}
	if again := s.Want(409, "POST", beach+"/codes/ONE/redeem", `{"redemption_id": "r-2"}`); string(again.body) != string(refused.body) {
		t.Errorf("first %s, then %s", refused.body, again.body)
	}
	if got := s.Want(200, "GET", beach+"/redemptions/r-2", ""); got.Get("reason") != "already_redeemed" || got.Get("code") != "ONE" {
		t.Errorf("got %s", got.body)
	}

	s.Want(200, "POST", beach+"/redemptions/r-1/rollback", "")
	back := s.Want(200, "POST", beach+"/codes/ONE/redeem", body)
	if without := strings.Replace(string(back.body), fmt.Sprintf("%q", back.Get("rolled_back_at")), "null", 1); back.Get("rolled_back_at") == nil || without != string(first.body) {
		t.Errorf("first %s, rolled back %s", first.body, back.body)
	}
	if got := s.Want(409, "POST", beach+"/redemptions/r-2/rollback", "").Get("type"); got != "/problems/not-redeemed" {
		t.Errorf("got %v", got)
	}
	s.Want(404, "POST", beach+"/redemptions/r-9/rollback", "")
	s.Want(404, "GET", beach+"/redemptions/r-9", "")
	s.Want(404, "GET", "/v1/pools/nowhere/redemptions/r-1", "")

	events := s.redemptionsTold()
	var told []string
	for _, e := range events {
		told = append(told, strings.TrimPrefix(e.Type, "promopool.")+" "+e.Key+" "+e.Traceparent)
	}
	want := "code.redeemed beach " + trace + ", redemption.rejected beach , redemption.rejected beach , code.redemption_rolled_back beach "
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if string(events[0].Value) != strings.TrimSuffix(string(first.body), "\n") {
		t.Errorf("answered %s, told %s", first.body, events[0].Value)
	}
}

// redemptionsTold are the outcomes of redemptions that wait in the outbox.
func (s *site) redemptionsTold() []domain.Event {
	s.t.Helper()
	events, err := s.store.Unpublished(s.t.Context(), 100)
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(events, func(e domain.Event) bool { return e.Topic != domain.ToRedemptionOutcomes })
}

// TestCheckChangesNothing: a check answers as a redemption, as often as it is
// asked.
func TestCheckChangesNothing(t *testing.T) {
	s := open(t)
	shop(t, s, `, "check_issued": true, "validity": null`)
	const beach = "/v1/pools/beach"
	for range 3 {
		if got := s.Want(200, "POST", beach+"/codes/ONE/check", `{"customer_id": "customer"}`); got.Get("issued_to") != "customer" || got.Get("redemption_id") != nil {
			t.Errorf("got %s", got.body)
		}
	}
	for path, want := range map[string]string{
		"beach/codes/TWO": "not_issued", "beach/codes/NONE": "code_not_found", "beach/codes/ONE": "not_issued_to_customer", "nowhere/codes/ONE": "pool_not_found",
		"beach/codes/%20": "code_not_found",
	} {
		if got := s.Want(409, "POST", "/v1/pools/"+path+"/check", `{"customer_id": "bert"}`); got.Get("reason") != want || got.Get("redemption_id") != nil {
			t.Errorf("%s: got %s, want %s", path, got.body, want)
		}
	}
	s.Want(200, "POST", beach+"/codes/ONE/redeem", `{"redemption_id": "r-1", "customer_id": "customer"}`)
	if got := s.Want(200, "POST", beach+"/codes/ONE/check", `{"redemption_id": "r-1", "customer_id": "customer"}`); got.Get("redemption_id") != "r-1" {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(409, "POST", beach+"/codes/ONE/check", `{"customer_id": "customer"}`); got.Get("reason") != "already_redeemed" {
		t.Errorf("got %s", got.body)
	}
	if events := s.redemptionsTold(); len(events) != 1 {
		t.Errorf("%d events, want that of the redemption", len(events))
	}
}

func TestRedeemBodies(t *testing.T) {
	s := open(t)
	shop(t, s, "")
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + `"]\"{"` + strings.Repeat("]", n) + "}" }
	for body, want := range map[string]int{
		`{}`:                                      422,
		`{"redemption_id": null}`:                 422,
		`{"redemption_id": ""}`:                   422,
		`{"redemption_id": "a\u0000"}`:            422,
		`{"redemption_id": 5}`:                    422,
		`{"redemption_id": "r", "more": 1}`:       422,
		`{"redemption_id": "r", "context": []}`:   422,
		`{"redemption_id": "r", "context": "{}"}`: 422,
		`{"redemption_id": "r", "context": {"a": "` + strings.Repeat("x", 4096) + `"}}`: 422,
		`{"redemption_id": "r", "context": ` + deep(127) + `}`:                          422,
		`{"redemption_id": "r", "occurred_at": "yesterday"}`:                            422,
		`{"redemption_id": "` + strings.Repeat("r", 201) + `"}`:                         422,
		`[]`: 400,
		`{"redemption_id": "deep", "context": ` + deep(126) + `}`: 200,
	} {
		s.Want(want, "POST", "/v1/pools/beach/codes/ONE/redeem", body)
	}
	s.Want(400, "POST", "/v1/pools/beach/codes/"+strings.Repeat("x", 201)+"/redeem", `{"redemption_id": "r"}`)
	s.Want(400, "POST", "/v1/pools/beach/codes/%00/check", `{}`)
	s.Want(400, "POST", "/v1/pools/beach/codes/%ff/check", `{}`)
}

// TestGuessingExternal: where another system judges no code is rejected, and whoever
// tries codes that are none is limited all the same: an answer tells whose a code is.
func TestGuessingExternal(t *testing.T) {
	s := open(t)
	s.limits = guesses.Limits{Caller: guesses.Limit{PerMinute: 1, Burst: 5}, Pool: guesses.Limit{PerMinute: 1, Burst: 50}}
	s.serve(s.store)
	shop(t, s, `, "processing": "external"`)
	const beach = "/v1/pools/beach"
	for n := range 20 {
		s.Want(200, "POST", beach+"/codes/ONE/check", `{}`)
		s.Want(200, "POST", beach+"/codes/ONE/redeem", fmt.Sprintf(`{"redemption_id": "known-%d"}`, n))
		s.Want(200, "POST", beach+"/codes/GUESS/redeem", `{"redemption_id": "unknown"}`) // as before, but for the first
	}
	for n := range 4 {
		s.Want(200, "POST", fmt.Sprintf("%s/codes/GUESS-%d/check", beach, n), `{}`)
	}
	s.Want(429, "POST", beach+"/codes/GUESS-5/check", `{}`)
	s.Want(429, "POST", beach+"/codes/GUESS-6/redeem", `{"redemption_id": "guess"}`)
}

// TestGuessing: who tries codes that are none is turned away for a while; who
// redeems is not, and neither is a repeat counted. No code is logged.
func TestGuessing(t *testing.T) {
	s := open(t)
	s.limits = guesses.Limits{Caller: guesses.Limit{PerMinute: 1, Burst: 5}, Pool: guesses.Limit{PerMinute: 1, Burst: 50}}
	s.serve(s.store)
	shop(t, s, "")
	const beach = "/v1/pools/beach"
	for n := range 20 {
		s.Want(200, "POST", beach+"/codes/ONE/check", `{}`)
		s.Want(200, "POST", beach+"/codes/TWO/redeem", `{"redemption_id": "r-1"}`)
		if n == 0 {
			s.Want(409, "POST", beach+"/codes/TWO/redeem", `{"redemption_id": "r-2"}`)
		}
		s.Want(409, "POST", beach+"/codes/TWO/redeem", `{"redemption_id": "r-2"}`) // as before
	}
	for range 2 {
		s.Want(409, "POST", beach+"/codes/GUESS-1/check", `{}`)
		s.Want(409, "POST", "/v1/pools/nowhere/codes/GUESS-2/check", `{}`)
	}
	for _, path := range []string{"/codes/GUESS-3/check", "/codes/GUESS-4/redeem", "/codes/ONE/redeem"} {
		got := s.Want(429, "POST", beach+path, `{"redemption_id": "r-9"}`)
		if wait, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 61 || got.Get("type") != "/problems/too-many-tries" {
			t.Errorf("got %s to wait for, %s", got.Header.Get("Retry-After"), got.body)
		}
	}
	if metrics := string(s.Want(200, "GET", "/metrics", "").body); !strings.Contains(metrics, `promopool_redemption_tries_limited_total{scope="caller"} 3`) {
		t.Error("not counted")
	}
	if log := s.log.String(); strings.Count(log, "turning more away") != 1 || strings.Contains(log, "GUESS") {
		t.Errorf("logged %s", log)
	}
	s.Want(404, "GET", beach+"/redemptions/r-9", "") // not even looked at
}
