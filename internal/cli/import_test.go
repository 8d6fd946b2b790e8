package cli

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/httpapi"
	"promopool/internal/importing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

func TestImport(t *testing.T) {
	c := &counter{t: t, url: pgtest.Database(t, postgres.Migrate)}
	store, err := postgres.Open(t.Context(), c.url, "test", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	runner := importing.New(store, zerolog.Nop(), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = runner.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	server := httptest.NewServer(httpapi.New(httpapi.Deps{
		Campaigns: store, Pools: store, Stocks: store, Metrics: prometheus.NewRegistry(), Log: zerolog.Nop(),
		ImportRoutes: httpapi.ImportRoutes(importing.NewIntake(store, 1<<20, runner.Wake), store, zerolog.Nop()),
	}))
	t.Cleanup(server.Close)
	t.Setenv("PROMOPOOL_SERVER", server.URL)

	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	codes := file("codes.csv", "code;issue_end;note\nA1;2099-01-01;\nA2;;x\nA1;;\n;2099-01-01;\n")
	c.Run(0, "campaign", "create", "Spring", "--id", "spring")
	c.Run(0, "pool", "create", "Mugs", "--campaign", "spring", "--id", "mugs")

	rejected := filepath.Join(dir, "rejected.csv")
	out, _ := c.Run(0, "import", "mugs", codes, "--rejected", rejected)
	for _, want := range []string{"completed with refusals", "added", "2", "ignored columns", "note", "duplicate_in_file", "empty_code"} {
		if !strings.Contains(out, want) {
			t.Errorf("got %s, want %q in it", out, want)
		}
	}
	if got, err := os.ReadFile(rejected); err != nil || string(got) != "code;issue_end;note;line;reason\nA1;;;4;duplicate_in_file\n;2099-01-01;;5;empty_code\n" {
		t.Errorf("rejected: %q, %v", got, err)
	}

	_, complaint := c.Run(1, "import", "mugs", codes, "--strict")
	if !strings.Contains(complaint, "4 of 4 rows were refused") {
		t.Errorf("got %s", complaint)
	}
	out, _ = c.Run(0, "import", "mugs", file("more.csv", "B1\nB2\n"), "--json")
	var task importTask
	if err := json.Unmarshal([]byte(out), &task); err != nil || task.Added != 2 || task.Status != "completed" {
		t.Errorf("got %s", out)
	}
	if out, _ := c.Run(0, "import", "mugs", file("last.csv", "C1\n"), "--no-wait"); !strings.Contains(out, "task") {
		t.Errorf("got %s", out)
	}
	// What the flags say of a file, and a look before it is filled in.
	zoned := file("zoned.csv", "code;issue_start\nZ1;2026-03-29 02:30\nZ2;2026-07-01\n")
	out, _ = c.Run(0, "import", "mugs", zoned, "--tz", "Europe/Berlin", "--encoding", "utf-8", "--delimiter", "semicolon", "--dry-run")
	for _, want := range []string{"nothing was filled", "bad_date", "csv, utf-8, semicolon, header in line 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("got %s, want %q in it", out, want)
		}
	}
	if _, complaint := c.Run(1, "import", "mugs", zoned, "--tz", "Berlin"); !strings.Contains(complaint, "tz") {
		t.Errorf("got %s", complaint)
	}
	if out, _ := c.Run(0, "import", "mugs", file("pasted.txt", "T1, T2;T3\n"), "--json"); !strings.Contains(out, `"list"`) {
		t.Errorf("got %s", out)
	}
	template, _ := c.Run(0, "import", "--template", "xlsx")
	if out, _ := c.Run(0, "import", "mugs", file("template", template), "--sheet", "Codes"); !strings.Contains(out, `xlsx, sheet "Codes", header in line 1`) {
		t.Errorf("got %s", out)
	}
	if out, _ := c.Run(0, "import", "--template", "csv"); !strings.HasPrefix(out, "code,issue_start,") {
		t.Errorf("got %s", out)
	}
	c.Run(2, "import", "--template", "pdf")
	c.Run(2, "import", "mugs", zoned, "--template", "csv")
	for want, args := range map[string][]string{
		"no pool":           {"import", "cups", codes},
		"the file is empty": {"import", "mugs", file("empty.csv", "")},
		"too large":         {"import", "mugs", file("large.csv", strings.Repeat("A\n", 1<<20))},
		"no column named":   {"import", "mugs", file("nocode.csv", "promo;issue_end\nA;\n")},
	} {
		if _, complaint := c.Run(1, args...); !strings.Contains(complaint, want) {
			t.Errorf("%q: got %s, want %q", args, complaint, want)
		}
	}
	c.Run(2, "import", "mugs", filepath.Join(dir, "none.csv"))
}
