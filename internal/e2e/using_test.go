package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/producer"
)

// event is a CloudEvent as a reader sees it.
type event struct {
	ID, Type, Subject, Key string
	Value                  []byte
	data                   map[string]any
}

// feed is the events of a topic, each once.
type feed struct {
	*reader
	seen  map[string]bool
	queue []event
}

func (w *world) feed(topic string) *feed {
	return &feed{reader: w.reader(topic), seen: map[string]bool{}}
}

// Events waits for n more events.
func (f *feed) Events(n int) []event {
	f.w.t.Helper()
	if len(f.queue) < n {
		f.more(30*time.Second, func(_ int, rec *consumer.Record) bool {
			e := event{ID: string(consumer.Header(rec, "ce_id")), Type: strings.TrimPrefix(string(consumer.Header(rec, "ce_type")), "promopool."),
				Subject: string(consumer.Header(rec, "ce_subject")), Key: string(rec.Key), Value: rec.Value}
			if err := json.Unmarshal(rec.Value, &e.data); err != nil {
				f.w.t.Errorf("event is not JSON: %v", err)
			}
			if !f.seen[e.ID] {
				f.seen[e.ID] = true
				f.queue = append(f.queue, e)
			}
			return len(f.queue) >= n
		})
	}
	if len(f.queue) < n {
		f.w.t.Fatalf("%d events on %s, want %d: %v", len(f.queue), f.topic, n, f.queue)
	}
	got := f.queue[:n:n]
	f.queue = f.queue[n:]
	return got
}

func (e event) String() string { return e.Type + string(e.Value) }

// Redeem publishes redemption requests and waits for their outcomes, in the order
// of the requests.
func (w *world) Redeem(outcomes *feed, requests ...map[string]any) []event {
	w.t.Helper()
	for _, r := range requests {
		value, err := json.Marshal(r)
		if err != nil {
			w.t.Fatal(err)
		}
		key := []byte(fmt.Sprint(r["code"]))
		rec := producer.Record{Key: key, Value: value, Time: time.Now(), Headers: []kafka.Header{
			{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte("promopool.redemption.requested")},
			{Key: "ce_id", Value: []byte(fmt.Sprint(r["redemption_id"]))}, {Key: "ce_source", Value: []byte("/test")},
		}}
		if err := w.producer.Publish(w.t.Context(), w.names.RedemptionRequests, producer.Partition(key, partitions), []producer.Record{rec}); err != nil {
			w.t.Fatal(err)
		}
	}
	ordered := make([]event, len(requests))
	for found := 0; found < len(requests); {
		e := outcomes.Events(1)[0]
		if i := slices.IndexFunc(requests, func(r map[string]any) bool { return r["redemption_id"] == e.data["redemption_id"] }); i >= 0 {
			ordered[i] = e
			found++
		}
	}
	return ordered
}

// TestUsing walks through the second half of the help article, as staff, a shop
// and other systems see it by HTTP and Kafka. The same walk at a terminal is
// internal/cli/testdata/script/using.txtar.
func TestUsing(t *testing.T) {
	w := newWorld(t)
	anna := staff{t: t, base: w.Serve().http, name: "anna"}
	shop := staff{t: t, base: w.Serve().http, name: "shop 7"} // on another process
	issues, redemptions := w.feed(w.names.Outcomes), w.feed(w.names.RedemptionOutcomes)
	pools, notices := w.feed(w.names.PoolEvents), w.feed(w.names.Notifications)

	// A pool that asks whether a code was issued, and tells before it runs dry.
	anna.Want(201, "POST", "/v1/campaigns", `{"name": "Summer 2026"}`)
	anna.Want(201, "POST", "/v1/pools", `{"id": "beach", "campaign_id": "summer-2026", "name": "Beach", "description": "Twenty percent off",
		"check_issued": true, "validity": "P30D", "notify_below": 9}`)
	var file strings.Builder
	for i := range 10 {
		fmt.Fprintf(&file, "c0de-%d\n", i)
	}
	anna.Upload("/v1/pools/beach/imports", asCSV, "beach.csv", file.String())
	const pool = "/v1/pools/beach"

	// Two who want to know, one of them in two ways, and one who does not any more.
	for _, who := range []string{"Ann", "Ben", "Cid"} {
		anna.Want(201, "POST", "/v1/staff", fmt.Sprintf(`{"id": %q, "name": %q, "email": "%s@example.com"}`, strings.ToLower(who), who, strings.ToLower(who)))
	}
	anna.Want(200, "PUT", "/v1/staff/ann/subscriptions/all", "")
	anna.Want(200, "PUT", "/v1/staff/ben/subscriptions/pool:beach", "")
	anna.Want(200, "PUT", "/v1/staff/ben/subscriptions/campaign:summer-2026", "")
	anna.Want(200, "PUT", "/v1/staff/cid/subscriptions/all", "")
	anna.Want(200, "PATCH", "/v1/staff/cid", `{"active": false}`)
	anna.Refused(404, "not-found", "", "", "PUT", "/v1/staff/ann/subscriptions/pool:nowhere", "")

	anna.Want(200, "POST", pool+"/launch", "")
	if got := pools.Events(1)[0]; got.Type != "pool.launched" || got.Subject != "beach" || got.Key != "beach" || got.data["name"] != "Beach" {
		t.Errorf("got %v", got)
	}

	// One code goes over Kafka, one by hand, to whom staff have on the telephone.
	w.Send(ask{pool: "beach", request: "r-1", customer: "c-1"})
	over := issues.Events(1)[0]
	first := over.data["code"].(string)
	anna.Want(200, "POST", pool+"/codes/c0de-7/issue", `{"request_id": "phone-1", "customer_id": "c-2"}`).
		shows(map[string]any{"code": "c0de-7", "customer_id": "c-2", "request_id": "phone-1", "context": nil})
	if got := issues.Events(1)[0]; got.Type != "code.issued" || got.Key != "c-2" || got.data["code"] != "c0de-7" {
		t.Errorf("got %v", got)
	}
	anna.Want(200, "POST", pool+"/codes/c0de-7/issue", `{"request_id": "phone-1", "customer_id": "c-2"}`) // again: the same
	anna.Want(409, "POST", pool+"/codes/c0de-7/issue", `{"request_id": "phone-2", "customer_id": "c-3"}`)
	w.Send(ask{pool: "beach", request: "phone-1", customer: "c-2"}) // the other way round: the same
	if got := w.reader(w.names.Outcomes).Answers(3, 20*time.Second); !slices.ContainsFunc(got, func(a answer) bool {
		return a.RequestID == "phone-1" && a.From != "/" && a.Code == "c0de-7"
	}) {
		t.Errorf("got %v", got)
	}

	// Below nine: told once, to each once.
	if got := pools.Events(1)[0]; got.Type != "pool.low" || got.data["remaining"] != 8.0 || got.data["threshold"] != 9.0 {
		t.Errorf("got %v", got)
	}
	var told []string
	for _, n := range notices.Events(2) {
		told = append(told, fmt.Sprint(n.data["staff_id"], " ", n.data["address"], " ", n.data["kind"]))
		if text := n.data["text"].(string); !strings.Contains(text, "Beach") || !strings.Contains(text, "8") || !strings.Contains(text, "/pools/beach") {
			t.Errorf("got %s", text)
		}
	}
	slices.Sort(told)
	if want := []string{"ann ann@example.com pool_low", "ben ben@example.com pool_low"}; !slices.Equal(told, want) {
		t.Errorf("got %v", told)
	}
	next := anna.Want(200, "POST", pool+"/issue", `{"request_id": "phone-3", "customer_id": "c-3"}`).get("code").(string)

	// At the till: asked first, then redeemed, once.
	shop.Want(200, "POST", pool+"/codes/"+first+"/check", `{"customer_id": "c-1"}`)
	done := shop.Want(200, "POST", pool+"/codes/"+first+"/redeem", `{"redemption_id": "till-1", "customer_id": "c-1", "order_id": "o-1"}`)
	done.shows(map[string]any{"redemption_id": "till-1", "code": first, "issued_to": "c-1", "processing": "internal", "order_id": "o-1"})
	shop.Want(200, "POST", pool+"/codes/"+first+"/redeem", `{"redemption_id": "till-1", "customer_id": "c-1", "order_id": "o-1"}`)
	refused := func(code, body, reason string) {
		t.Helper()
		shop.Want(409, "POST", pool+"/codes/"+code+"/redeem", body).shows(map[string]any{"reason": reason})
	}
	refused(first, `{"redemption_id": "till-2", "customer_id": "c-1"}`, "already_redeemed")
	refused("c0de-7", `{"redemption_id": "till-3", "customer_id": "c-1"}`, "not_issued_to_customer")
	refused("c0de-none", `{"redemption_id": "till-4", "customer_id": "c-1"}`, "code_not_found")
	spare := "c0de-9"
	if spare == first || spare == next {
		t.Fatal("the last code was issued first")
	}
	refused(spare, `{"redemption_id": "till-5", "customer_id": "c-1"}`, "not_issued")
	shop.Want(409, "POST", pool+"/codes/"+first+"/check", `{"customer_id": "c-1"}`).shows(map[string]any{"reason": "already_redeemed"})
	redemptions.Events(5)

	// The same over Kafka, where a shop's till speaks it.
	over2 := w.Redeem(redemptions,
		map[string]any{"redemption_id": "k-1", "pool_id": "beach", "code": "c0de-7", "customer_id": "c-2", "context": map[string]any{"till": 4}},
		map[string]any{"redemption_id": "k-2", "pool_id": "beach", "code": first, "customer_id": "c-1"},
		map[string]any{"redemption_id": "k-3", "pool_id": "nowhere", "code": "x"},
	)
	if over2[0].Type != "code.redeemed" || over2[0].data["issued_to"] != "c-2" || over2[1].data["reason"] != "already_redeemed" || over2[2].data["reason"] != "pool_not_found" {
		t.Errorf("got %v", over2)
	}

	// Brought back: rolled back, and redeemed again.
	anna.Want(200, "POST", pool+"/redemptions/till-1/rollback", "")
	anna.Want(200, "POST", pool+"/redemptions/till-1/rollback", "")
	if got := redemptions.Events(1)[0]; got.Type != "code.redemption_rolled_back" || got.data["redemption_id"] != "till-1" {
		t.Errorf("got %v", got)
	}
	if got := shop.Want(200, "POST", pool+"/codes/"+first+"/redeem", `{"redemption_id": "till-1", "customer_id": "c-1", "order_id": "o-1"}`); got.get("rolled_back_at") == nil {
		t.Errorf("got %s", got.body)
	}
	shop.Want(200, "POST", pool+"/codes/"+first+"/redeem", `{"redemption_id": "till-6", "customer_id": "c-1"}`)

	// Blocked, a code is neither issued nor redeemed; unblocked, it is in stock again.
	anna.Want(200, "POST", pool+"/codes/"+spare+"/block", `{"note": "printed by mistake"}`).shows(map[string]any{"state": "blocked"})
	anna.Want(200, "POST", pool+"/codes/"+next+"/block", "")
	refused(next, `{"redemption_id": "till-7", "customer_id": "c-3"}`, "blocked")
	anna.Want(409, "POST", pool+"/codes/"+spare+"/issue", `{"request_id": "phone-4", "customer_id": "c-4"}`)
	anna.Want(200, "GET", pool+"/stock", "").shows(map[string]any{"total": 10.0, "issued": 3.0, "available": 6.0, "withdrawn": 1.0, "redeemed": 2.0})
	anna.Want(200, "POST", pool+"/codes/"+spare+"/unblock", "").shows(map[string]any{"state": "available"})
	anna.Want(200, "GET", pool+"/stock", "").shows(map[string]any{"available": 7.0, "withdrawn": 0.0})

	// Refilled, it is armed again; a raised threshold is a crossing too.
	anna.Upload(pool+"/imports", asText, "", "c0de-10\nc0de-11\nc0de-12\n")
	if got := pools.Events(1)[0]; got.Type != "pool.replenished" || got.data["remaining"] != 10.0 {
		t.Errorf("got %v", got)
	}
	anna.Want(200, "PATCH", pool, `{"notify_below": 11}`)
	if got := pools.Events(1)[0]; got.Type != "pool.low" || got.data["threshold"] != 11.0 {
		t.Errorf("got %v", got)
	}
	notices.Events(2)

	// Another system judges: what it reports is recorded. And codes that many use.
	anna.Want(201, "POST", "/v1/pools", `{"id": "partner", "campaign_id": "summer-2026", "name": "Partner", "description": "x", "processing": "external"}`)
	anna.Upload("/v1/pools/partner/imports", asText, "", "c0de-ours\n")
	anna.Want(200, "POST", "/v1/pools/partner/launch", "")
	anna.Want(201, "POST", "/v1/pools", `{"id": "all", "campaign_id": "summer-2026", "name": "All", "description": "x", "multi_use": true, "redemption_limit": 3, "redemption_limit_per_customer": 2}`)
	anna.Upload("/v1/pools/all/imports", asText, "", "c0de-HELLO\n")
	anna.Want(200, "POST", "/v1/pools/all/launch", "")
	reported := w.Redeem(redemptions,
		map[string]any{"redemption_id": "p-1", "pool_id": "partner", "code": "c0de-theirs", "order_id": "o-9"},
		map[string]any{"redemption_id": "a-1", "pool_id": "all", "code": "c0de-HELLO", "customer_id": "c-1"},
		map[string]any{"redemption_id": "a-2", "pool_id": "all", "code": "c0de-HELLO", "customer_id": "c-1"},
		map[string]any{"redemption_id": "a-3", "pool_id": "all", "code": "c0de-HELLO", "customer_id": "c-1"},
		map[string]any{"redemption_id": "a-4", "pool_id": "all", "code": "c0de-HELLO", "customer_id": "c-2"},
		map[string]any{"redemption_id": "a-5", "pool_id": "all", "code": "c0de-HELLO", "customer_id": "c-3"},
	)
	if reported[0].Type != "code.redeemed" || reported[0].data["processing"] != "external" {
		t.Errorf("got %v", reported[0])
	}
	for i, want := range []string{"code.redeemed", "code.redeemed", "limit_reached", "code.redeemed", "limit_reached"} {
		if got := reported[i+1]; got.Type != want && got.data["reason"] != want {
			t.Errorf("redemption %d: got %v, want %s", i+1, got, want)
		}
	}

	// What a customer has, and the end of it.
	var page struct{ Items []map[string]any }
	anna.Want(200, "GET", "/v1/customers/c-1/codes", "").into(&page)
	if len(page.Items) != 1 || page.Items[0]["code"] != first || page.Items[0]["state"] != "redeemed" {
		t.Errorf("got %v", page)
	}
	anna.Want(200, "DELETE", "/v1/customers/c-1", "")
	anna.Want(200, "GET", "/v1/customers/c-1/codes", "").into(&page)
	if len(page.Items) != 0 {
		t.Errorf("got %v", page)
	}
	if got := anna.Want(200, "GET", pool+"/issuances/r-1", ""); bytes.Contains(got.body, []byte(`"c-1"`)) {
		t.Errorf("got %s", got.body)
	}

	// An archived pool issues nothing, but its issued codes are redeemed.
	anna.Want(200, "POST", pool+"/archive", "")
	anna.Want(200, "POST", pool+"/codes/"+next+"/unblock", "")
	anna.Want(409, "POST", pool+"/issue", `{"request_id": "phone-5", "customer_id": "c-5"}`)
	shop.Want(200, "POST", pool+"/codes/"+next+"/redeem", `{"redemption_id": "till-8", "customer_id": "c-3"}`)
	w.Verify()
}
