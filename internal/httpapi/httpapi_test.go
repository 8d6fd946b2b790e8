package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/exporting"
	"promopool/internal/guesses"
	"promopool/internal/httpapi"
	"promopool/internal/importing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/redeeming"
)

// site is the interface over a real store, with a runner of imports behind it.
// Every answer is held against openapi.yaml.
type site struct {
	t        *testing.T
	store    *postgres.Store
	runner   *importing.Runner
	server   *httptest.Server
	contract *contract
	url      string // of the database
	log      *lines
	limits   guesses.Limits

	mu     sync.Mutex
	routes map[string]bool // guarded by mu; every pattern that matched
	last   string          // guarded by mu
	under  int             // guarded by mu; requests whose handlers have not returned
	ended  *sync.Cond      // one has
}

// lines is a log that several may write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func open(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, url: pgtest.Database(t, postgres.Migrate), contract: readContract(t), log: new(lines), routes: map[string]bool{},
		limits: guesses.Limits{Caller: guesses.Limit{PerMinute: 60, Burst: 100}, Pool: guesses.Limit{PerMinute: 60, Burst: 100}}}
	s.ended = sync.NewCond(&s.mu)
	var err error
	if s.store, err = postgres.Open(t.Context(), s.url, "test", 20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	s.runner = importing.New(s.store, zerolog.New(s.log), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s.serve(s.store)
	s.Want(201, "POST", "/v1/campaigns", `{"name": "Summer"}`)
	return s
}

// serve serves the pools given instead of the store's.
func (s *site) serve(pools httpapi.Pools) {
	registry := prometheus.NewRegistry()
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	intake := importing.NewIntake(s.store, uploadLimit, s.runner.Wake)
	intake.Keep = time.Hour
	h := httpapi.New(httpapi.Deps{
		Campaigns: s.store, Pools: pools, Staffing: s.store, Stocks: s.store, Exports: exporting.New(s.store), Generating: s.store, ByHand: s.store,
		Customers: s.store, Erasing: shredder{s.store},
		Redeeming: redeeming.New(s.store, func() {}, registry), Guesses: guesses.New(s.limits, zerolog.New(s.log), registry), Metrics: registry,
		Log:          zerolog.New(s.log),
		ImportRoutes: httpapi.ImportRoutes(intake, s.store, zerolog.New(s.log)),
		Probes: map[string]http.Handler{
			"/healthz": ok, "/readyz": ok, "/metrics": promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		},
	})
	s.server = httptest.NewUnstartedServer(nil)
	s.server.Config = httpapi.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.under++
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.routes[r.Pattern], s.last = true, r.Pattern
			s.under--
			s.ended.Broadcast()
		}()
		h.ServeHTTP(w, r)
	}), zerolog.New(s.log))
	s.server.Start()
	s.t.Cleanup(s.server.Close)
}

// reply is an answer that has been read.
type reply struct {
	*http.Response
	t    *testing.T
	body []byte
}

// Get is the value of a field, "a.b" for one within another.
func (r reply) Get(field string) any {
	r.t.Helper()
	var v any
	if err := json.Unmarshal(r.body, &v); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
	for _, name := range strings.Split(field, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			r.t.Fatalf("no %s in %s", field, r.body)
		}
		v = m[name]
	}
	return v
}

// Do sends a request. Pairs of a header's name and value may follow the body.
func (s *site) Do(method, path, body string, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{Response: r, t: s.t, body: b}
}

// Want sends a request, wants the status, and holds the answer against the
// contract. Only one may run at a time.
func (s *site) Want(status int, method, path, body string, header ...string) reply {
	s.t.Helper()
	r := s.Do(method, path, body, header...)
	if r.StatusCode != status {
		s.t.Errorf("%s %s: got %s, want %d: %s", method, path, r.Status, status, r.body)
	}
	s.contract.Check(s.t, s.route(), r.Response, r.body)
	return r
}

// route is the pattern of the last request. Its answer may be here before its handler
// has returned.
func (s *site) route() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.under > 0 {
		s.ended.Wait()
	}
	return s.last
}

// Fill lays down a lot of codes, and the first issued of them to requests.
func (s *site) Fill(pool string, issued int, codes ...string) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{`WITH n AS MATERIALIZED (SELECT nextval('lot_numbers')::int AS lot),
		       c AS (INSERT INTO codes (pool, lot, seq, code)
		             SELECT p.pool, n.lot, u.at - 1, u.code FROM n, pools p, unnest($2::text[]) WITH ORDINALITY u(code, at) WHERE p.id = $1)
		  SELECT add_lot(p.pool, n.lot, cardinality($2::text[]), NULL, NULL, NULL, NULL, NULL) FROM n, pools p WHERE p.id = $1`, []any{pool, codes}},
		{`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id, context)
		  SELECT r.pool, r.lot, i, clock_timestamp(), clock_timestamp(), 'request/' || i, 'customer', '{"a":1}'
		    FROM runs r JOIN pools p USING (pool), generate_series(0, $2::int - 1) i WHERE p.id = $1`, []any{pool, issued}},
		{"UPDATE runs SET next = $2 WHERE pool = (SELECT pool FROM pools WHERE id = $1)", []any{pool, issued}},
		{`INSERT INTO unlisted (at, pools, lots, firsts, counts)
		  SELECT clock_timestamp(), ARRAY[r.pool], ARRAY[r.lot], ARRAY[0], ARRAY[$2::bigint] FROM runs r JOIN pools p USING (pool) WHERE p.id = $1`, []any{pool, issued}},
	} {
		if _, err := conn.Exec(s.t.Context(), step.sql, step.args...); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestWalk uses every endpoint rightly once, and so sees every route of the
// contract and every answer that it promises for success.
func TestWalk(t *testing.T) {
	s := open(t)
	for _, probe := range []string{"/healthz", "/readyz", "/metrics"} {
		s.Want(200, "GET", probe, "")
	}
	s.Want(200, "GET", "/v1/campaigns", "")
	s.Want(200, "GET", "/v1/campaigns/summer", "")
	if got := s.Want(200, "PATCH", "/v1/campaigns/summer", `{"name": "Été"}`).Get("name"); got != "Été" {
		t.Errorf("got %v", got)
	}
	p := s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "Été 2026: -20 %", "notify_below": 5}`)
	if got := p.Header.Get("Location"); got != "/v1/pools/ete-2026-20" {
		t.Errorf("got Location %s", got)
	}
	want := map[string]any{
		"id": "ete-2026-20", "campaign_id": "summer", "name": "Été 2026: -20 %", "description": "", "parameter_name": "promo_code",
		"notify": true, "notify_below": 5.0, "multi_use": false, "check_issued": false, "validity": nil, "processing": "internal", "replenish": nil,
		"redemption_limit": nil, "redemption_limit_per_customer": nil,
		"issue_start": nil, "issue_end": nil, "state": "draft", "version": 1.0, "created_at": p.Get("created_at"), "launched_at": nil, "archived_at": nil,
	}
	var got map[string]any
	if err := json.Unmarshal(p.body, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const pool = "/v1/pools/ete-2026-20"
	if list := s.Want(200, "GET", "/v1/pools?campaign_id=summer&state=draft", ""); len(list.Get("items").([]any)) != 1 {
		t.Errorf("got %s", list.body)
	}
	if got := s.Want(409, "POST", pool+"/launch", "").Get("type"); got != "/problems/not-launchable" {
		t.Errorf("got %v", got)
	}
	tag := s.Want(200, "GET", pool, "").Header.Get("ETag")
	edit := s.Want(200, "PATCH", pool, `{"description": "off", "check_issued": true, "validity": "P30DT12H", "notify": false}`, "If-Match", tag, "Content-Type", "application/merge-patch+json")
	if edit.Get("notify_below") != 5.0 || edit.Get("validity") != "P30DT12H" || edit.Header.Get("ETag") != `"2"` {
		t.Errorf("got %s with tag %s", edit.body, edit.Header.Get("ETag"))
	}
	s.Want(412, "PATCH", pool, `{"name": "late"}`, "If-Match", tag)
	if list := s.Want(200, "GET", "/v1/pools?q=%C3%A9T%C3%89", ""); len(list.Get("items").([]any)) != 1 {
		t.Errorf("got %s", list.body)
	}
	if list := s.Want(200, "GET", "/v1/campaigns?q=winter", ""); len(list.Get("items").([]any)) != 0 {
		t.Errorf("got %s", list.body)
	}
	s.Fill("ete-2026-20", 2, "A/1", "B 2", "..", "é", "100%")
	file := s.Want(202, "POST", pool+"/imports", "code;note\nC-3;\n100%;\nC-3;\n", "Content-Type", "text/csv", "Content-Disposition", `attachment; filename="more.csv"`)
	task := file.Header.Get("Location")
	for !domain.ImportStatus(s.Want(200, "GET", task, "").Get("status").(string)).Ended() {
	}
	if got := s.Want(200, "GET", task, ""); got.Get("added") != 1.0 || got.Get("unchanged") != 1.0 || got.Get("refused") != 1.0 || got.Get("file_name") != "more.csv" {
		t.Errorf("got %s", got.body)
	}
	if list := s.Want(200, "GET", pool+"/imports", ""); len(list.Get("items").([]any)) != 1 {
		t.Errorf("got %s", list.body)
	}
	if got, want := string(s.Want(200, "GET", task+"/rejected.csv", "").body), "code;note;line;reason\nC-3;;4;duplicate_in_file\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.Want(200, "GET", task+"/file", ""); string(got.body) != "code;note\nC-3;\n100%;\nC-3;\n" || got.Header.Get("Content-Disposition") != "attachment; filename=more.csv" {
		t.Errorf("got %q with %v", got.body, got.Header)
	}
	s.Want(200, "GET", "/v1/imports", "")
	s.Want(200, "GET", "/v1/import-template.csv", "")
	s.Want(200, "GET", "/v1/import-template.xlsx", "")
	s.Want(412, "POST", pool+"/launch", "", "If-Match", tag)
	if got := s.Want(200, "POST", pool+"/launch", "{}", "If-Match", `"2"`); got.Get("state") != "active" || got.Get("launched_at") == nil {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "GET", pool+"/stock", ""); got.Get("total") != 6.0 || got.Get("available") != 4.0 || got.Get("issued") != 2.0 {
		t.Errorf("got %s", got.body)
	}
	for code, state := range map[string]string{"A%2F1": "issued", "B%202": "issued", "%2E%2E": "available", "e%CC%81": "available", "100%25": "available", "%20100%25%20": "available"} {
		if got := s.Want(200, "GET", pool+"/codes/"+code, ""); got.Get("state") != state {
			t.Errorf("%s: got %s", code, got.body)
		}
	}
	if got := s.Want(200, "GET", pool+"/codes.csv?state=issued", ""); !strings.Contains(string(got.body), "\nB 2,issued,,,,,1,customer,request/1,") {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "GET", pool+"/issuances/request%2F1", ""); got.Get("code") != "B 2" || got.Get("context.a") != 1.0 {
		t.Errorf("got %s", got.body)
	}
	s.Want(200, "POST", pool+"/codes/B%202/check", `{"customer_id": "customer"}`)
	if got := s.Want(200, "POST", pool+"/codes/B%202/redeem", `{"redemption_id": "till/1", "customer_id": "customer"}`); got.Get("issued_to") != "customer" {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "POST", pool+"/redemptions/till%2F1/rollback", ""); got.Get("rolled_back_at") == nil {
		t.Errorf("got %s", got.body)
	}
	s.Want(200, "GET", pool+"/redemptions/till%2F1", "")
	if got := s.Want(200, "GET", "/v1/customers/customer/codes", ""); len(got.Get("items").([]any)) != 2 || got.Get("next") != nil {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(202, "DELETE", "/v1/customers/customer", ""); got.Get("done") != false || got.Get("held_until") != nil {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "DELETE", "/v1/customers/customer", "", "Promopool-Actor", "anna"); got.Get("issuances") != 2.0 || got.Get("redemptions") != 1.0 || got.Get("done_at") == nil {
		t.Errorf("got %s", got.body)
	}
	s.Want(409, "DELETE", pool, "")
	if got := s.Want(200, "POST", pool+"/issue", `{"request_id": "desk/1", "customer_id": "c-1"}`); got.Get("code") != ".." || got.Get("context") != nil {
		t.Errorf("got %s", got.body)
	}
	byHand := s.Want(200, "POST", pool+"/codes/C-3/issue", `{"request_id": "desk/2", "customer_id": "c-1"}`, "Promopool-Actor", "anna")
	if again := s.Want(200, "GET", pool+"/issuances/desk%2F2", ""); string(again.body) != string(byHand.body) || byHand.Get("code") != "C-3" {
		t.Errorf("got %s and %s", byHand.body, again.body)
	}
	if got := s.Want(200, "POST", pool+"/codes/100%25/block", `{"note": "in the newspaper"}`, "Promopool-Actor", "anna"); got.Get("state") != "blocked" || got.Get("issue") != nil {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "GET", pool+"/stock", ""); got.Get("withdrawn") != 1.0 || got.Get("issued") != 4.0 || got.Get("available") != 1.0 {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "GET", pool+"/codes.csv?state=blocked", ""); !strings.Contains(string(got.body), "\n100%,blocked,") {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(200, "POST", pool+"/codes/100%25/unblock", ""); got.Get("state") != "available" || len(got.Get("history").([]any)) != 3 {
		t.Errorf("got %s", got.body)
	}
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "made"}`)
	if got := s.Want(200, "GET", "/v1/pools/made/space?pattern=S-%23%23%23%23%23", ""); got.Get("most") != 28.0 {
		t.Errorf("got %s", got.body)
	}
	if got := s.Want(202, "POST", "/v1/pools/made/generate", `{"count": 1000000000}`); got.Get("status") != "completed" || got.Get("added") != 1e9 {
		t.Errorf("got %s", got.body)
	}
	s.Want(200, "POST", pool+"/archive", "")
	s.Want(409, "POST", pool+"/launch", "")
	s.Want(409, "DELETE", "/v1/campaigns/summer", "")
	if list := s.Want(200, "GET", pool+"/history", ""); len(list.Get("items").([]any)) != 4 {
		t.Errorf("got %s", list.body)
	}
	if list := s.Want(200, "GET", "/v1/campaigns/summer/history", ""); len(list.Get("items").([]any)) != 2 {
		t.Errorf("got %s", list.body)
	}
	s.Want(201, "POST", "/v1/campaigns", `{"id": "brief", "name": "Brief"}`)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "brief", "name": "x", "id": "gone"}`)
	file = s.Want(202, "POST", "/v1/pools/gone/imports", strings.Repeat("A\n", uploadLimit/2), "Content-Type", "text/plain")
	if got := s.Want(200, "POST", file.Header.Get("Location")+"/cancel", ""); got.Get("status") != "cancelled" {
		t.Errorf("got %s", got.body)
	}
	s.Want(204, "DELETE", "/v1/pools/gone", "")
	s.Want(204, "DELETE", "/v1/campaigns/brief", "")

	if made := s.Want(201, "POST", "/v1/staff", `{"name": "Ann É.", "email": "ann@example.com"}`); made.Header.Get("Location") != "/v1/staff/ann-e" || made.Get("active") != true {
		t.Errorf("got %s", made.body)
	}
	const ann = "/v1/staff/ann-e"
	for _, scope := range []string{"pool:ete-2026-20", "all", "campaign:summer", "all"} {
		s.Want(200, "PUT", ann+"/subscriptions/"+scope, "")
	}
	if got := s.Want(200, "GET", ann, "").Get("subscriptions"); !cmp.Equal(got, []any{"all", "campaign:summer", "pool:ete-2026-20"}) {
		t.Errorf("got %v", got)
	}
	s.Want(204, "DELETE", ann+"/subscriptions/all", "")
	s.Want(204, "DELETE", ann+"/subscriptions/all", "")
	if got := s.Want(200, "PATCH", ann, `{"email": "ann.e@example.com", "active": false}`); got.Get("active") != false || got.Get("email") != "ann.e@example.com" {
		t.Errorf("got %s", got.body)
	}
	if list := s.Want(200, "GET", "/v1/staff?active=false&q=%C3%89", ""); len(list.Get("items").([]any)) != 1 {
		t.Errorf("got %s", list.body)
	}
	if list := s.Want(200, "GET", ann+"/history?action=staff.subscribed", ""); len(list.Get("items").([]any)) != 3 {
		t.Errorf("got %s", list.body)
	}
	s.Want(204, "DELETE", ann, "")

	for op, o := range s.contract.operations() {
		if !s.routes[op] {
			t.Errorf("openapi.yaml has %s, which nothing serves here", op)
		}
		for status := range o["responses"].(map[string]any) {
			if status < "300" && !s.contract.seen[op+" "+status] {
				t.Errorf("%s: no answer with %s was seen", op, status)
			}
		}
	}
	for route := range s.routes {
		if _, ok := s.contract.operations()[route]; !ok && route != "" {
			t.Errorf("%s is served and not in openapi.yaml", route)
		}
	}
	for _, secret := range []string{"A/1", "A%2F1", "B 2", "100%", "C-3"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has the code %s", secret)
		}
	}
}

func TestProblems(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "description": "d"}`)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "live", "description": "d"}`)
	s.Want(200, "POST", "/v1/pools/live/launch", "")
	create := func(fields string) string { return `{"campaign_id": "summer", "name": "x"` + fields + `}` }
	for _, tt := range []struct {
		name               string
		method, path, body string
		header             []string
		status             int
		kind               string
		says               string // in the answer
	}{
		{name: "NoEndpoint", method: "GET", path: "/v2/pools", status: 404, kind: "no-such-endpoint"},
		{name: "Root", method: "GET", path: "/", status: 404, kind: "no-such-endpoint"},
		{name: "Method", method: "PUT", path: "/v1/pools/beach", status: 405, kind: "method-not-allowed", says: "DELETE, GET, HEAD, PATCH"},
		{name: "NoPool", method: "GET", path: "/v1/pools/none", status: 404, kind: "not-found"},
		{name: "OddPool", method: "GET", path: "/v1/pools/%00", status: 404, kind: "not-found"},
		{name: "OddPoolStock", method: "GET", path: "/v1/pools/%ff/stock", status: 404, kind: "not-found"},
		{name: "NoCampaign", method: "GET", path: "/v1/campaigns/none", status: 404, kind: "not-found"},
		{name: "NoCode", method: "GET", path: "/v1/pools/beach/codes/none", status: 404, kind: "not-found"},
		{name: "CodeOfNoPool", method: "GET", path: "/v1/pools/none/codes/none", status: 404, kind: "not-found"},
		{name: "OddCode", method: "GET", path: "/v1/pools/beach/codes/a%00", status: 404, kind: "not-found"},
		{name: "NotUTF8Code", method: "GET", path: "/v1/pools/beach/codes/%ff", status: 404, kind: "not-found"},
		{name: "OddRequest", method: "GET", path: "/v1/pools/beach/issuances/%00", status: 404, kind: "not-found"},
		{name: "NoRequest", method: "GET", path: "/v1/pools/beach/issuances/none", status: 404, kind: "not-found"},

		{name: "NoBody", method: "POST", path: "/v1/pools", header: []string{"Content-Type", "application/json"}, status: 400, kind: "bad-request", says: "empty"},
		{name: "NoMediaType", method: "POST", path: "/v1/pools", body: "{}", header: []string{"Content-Type", ""}, status: 415, kind: "unsupported-media-type"},
		{name: "MediaType", method: "POST", path: "/v1/pools", body: "{}", header: []string{"Content-Type", "text/plain"}, status: 415, kind: "unsupported-media-type", says: "application/json"},
		{name: "Charset", method: "POST", path: "/v1/pools", body: "{}", header: []string{"Content-Type", "application/json; charset=utf-16"}, status: 415, kind: "unsupported-media-type"},
		{name: "PatchOnCreate", method: "POST", path: "/v1/pools", body: "{}", header: []string{"Content-Type", "application/merge-patch+json"}, status: 415, kind: "unsupported-media-type"},
		{name: "NotJSON", method: "POST", path: "/v1/pools", body: "name=x", status: 400, kind: "bad-request"},
		{name: "Array", method: "POST", path: "/v1/pools", body: "[]", status: 400, kind: "bad-request", says: "something else"},
		{name: "Null", method: "PATCH", path: "/v1/pools/beach", body: "null", status: 400, kind: "bad-request"},
		{name: "CutOff", method: "POST", path: "/v1/pools", body: `{"name": "x`, status: 400, kind: "bad-request", says: "cut off"},
		{name: "Trailing", method: "POST", path: "/v1/pools", body: create("") + "{}", status: 400, kind: "bad-request", says: "follows"},
		{name: "Twice", method: "POST", path: "/v1/pools", body: create(`, "name": "y"`), status: 400, kind: "bad-request", says: "twice"},
		{name: "NotUTF8", method: "POST", path: "/v1/pools", body: create(", \"description\": \"\xff\""), status: 400, kind: "bad-request", says: "UTF-8"},
		{name: "Nested", method: "POST", path: "/v1/pools", body: `{"name":` + strings.Repeat("[", 100_000), status: 400, kind: "bad-request"},
		{name: "Large", method: "POST", path: "/v1/pools", body: create(`, "description": "` + strings.Repeat("x", 1<<20) + `"`), status: 413, kind: "too-large"},

		{name: "Unknown", method: "POST", path: "/v1/pools", body: create(`, "colour": 1`), status: 422, kind: "invalid-settings", says: `"colour"`},
		{name: "Case", method: "PATCH", path: "/v1/pools/beach", body: `{"Name": "y"}`, status: 422, kind: "invalid-settings", says: `"Name"`},
		{name: "State", method: "PATCH", path: "/v1/pools/beach", body: `{"state": "active"}`, status: 422, kind: "invalid-settings", says: `"state"`},
		{name: "NoName", method: "POST", path: "/v1/pools", body: `{"campaign_id": "summer"}`, status: 422, kind: "invalid-settings", says: `"name"`},
		{name: "NoCampaignID", method: "POST", path: "/v1/pools", body: `{"name": "x"}`, status: 422, kind: "invalid-settings", says: `"campaign_id"`},
		{name: "CampaignGone", method: "POST", path: "/v1/pools", body: `{"name": "x", "campaign_id": "none"}`, status: 422, kind: "invalid-settings", says: `"campaign_id"`},
		{name: "OddCampaignID", method: "POST", path: "/v1/pools", body: `{"name": "x", "campaign_id": "\u0000"}`, status: 422, kind: "invalid-settings", says: `"campaign_id"`},
		{name: "NullName", method: "PATCH", path: "/v1/pools/beach", body: `{"name": null}`, status: 422, kind: "invalid-settings", says: `"name"`},
		{name: "NUL", method: "PATCH", path: "/v1/pools/beach", body: `{"description": "\u0000"}`, status: 422, kind: "invalid-settings", says: `"description"`},
		{name: "OddID", method: "POST", path: "/v1/pools", body: create(`, "id": "Beach!"`), status: 422, kind: "invalid-settings", says: `"id"`},
		{name: "OddParameter", method: "POST", path: "/v1/pools", body: create(`, "parameter_name": "9"`), status: 422, kind: "invalid-settings", says: `"parameter_name"`},
		{name: "Fraction", method: "POST", path: "/v1/pools", body: create(`, "notify_below": 1.5`), status: 422, kind: "invalid-settings", says: `"notify_below"`},
		{name: "Zero", method: "POST", path: "/v1/pools", body: create(`, "notify_below": 0`), status: 422, kind: "invalid-settings", says: `"notify_below"`},
		{name: "Huge", method: "POST", path: "/v1/pools", body: create(`, "notify_below": 1e30`), status: 422, kind: "invalid-settings", says: `"notify_below"`},
		{name: "NotBoolean", method: "POST", path: "/v1/pools", body: create(`, "multi_use": "yes"`), status: 422, kind: "invalid-settings", says: `"multi_use"`},
		{name: "NoPeriod", method: "POST", path: "/v1/pools", body: create(`, "validity": "30 days"`), status: 422, kind: "invalid-settings", says: "P30D"},
		{name: "NoThreshold", method: "POST", path: "/v1/pools", body: create(`, "notify": true`), status: 422, kind: "invalid-settings", says: `"notify"`},
		{name: "NotifyMultiUse", method: "POST", path: "/v1/pools", body: create(`, "notify_below": 1, "multi_use": true`), status: 422, kind: "invalid-settings", says: `"notify_below"`},
		{name: "CheckWithoutValidity", method: "PATCH", path: "/v1/pools/beach", body: `{"check_issued": true}`, status: 422, kind: "invalid-settings", says: `"validity"`},
		{name: "CheckMultiUse", method: "POST", path: "/v1/pools", body: create(`, "check_issued": true, "multi_use": true, "validity": null`), status: 422, kind: "invalid-settings", says: `"check_issued"`},
		{name: "Processing", method: "PATCH", path: "/v1/pools/beach", body: `{"processing": "nobody"}`, status: 422, kind: "invalid-settings", says: `"processing"`},
		{name: "Frozen", method: "PATCH", path: "/v1/pools/live", body: `{"id": "other", "multi_use": true, "parameter_name": "p"}`, status: 422, kind: "invalid-settings", says: "frozen"},
		{name: "CampaignName", method: "POST", path: "/v1/campaigns", body: `{"name": " "}`, status: 422, kind: "invalid-settings", says: `"name"`},
		{name: "CampaignID", method: "PATCH", path: "/v1/campaigns/summer", body: `{"id": "other"}`, status: 422, kind: "invalid-settings", says: `"id"`},

		{name: "Taken", method: "POST", path: "/v1/pools", body: create(`, "id": "beach"`), status: 409, kind: "id-taken"},
		{name: "CampaignTaken", method: "POST", path: "/v1/campaigns", body: `{"name": "x", "id": "summer"}`, status: 409, kind: "id-taken"},
		{name: "RenamedOnto", method: "PATCH", path: "/v1/pools/beach", body: `{"id": "live"}`, status: 409, kind: "id-taken"},
		{name: "ArchiveDraft", method: "POST", path: "/v1/pools/beach/archive", status: 409, kind: "wrong-state"},
		{name: "WeakTag", method: "PATCH", path: "/v1/pools/beach", body: `{"name": "y"}`, header: []string{"If-Match", `W/"1"`}, status: 412, kind: "stale"},
		{name: "OddTag", method: "DELETE", path: "/v1/pools/beach", header: []string{"If-Match", `1`}, status: 412, kind: "stale"},
		{name: "StaleDelete", method: "DELETE", path: "/v1/pools/beach", header: []string{"If-Match", `"9"`}, status: 412, kind: "stale"},

		{name: "TwoTags", method: "PATCH", path: "/v1/pools/beach", body: `{"name": "y"}`, header: []string{"If-Match", `"1", "2"`}, status: 400, kind: "bad-request", says: "If-Match"},
		{name: "EmptyFilter", method: "GET", path: "/v1/pools?state=", status: 400, kind: "bad-request", says: "state is empty"},

		{name: "NoMoment", method: "PATCH", path: "/v1/pools/live", body: `{"issue_end": "2026-07-01"}`, status: 422, kind: "invalid-settings", says: `"issue_end"`},
		{name: "MomentNoText", method: "POST", path: "/v1/pools", body: create(`, "issue_start": 5`), status: 422, kind: "invalid-settings", says: "or null"},
		{name: "MomentTooEarly", method: "POST", path: "/v1/pools", body: create(`, "issue_start": "0001-01-01T00:00:00Z"`), status: 422, kind: "invalid-settings", says: "1970"},
		{name: "EndBeforeStart", method: "PATCH", path: "/v1/pools/live", body: `{"issue_start": "2026-07-01T00:00:00Z", "issue_end": "2026-07-01T01:00:00+01:00"}`, status: 422, kind: "invalid-settings", says: `"issue_end"`},
		{name: "EmptyActor", method: "PATCH", path: "/v1/pools/beach", body: `{"name": "y"}`, header: []string{"Promopool-Actor", " "}, status: 400, kind: "bad-request", says: "Promopool-Actor"},
		{name: "LongActor", method: "DELETE", path: "/v1/pools/beach", header: []string{"Promopool-Actor", strings.Repeat("a", 201)}, status: 400, kind: "bad-request", says: "200"},
		{name: "BrokenActor", method: "POST", path: "/v1/campaigns", body: `{"name": "y"}`, header: []string{"Promopool-Actor", "\xff"}, status: 400, kind: "bad-request", says: "UTF-8"},
		{name: "TabbedActor", method: "POST", path: "/v1/pools/beach/launch", header: []string{"Promopool-Actor", "a\tb"}, status: 400, kind: "bad-request", says: "control"},
		{name: "HistoryOfNoPool", method: "GET", path: "/v1/pools/none/history", status: 404, kind: "not-found"},
		{name: "HistoryOfNoCampaign", method: "GET", path: "/v1/campaigns/none/history", status: 404, kind: "not-found"},
		{name: "HistoryCursor", method: "GET", path: "/v1/pools/beach/history?cursor=YQ", status: 400, kind: "bad-request", says: "cursor"},
		{name: "HistoryFilter", method: "GET", path: "/v1/pools/beach/history?state=draft", status: 400, kind: "bad-request", says: "the options are limit, cursor, actor, action, field"},
		{name: "HistoryAction", method: "GET", path: "/v1/pools/beach/history?action=sold", status: 400, kind: "bad-request", says: "pool.created"},
		{name: "HistoryActor", method: "GET", path: "/v1/pools/beach/history?actor=%00", status: 400, kind: "bad-request", says: "actor must"},
		{name: "HistoryField", method: "GET", path: "/v1/campaigns/summer/history?field=%22", status: 400, kind: "bad-request", says: "issue_end"},
		{name: "NULSearch", method: "GET", path: "/v1/pools?q=%00", status: 400, kind: "bad-request", says: "q must"},
		{name: "BrokenSearch", method: "GET", path: "/v1/campaigns?q=%ff", status: 400, kind: "bad-request", says: "q must"},

		{name: "Limit", method: "GET", path: "/v1/pools?limit=0", status: 400, kind: "bad-request", says: "limit"},
		{name: "Cursor", method: "GET", path: "/v1/pools?cursor=!", status: 400, kind: "bad-request", says: "cursor"},
		{name: "OddCursor", method: "GET", path: "/v1/campaigns?cursor=AAAA", status: 400, kind: "bad-request", says: "cursor"},
		{name: "Filter", method: "GET", path: "/v1/pools?colour=red", status: 400, kind: "bad-request", says: "campaign_id"},
		{name: "FilterTwice", method: "GET", path: "/v1/pools?state=draft&state=active", status: 400, kind: "bad-request"},
		{name: "FilterState", method: "GET", path: "/v1/pools?state=gone", status: 400, kind: "bad-request", says: "archived"},
		{name: "FilterCampaign", method: "GET", path: "/v1/pools?campaign_id=%00", status: 400, kind: "bad-request"},
		{name: "Query", method: "GET", path: "/v1/pools?a;b", status: 400, kind: "bad-request"},

		{name: "FilterImports", method: "GET", path: "/v1/imports?status=lost", status: 400, kind: "bad-request", says: "cancelled"},
		{name: "FilterImportsKind", method: "GET", path: "/v1/imports?kind=magic", status: 400, kind: "bad-request", says: "replenishment"},
		{name: "FilterImportsActor", method: "GET", path: "/v1/pools/beach/imports?actor=%ff", status: 400, kind: "bad-request", says: "actor must"},
		{name: "FilterImportsOfPool", method: "GET", path: "/v1/pools/beach/imports?pool_id=beach", status: 400, kind: "bad-request"},
		{name: "FilterImportsPool", method: "GET", path: "/v1/imports?pool_id=%00", status: 400, kind: "bad-request"},
		{name: "CursorImports", method: "GET", path: "/v1/imports?cursor=YQ", status: 400, kind: "bad-request", says: "cursor"},
		{name: "NoImportToCancel", method: "POST", path: "/v1/imports/99/cancel", status: 404, kind: "not-found"},
		{name: "NoImportFile", method: "GET", path: "/v1/imports/99/file", status: 404, kind: "not-found"},
		{name: "OddActor", method: "POST", path: "/v1/pools/beach/imports", body: "A", header: []string{"Content-Type", "text/csv", "Promopool-Actor", strings.Repeat("x", 201)}, status: 400, kind: "bad-request", says: "Promopool-Actor"},
		{name: "ExportOfNoPool", method: "GET", path: "/v1/pools/none/codes.csv", status: 404, kind: "not-found"},
		{name: "ExportState", method: "GET", path: "/v1/pools/beach/codes.csv?state=held", status: 400, kind: "bad-request", says: "scheduled"},
		{name: "ExportStates", method: "GET", path: "/v1/pools/beach/codes.csv?state=issued&state=expired", status: 400, kind: "bad-request"},
		{name: "ExportQuery", method: "GET", path: "/v1/pools/beach/codes.csv?limit=1", status: 400, kind: "bad-request", says: "state"},

		{name: "CrossOrigin", method: "POST", path: "/v1/pools/beach/launch", header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, kind: "cross-origin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			r := s.Want(tt.status, tt.method, tt.path, tt.body, tt.header...)
			if got := r.Get("type"); got != "/problems/"+tt.kind || r.Get("status") != float64(tt.status) {
				t.Errorf("got %s", r.body)
			}
			if !strings.Contains(string(r.body), strings.Trim(tt.says, `"`)) {
				t.Errorf("nothing of %s in %s", tt.says, r.body)
			}
			if query := strings.Contains(tt.path, "=") && tt.kind == "bad-request"; query && !strings.Contains(string(r.body), `"errors":[{"field":"`) {
				t.Errorf("no parameter is named in %s", r.body)
			}
		})
	}
	s.t = t
	if got := s.Want(200, "GET", "/v1/pools/beach", "").Get("version"); got != 1.0 {
		t.Errorf("got version %v, want it unchanged", got)
	}
}

// TestPatch: what is not named stays, null is the default.
func TestPatch(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "Beach", "description": "d", "parameter_name": "p", "notify_below": 7, "validity": "P1Y", "processing": "external"}`)
	for _, tt := range []struct {
		patch string
		want  map[string]any
	}{
		{`{}`, map[string]any{"version": 1.0}},
		{`{"notify": false}`, map[string]any{"notify": false, "notify_below": 7.0}},
		{`{"notify": true}`, map[string]any{"notify": true, "notify_below": 7.0}},
		{`{"notify_below": 9, "notify": false}`, map[string]any{"notify": false, "notify_below": 9.0}},
		{`{"notify_below": 8}`, map[string]any{"notify": true, "notify_below": 8.0}},
		{`{"notify_below": null}`, map[string]any{"notify": false, "notify_below": nil}},
		{`{"check_issued": true}`, map[string]any{"check_issued": true, "validity": "P1Y"}},
		{`{"check_issued": null, "validity": null}`, map[string]any{"check_issued": false, "validity": nil}},
		{`{"check_issued": true, "validity": null}`, map[string]any{"check_issued": true, "validity": nil}},
		{`{"check_issued": false, "multi_use": true}`, map[string]any{"multi_use": true}},
		{`{"issue_start": "2026-07-01T02:00:00+02:00"}`, map[string]any{"issue_start": "2026-07-01T00:00:00Z", "issue_end": nil}},
		{`{"issue_end": "2026-09-01T00:00:00.1234567Z"}`, map[string]any{"issue_start": "2026-07-01T00:00:00Z", "issue_end": "2026-09-01T00:00:00.123456Z"}},
		{`{"issue_start": null}`, map[string]any{"issue_start": nil, "issue_end": "2026-09-01T00:00:00.123456Z"}},
		{`{"description": null, "parameter_name": null, "processing": null, "multi_use": null}`,
			map[string]any{"description": "", "parameter_name": "promo_code", "processing": "internal", "multi_use": false}},
		{`{"id": "shore", "name": "Shore"}`, map[string]any{"id": "shore", "name": "Shore"}},
	} {
		r := s.Want(200, "PATCH", "/v1/pools/beach", tt.patch, "Content-Type", "application/merge-patch+json; charset=UTF-8")
		for field, want := range tt.want {
			if got := r.Get(field); got != want {
				t.Errorf("%s: got %s %v, want %v", tt.patch, field, got, want)
			}
		}
	}
	s.Want(404, "GET", "/v1/pools/beach", "")
}

func TestPages(t *testing.T) {
	s := open(t)
	for range 7 {
		s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach"}`)
	}
	var ids []string
	query := url.Values{"limit": {"3"}, "campaign_id": {"summer"}}
	for pages := 1; ; pages++ {
		r := s.Want(200, "GET", "/v1/pools?"+query.Encode(), "")
		for _, item := range r.Get("items").([]any) {
			ids = append(ids, item.(map[string]any)["id"].(string))
		}
		next, ok := r.Get("next").(string)
		if !ok {
			if pages != 3 {
				t.Errorf("got %d pages, want 3", pages)
			}
			break
		}
		query.Set("cursor", next)
	}
	want := []string{"beach", "beach-2", "beach-3", "beach-4", "beach-5", "beach-6", "beach-7"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
	if r := s.Want(200, "GET", "/v1/pools?limit=7", ""); r.Get("next") != nil {
		t.Errorf("got a next page %v that would be empty", r.Get("next"))
	}
}

// TestHistory: who, what from and what to, the newest first and page by page,
// under whatever id the pool has now.
func TestHistory(t *testing.T) {
	s := open(t)
	anna, zoya := []string{"Promopool-Actor", "anna"}, []string{"Promopool-Actor", " Зоя "}
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "Beach", "notify_below": 9007199254740993}`, anna...)
	s.Want(200, "PATCH", "/v1/pools/beach", `{"id": "shore", "issue_end": "2026-09-01T00:00:00Z", "name": "Beach", "notify": false}`, zoya...)
	s.Want(200, "PATCH", "/v1/pools/shore", `{"name": "Beach"}`, zoya...) // changes nothing
	s.Want(422, "PATCH", "/v1/pools/shore", `{"name": ""}`, zoya...)
	s.Want(409, "POST", "/v1/pools/shore/launch", "", zoya...)
	s.Want(200, "PATCH", "/v1/pools/shore", `{"description": "Ten off.", "check_issued": true, "validity": "P30D"}`)
	s.Want(200, "POST", "/v1/pools/shore/launch", "", anna...)
	s.Want(200, "POST", "/v1/pools/shore/launch", "", zoya...) // it is launched
	s.Want(200, "POST", "/v1/pools/shore/archive", "", anna...)

	var got []string
	query := url.Values{"limit": {"2"}}
	for {
		r := s.Want(200, "GET", "/v1/pools/shore/history?"+query.Encode(), "")
		for _, item := range r.Get("items").([]any) {
			e := item.(map[string]any)
			changes, err := json.Marshal(e["changes"])
			if err != nil {
				t.Fatal(err)
			}
			if e["action"] == "pool.created" {
				// Numbers are told to the last digit.
				if !strings.Contains(string(r.body), `"notify_below":{"from":null,"to":9007199254740993}`) {
					t.Errorf("got %s", r.body)
				}
				changes = nil
			}
			got = append(got, strings.TrimSpace(fmt.Sprint(e["version"], " ", e["actor"], " ", e["action"], " ", string(changes))))
		}
		next, ok := r.Get("next").(string)
		if !ok {
			break
		}
		query.Set("cursor", next)
	}
	want := []string{
		`5 anna pool.archived {"state":{"from":"active","to":"archived"}}`,
		`4 anna pool.launched {"state":{"from":"draft","to":"active"}}`,
		`3 anonymous pool.edited {"check_issued":{"from":false,"to":true},"description":{"from":"","to":"Ten off."},"validity":{"from":null,"to":"P30D"}}`,
		`2 Зоя pool.edited {"id":{"from":"beach","to":"shore"},"issue_end":{"from":null,"to":"2026-09-01T00:00:00Z"},"notify":{"from":true,"to":false}}`,
		`1 anna pool.created`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for filter, want := range map[string][]float64{
		"actor=anna": {5, 4, 1}, "action=pool.edited": {3, 2}, "field=state": {5, 4, 1}, "field=issue_end": {2},
		"actor=%D0%97%D0%BE%D1%8F&action=pool.edited&field=id": {2}, "actor=nobody": nil,
	} {
		var got []float64
		for _, e := range s.Want(200, "GET", "/v1/pools/shore/history?"+filter, "").Get("items").([]any) {
			got = append(got, e.(map[string]any)["version"].(float64))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", filter, diff)
		}
	}
	s.Want(200, "PATCH", "/v1/campaigns/summer", `{"name": "Été"}`, zoya...)
	if r := s.Want(200, "GET", "/v1/campaigns/summer/history?action=campaign.renamed", ""); len(r.Get("items").([]any)) != 1 {
		t.Errorf("got %s", r.body)
	}
	r := s.Want(200, "GET", "/v1/campaigns/summer/history?limit=1", "")
	if !strings.Contains(string(r.body), `"changes":{"name":{"from":"Summer","to":"Été"}},"version":null,"revision":null`) {
		t.Errorf("got %s", r.body)
	}
}

// TestExclusions: what excludes each other does so in whatever order it comes,
// and is told of at the field that came last.
func TestExclusions(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach"}`)
	for _, step := range []struct{ patch, refused string }{
		{`{"check_issued": true}`, "validity"},
		{`{"check_issued": true, "validity": null}`, ""},
		{`{"multi_use": true}`, "multi_use"},
		{`{"multi_use": true, "check_issued": false}`, ""},
		{`{"check_issued": true, "validity": null}`, "check_issued"},
		{`{"notify_below": 5}`, "notify_below"},
		{`{"multi_use": false, "notify_below": 5, "check_issued": true, "validity": "P1D"}`, ""},
		{`{"multi_use": true, "check_issued": false}`, "multi_use"},
	} {
		if step.refused == "" {
			s.Want(200, "PATCH", "/v1/pools/beach", step.patch)
			continue
		}
		r := s.Want(422, "PATCH", "/v1/pools/beach", step.patch)
		if got := r.Get("errors").([]any)[0].(map[string]any)["field"]; got != step.refused {
			t.Errorf("%s: got %v, want %s", step.patch, got, step.refused)
		}
	}
}

// TestAtOnce: twenty creates by one name make twenty pools; of ten edits of one
// version one is made.
func TestAtOnce(t *testing.T) {
	s := open(t)
	var group sync.WaitGroup
	statuses := make(chan int, 100)
	do := func(method, path, body string, header ...string) {
		group.Go(func() { statuses <- s.Do(method, path, body, header...).StatusCode })
	}
	count := func() map[int]int {
		group.Wait()
		n := map[int]int{}
		for len(statuses) > 0 {
			n[<-statuses]++
		}
		return n
	}
	for range 20 {
		do("POST", "/v1/pools", `{"campaign_id": "summer", "name": "Beach", "description": "d"}`)
	}
	if diff := cmp.Diff(map[int]int{201: 20}, count()); diff != "" {
		t.Error(diff)
	}
	if r := s.Want(200, "GET", "/v1/pools", ""); len(r.Get("items").([]any)) != 20 {
		t.Errorf("got %s", r.body)
	}
	for i := range 10 {
		do("PATCH", "/v1/pools/beach", fmt.Sprintf(`{"name": "writer %d"}`, i), "If-Match", `"1"`)
	}
	if diff := cmp.Diff(map[int]int{200: 1, 412: 9}, count()); diff != "" {
		t.Error(diff)
	}
	for range 5 {
		do("POST", "/v1/pools/beach/launch", "")
	}
	if diff := cmp.Diff(map[int]int{200: 5}, count()); diff != "" {
		t.Error(diff)
	}
}

// trouble is pools whose store is not well.
type trouble struct {
	httpapi.Pools
	err error
}

func (s trouble) Pool(context.Context, string) (domain.Pool, error) {
	if s.err == nil {
		panic("broken")
	}
	return domain.Pool{}, s.err
}

func TestTrouble(t *testing.T) {
	s := open(t)
	for _, tt := range []struct {
		err    error
		status int
		kind   string
	}{
		{fmt.Errorf("%w: connection refused", domain.ErrAway), 503, "unavailable"},
		{fmt.Errorf("%w: connection reset", domain.ErrUnsure), 503, "outcome-unknown"},
		{io.ErrUnexpectedEOF, 500, "internal"},
		{nil, 500, "internal"}, // a panic
	} {
		s.serve(trouble{s.store, tt.err})
		r := s.Want(tt.status, "GET", "/v1/pools/beach", "")
		if r.Get("type") != "/problems/"+tt.kind || strings.Contains(string(r.body), "connection") {
			t.Errorf("%v: got %s", tt.err, r.body)
		}
		if again := r.Header.Get("Retry-After") != ""; again != (tt.kind == "unavailable") {
			t.Errorf("%v: got Retry-After %t", tt.err, again)
		}
	}
}

// TestHungUp: a change goes on when its client has gone.
func TestHungUp(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "description": "d"}`)
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM pools FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer hangUp()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.server.URL+"/v1/pools/beach/launch", nil)
	if r, err := http.DefaultClient.Do(req); err == nil {
		r.Body.Close()
		t.Fatalf("got %s while the pool was locked", r.Status)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if s.Do("GET", "/v1/pools/beach", "").Get("state") == "active" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the launch was not made")
}

func TestIDFromName(t *testing.T) {
	s := open(t)
	names := map[string]string{
		"Été 2026: -20 %":           "ete-2026-20",
		"Летняя распродажа":         "letniaia-rasprodazha",
		"snake_case":                "snake-case",
		"***":                       "pool",
		strings.Repeat("long ", 40): strings.TrimRight(strings.Repeat("long-", 11)[:54], "-"),
		strings.Repeat("夏", 66):     strings.Repeat("xia-", 13) + "xi",
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		body, _ := json.Marshal(map[string]string{"campaign_id": "summer", "name": name})
		if got := s.Want(201, "POST", "/v1/pools", string(body)).Get("id"); got != names[name] {
			t.Errorf("%q: got %v, want %s", name, got, names[name])
		}
	}
}
