package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// commands are a call of promopool for every route under /v1.
var commands = map[string]string{
	"POST /v1/campaigns":                                       "campaign create Summer",
	"GET /v1/campaigns":                                        "campaign list",
	"GET /v1/campaigns/{id}":                                   "campaign get summer",
	"PATCH /v1/campaigns/{id}":                                 "campaign rename summer Winter",
	"DELETE /v1/campaigns/{id}":                                "campaign delete summer",
	"GET /v1/campaigns/{id}/history":                           "campaign history summer",
	"POST /v1/pools":                                           "pool create Beach --campaign summer",
	"GET /v1/pools":                                            "pool list",
	"GET /v1/pools/{id}":                                       "pool get beach",
	"PATCH /v1/pools/{id}":                                     "pool set beach --description ten",
	"DELETE /v1/pools/{id}":                                    "pool delete beach",
	"POST /v1/pools/{id}/launch":                               "launch beach",
	"POST /v1/pools/{id}/archive":                              "pool archive beach",
	"GET /v1/pools/{id}/history":                               "pool history beach",
	"GET /v1/pools/{id}/stock":                                 "stock beach",
	"POST /v1/pools/{id}/imports":                              "import beach FILE --no-wait",
	"GET /v1/pools/{id}/imports":                               "imports list beach",
	"GET /v1/imports":                                          "imports list",
	"GET /v1/imports/{task}":                                   "imports show 1",
	"POST /v1/imports/{task}/cancel":                           "imports cancel 1",
	"GET /v1/imports/{task}/file":                              "imports file 1",
	"GET /v1/imports/{task}/rejected.csv":                      "imports rejected 1",
	"GET /v1/import-template.csv":                              "import --template csv",
	"GET /v1/import-template.xlsx":                             "import --template xlsx",
	"POST /v1/pools/{id}/generate":                             "generate beach --count 5",
	"GET /v1/pools/{id}/space":                                 "space beach",
	"GET /v1/pools/{id}/codes.csv":                             "code export beach",
	"GET /v1/pools/{id}/codes/{code}":                          "code beach SUN-1",
	"POST /v1/pools/{id}/issue":                                "issue beach --request-id r --customer c",
	"POST /v1/pools/{id}/codes/{code}/issue":                   "code issue beach SUN-1 --request-id r --customer c",
	"POST /v1/pools/{id}/codes/{code}/block":                   "code block beach SUN-1 --note why",
	"POST /v1/pools/{id}/codes/{code}/unblock":                 "code unblock beach SUN-1",
	"GET /v1/pools/{id}/issuances/{request_id}":                "issuance beach request-1",
	"POST /v1/pools/{id}/codes/{code}/redeem":                  "code redeem beach SUN-1",
	"POST /v1/pools/{id}/codes/{code}/check":                   "code check beach SUN-1",
	"GET /v1/pools/{id}/redemptions/{redemption_id}":           "redemption show beach r-1",
	"POST /v1/pools/{id}/redemptions/{redemption_id}/rollback": "redemption rollback beach r-1",
	"POST /v1/staff":                                           "staff create Anna --email anna@example.com",
	"GET /v1/staff":                                            "staff list",
	"GET /v1/staff/{id}":                                       "staff show anna",
	"PATCH /v1/staff/{id}":                                     "staff set anna --active=false",
	"DELETE /v1/staff/{id}":                                    "staff delete anna",
	"PUT /v1/staff/{id}/subscriptions/{scope}":                 "staff subscribe anna pool:beach",
	"DELETE /v1/staff/{id}/subscriptions/{scope}":              "staff unsubscribe anna pool:beach",
	"GET /v1/staff/{id}/history":                               "staff history anna",
	"GET /v1/customers/{id}/codes":                             "customer codes c-1",
	"DELETE /v1/customers/{id}":                                "customer erase c-1 --yes --no-wait",
}

// notAsked are routes that programs ask, not people.
var notAsked = []string{"GET /healthz", "GET /readyz", "GET /metrics"}

// contractRoutes are the routes of schemas/openapi.yaml.
func contractRoutes(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../schemas/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var routes []string
	for path, operations := range doc.Paths {
		for method := range operations {
			if method != "parameters" {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
	}
	return routes
}

// TestRoutes: what can be done by HTTP can be done from a terminal.
func TestRoutes(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	mux := http.NewServeMux()
	routes := contractRoutes(t)
	for _, route := range routes {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, r.Pattern)
			fmt.Fprintln(w, "{}")
		})
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	t.Setenv("PROMOPOOL_SERVER", server.URL)
	file := filepath.Join(t.TempDir(), "codes.csv")
	if err := os.WriteFile(file, []byte("SUN-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &counter{t: t}
	for _, route := range routes {
		line, ok := commands[route]
		if !ok {
			if !slices.Contains(notAsked, route) {
				t.Errorf("no command does %s: add one, and a row above", route)
			}
			continue
		}
		asked = nil
		c.Run(done, words(strings.ReplaceAll(line, "FILE", file))...)
		if !slices.Contains(asked, route) {
			t.Errorf("promopool %s asked for %v, want %s", line, asked, route)
		}
	}
	for route := range maps.Keys(commands) {
		if !slices.Contains(routes, route) {
			t.Errorf("openapi.yaml has no %s", route)
		}
	}
}

// TestAnswersForPrograms: what a server answers can be had as JSON, or is a file.
func TestAnswersForPrograms(t *testing.T) {
	root := (&program{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).root()
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		if f := cmd.Flags(); f.Lookup("server") != nil && f.Lookup("json") == nil && f.Lookup("output") == nil {
			t.Errorf("%s has neither --json nor --output", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(root)

	// Whatever a table leaves out is in the JSON, as the server said it.
	const answer = `{"id":"beach","state":"draft","of a later version":[1,"a"]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, answer) }))
	defer server.Close()
	t.Setenv("PROMOPOOL_SERVER", server.URL)
	c := &counter{t: t}
	for _, line := range []string{"pool get beach", "launch beach", "imports show 1", "imports cancel 1", "issuance beach r", "code beach c", "code block beach c", "code redeem beach c", "redemption show beach r", "customer erase c --yes --no-wait", "issue beach --request-id r --customer c", "space beach", "generate beach --count 1", "stock beach"} {
		out, _ := c.Run(done, append(words(line), "--json")...)
		var tight bytes.Buffer
		if err := json.Compact(&tight, []byte(out)); err != nil || tight.String() != answer {
			t.Errorf("%s: got %s, %v", line, out, err)
		}
	}
}
