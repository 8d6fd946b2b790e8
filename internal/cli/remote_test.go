package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/exporting"
	"promopool/internal/httpapi"
	"promopool/internal/importing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// counter is a terminal at which staff work with a server that is real but for
// the process around it.
type counter struct {
	t     *testing.T
	url   string // of the database
	clerk *clerk
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	c := &counter{t: t, url: pgtest.Database(t, postgres.Migrate), clerk: &clerk{}}
	store, err := postgres.Open(t.Context(), c.url, "test", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	runner := importing.New(store, zerolog.Nop(), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	intake := importing.NewIntake(store, 1<<20, runner.Wake)
	intake.Keep = time.Hour
	server := httptest.NewServer(httpapi.New(httpapi.Deps{
		Campaigns: store, Staffing: store, Pools: store, Stocks: store, Exports: exporting.New(store), Generating: store, ByHand: store, Customers: store, Erasing: c.clerk,
		Metrics: prometheus.NewRegistry(), Log: zerolog.Nop(),
		ImportRoutes: httpapi.ImportRoutes(intake, store, zerolog.Nop()),
	}))
	t.Cleanup(server.Close)
	t.Setenv("PROMOPOOL_SERVER", server.URL)
	t.Setenv("TZ", "UTC")
	return c
}

// Run runs a command and wants its exit status. It returns what it printed.
func (c *counter) Run(status int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	var out, err bytes.Buffer
	if got := Main(args, &out, &err); got != status {
		c.t.Errorf("promopool %s: got status %d, want %d: %s", strings.Join(args, " "), got, status, err.String())
	}
	return out.String(), err.String()
}

// Shows wants each line in the command's output, blanks counting as one.
func (c *counter) Shows(args []string, lines ...string) {
	c.t.Helper()
	out, _ := c.Run(done, args...)
	var tidy []string
	for _, l := range strings.Split(out, "\n") {
		tidy = append(tidy, strings.Join(strings.Fields(l), " "))
	}
	for _, want := range lines {
		found := false
		for _, l := range tidy {
			found = found || strings.HasPrefix(l, want)
		}
		if !found {
			c.t.Errorf("promopool %s: no %q in\n%s", strings.Join(args, " "), want, out)
		}
	}
}

// Fails wants an exit status of 1 and one line that says this.
func (c *counter) Fails(says string, args ...string) {
	c.t.Helper()
	out, err := c.Run(failed, args...)
	if !strings.Contains(err, says) || strings.Count(err, "\n") != 1 || out != "" {
		c.t.Errorf("promopool %s: got %q and %q, want one line with %q", strings.Join(args, " "), out, err, says)
	}
}

func (c *counter) Fill(pool string, codes ...string) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(c.t.Context(), `
		WITH c AS (INSERT INTO codes (pool, lot, seq, code)
		           SELECT p.pool, 1, u.at - 1, u.code FROM pools p, unnest($2::text[]) WITH ORDINALITY u(code, at) WHERE p.id = $1)
		SELECT add_lot(p.pool, 1, cardinality($2::text[]), NULL, NULL, '2100-01-01', NULL, NULL) FROM pools p WHERE p.id = $1`, pool, codes); err != nil {
		c.t.Fatal(err)
	}
}

func words(line string) []string { return strings.Fields(line) }

// TestPoolFromTerminal leads a pool through its life.
func TestPoolFromTerminal(t *testing.T) {
	c := newCounter(t)
	c.Shows([]string{"campaign", "create", "Été 2026"}, "campaign ete-2026", "name Été 2026")
	c.Shows(words("campaign rename ete-2026 Summer"), "name Summer")
	c.Shows(words("campaign list"), "CAMPAIGN NAME CREATED", "ete-2026 Summer")
	c.Shows([]string{"pool", "create", "Beach Day", "--campaign", "ete-2026", "--notify-below", "10", "--check-issued", "--validity=P30D"},
		"pool beach-day", "state draft", "notify below 10", "codes each for one, redeemed only when issued", "validity P30D from issue", "version 1")
	c.Fails("description", "launch", "beach-day")
	c.Shows([]string{"pool", "set", "beach-day", "--description=sun cream", "--validity=none", "--notify=false"},
		"description sun cream", "notify off (below 10)", "validity no limit from issue", "version 2")
	c.Fails("changed by someone else", words("pool set beach-day --name Strand --if-version 1")...)
	c.Shows(words("pool set beach-day --id shore --if-version 2"), "pool shore", "name Beach Day")
	c.Shows(words("pool set shore --issue-start 2026-07-01T00:00:00Z --issue-end 2100-01-01T02:00:00+02:00 --actor Зоя"), "may be issued 2026-07-01 00:00:00 UTC to 2100-01-01 00:00:00 UTC")
	c.Fails("issue_end: must be a time", words("pool set shore --issue-end tomorrow")...)
	c.Shows(words("pool set shore --issue-start none"), "may be issued - to 2100")
	c.Shows(words("pool set shore --issue-end none"), "processing internal")
	c.Fill("shore", "A/1", "B 2", "..", "100%")
	c.Shows(words("launch shore"), "state active", "launched 20")
	c.Shows(words("pool list --search bEACH"), "shore active")
	if out, _ := c.Run(done, words("pool list --search nothing")...); strings.Contains(out, "shore") {
		t.Errorf("got %s", out)
	}
	c.Shows(words("campaign list --search SUMM"), "ete-2026 Summer")
	c.Shows(words("pool list --state active"), "POOL STATE", "shore active ete-2026 Beach Day off (below 10) 20")
	c.Shows(words("stock shore"), "available 4", "held 0", "issued 0", "total 4")
	for _, code := range []string{"A/1", "B 2", "..", "100%"} {
		c.Shows([]string{"code", "shore", code}, "code "+code, "state available", "may be issued - to 2100-01-01 00:00:00 UTC", "added 20")
	}
	c.Fails(`pool shore has no code "C"`, words("code shore C")...)
	c.Fails("a draft can be launched or deleted", words("pool delete shore")...)
	c.Fails("frozen", words("pool set shore --multi-use")...)
	c.Fails("delete or move its pools first", words("campaign delete ete-2026")...)
	c.Shows(words("pool archive shore"), "state archived", "archived 20")

	c.Run(done, words("pool create x --campaign ete-2026")...)
	c.Run(done, words("pool delete x --if-version 1")...)
	c.Run(done, words("campaign create Brief")...)
	c.Run(done, words("campaign delete brief")...)
	c.Shows(words("campaign get ete-2026"), "name Summer")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	c.Shows(words("campaign history ete-2026"), "WHEN WHO WHAT FIELD FROM TO")
	out, _ := c.Run(done, words("campaign history ete-2026")...)
	more, _ := c.Run(done, words("pool history shore")...)
	out += more
	for _, line := range []string{
		` UTC  ` + me.Username + ` +campaign.renamed +name +"Été 2026" +"Summer"\n`,
		` UTC  ` + me.Username + ` .*pool.archived +state +"active" +"archived"\n`,
		` UTC  Зоя .*pool.edited +issue_end +- +"2100-01-01T00:00:00Z"\n +issue_start +- +"2026-07-01T00:00:00Z"\n`,
		`pool.created +campaign_id +- +"ete-2026"\n +check_issued +- +true\n`,
	} {
		if !regexp.MustCompile(line).MatchString(out) {
			t.Errorf("no %s in\n%s", line, out)
		}
	}
	c.Fails(`there is no pool "beach-day": see promopool pool list`, words("pool history beach-day")...)
	c.Fails(`there is no campaign "brief": see promopool campaign list`, words("campaign history brief")...)
	c.Fails(`there is no pool "x": see promopool pool list`, words("pool get x")...)
	c.Fails(`there is no campaign "brief": see promopool campaign list`, words("campaign get brief")...)
	c.Fails("id: must be", "pool", "create", "x", "--campaign=ete-2026", "--id=X!")
}

func TestRemoteMisused(t *testing.T) {
	c := newCounter(t)
	for want, line := range map[string]string{
		"nothing to set":               "pool set x",
		"--notify-below must be":       "pool set x --notify-below many",
		"--actor must be":              "pool set x --name y --actor \x01",
		"needs --campaign (or PROMO":   "pool create x",
		"accepts 1 arg(s), received 0": "launch",
	} {
		if _, err := c.Run(misused, words(line)...); !strings.Contains(err, want) {
			t.Errorf("%s: got %s", line, err)
		}
	}
	t.Setenv("PROMOPOOL_SERVER", "127.0.0.1:1")
	c.Fails("no answer from 127.0.0.1:1", words("stock x")...)
	t.Setenv("PROMOPOOL_TOKEN_FILE", filepath.Join(t.TempDir(), "none"))
	c.Fails("--token-file", words("stock x")...)
}

// TestRemoteJSON: programs get what the server says, lists as one array.
func TestRemoteJSON(t *testing.T) {
	c := newCounter(t)
	c.Run(done, words("campaign create a")...)
	for i := range 3 {
		c.Run(done, "pool", "create", fmt.Sprint("p", i), "--campaign=a")
	}
	for line, want := range map[string]string{
		"pool get p1 --json":     `"id": "p1"`,
		"stock p1 --json":        `"exhausted_at": null`,
		"campaign list --json":   "[\n  {\n    \"id\": \"a\"",
		"pool list --json":       `"id": "p2"`,
		"pool history p1 --json": `"action": "pool.created"`,
	} {
		if out, _ := c.Run(done, words(line)...); !strings.Contains(out, want) {
			t.Errorf("%s: got %s", line, out)
		}
	}
	if out, _ := c.Run(done, words("pool list --json --state archived")...); out != "[]\n" {
		t.Errorf("got %s, want an empty array", out)
	}
}

func TestRemoteToken(t *testing.T) {
	var mu sync.Mutex
	var tokens []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if tokens = append(tokens, r.Header.Get("Authorization")); len(tokens) == 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(w, `{"total": 1}`)
	}))
	defer server.Close()
	c := &counter{t: t}
	t.Setenv("PROMOPOOL_SERVER", server.URL)
	c.Fails("the server answered 401 Unauthorized: --token-file names", words("stock x")...)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Shows(words("stock x --token-file "+file), "total 1")
	if tokens[0] != "" || tokens[1] != "Bearer secret" {
		t.Errorf("got tokens %q", tokens)
	}
}

// TestStockWatched: a watch outlives a server that is away for a moment, tells
// the rate, and ends with the pool.
func TestStockWatched(t *testing.T) {
	answers := []string{`{"issued": 0}`, "", `{"issued": 100, "available": 7}`, "gone"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer := answers[0]
		answers = answers[1:]
		switch answer {
		case "":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "gone":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintln(w, `{"type": "/problems/not-found", "status": 404, "detail": "none"}`)
		default:
			fmt.Fprintln(w, answer)
		}
	}))
	defer server.Close()
	c := &counter{t: t}
	t.Setenv("PROMOPOOL_SERVER", server.URL)
	out, err := c.Run(failed, words("stock x --watch --interval 100ms")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[1], " -") || strings.Fields(lines[2])[1] != "7" || strings.HasSuffix(lines[2], " -") {
		t.Errorf("got %s", out)
	}
	if !strings.Contains(err, "503") || !strings.Contains(err, `there is no pool "x"`) {
		t.Errorf("got %s", err)
	}
}
