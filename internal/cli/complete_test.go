package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// Completes returns what the shell offers for a line whose last word is begun.
func (c *counter) Completes(line ...string) []string {
	c.t.Helper()
	out, _ := c.Run(done, append([]string{"__complete"}, line...)...)
	words := strings.Split(strings.TrimSpace(out), "\n")
	return words[:len(words)-1] // the last is for the shell
}

// TestComplete: ids come from the server, wherever a usage line asks for one.
func TestComplete(t *testing.T) {
	c := newCounter(t)
	for _, line := range []string{
		"campaign create Summer", "campaign create Spring",
		"pool create Beach --campaign summer --description d", "pool create Shore --campaign summer --description d",
		"pool create Sold --campaign summer --description d", "launch shore", "launch sold", "pool archive sold",
		"staff create Anna --email anna@example.com",
	} {
		c.Run(done, words(line)...)
	}
	codes := filepath.Join(t.TempDir(), "codes.csv")
	if err := os.WriteFile(codes, []byte("SUN-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Run(done, "import", "beach", codes)

	pools := []string{"beach\tBeach", "shore\tShore", "sold\tSold"}
	narrower := map[string][]string{
		"promopool launch": pools[:1], "promopool pool delete": pools[:1], "promopool pool archive": pools[1:2],
		"promopool import": pools[:2], "promopool generate": pools[:2], "promopool imports cancel": {},
	}
	root := (&program{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).root()
	seen := 0
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			check(sub)
		}
		usage := strings.Fields(cmd.Use)
		if len(usage) < 2 {
			return
		}
		want, ok := map[string][]string{
			"CAMPAIGN": {"spring\tSpring", "summer\tSummer"}, "POOL": pools, "TASK": {"1\tbeach completed codes.csv"}, "STAFF": {"anna\tAnna"},
		}[strings.Trim(usage[1], "[]")]
		if fewer, narrow := narrower[cmd.CommandPath()]; narrow {
			want = fewer
		}
		if !ok {
			return
		}
		seen++
		got := c.Completes(append(words(cmd.CommandPath())[1:], "")...)
		got = slices.DeleteFunc(got, func(s string) bool { // commands of their own
			name, _, _ := strings.Cut(s, "\t")
			return slices.ContainsFunc(cmd.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", cmd.CommandPath(), diff)
		}
	}
	check(root)
	if seen < 20 {
		t.Errorf("%d commands take something of the server, want 20 or more", seen)
	}

	for line, want := range map[string][]string{
		"pool get sh":                     {"shore\tShore"},
		"pool get xyz":                    {},
		"code beach ":                     {}, // a code is money
		"pool list --state ":              {"draft", "active", "archived"},
		"pool create x --campaign su":     {"summer\tSummer"},
		"pool set beach --processing ":    {"internal", "external"},
		"import beach x.csv --delimiter ": {"comma", "semicolon", "tab", "pipe"},
		"import --template ":              {"csv", "xlsx"},
		"code export beach --state ":      {"available", "scheduled", "issued", "expired", "blocked", "redeemed", "withdrawn"},
		"tail --topic ":                   append([]string{"all"}, topicWords...),
		"staff list --active ":            {"true", "false"},
		"generate beach --count ":         {},
	} {
		if diff := cmp.Diff(want, c.Completes(strings.Split(line, " ")...)); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
	// FILE, and what a flag calls one, is the shell's to complete.
	for _, line := range []string{"import beach ", "import beach x.csv --rejected ", "pool list --token-file "} {
		if out, _ := c.Run(done, append([]string{"__complete"}, strings.Split(line, " ")...)...); out != fmt.Sprintf(":%d\n", cobra.ShellCompDirectiveDefault) {
			t.Errorf("%s: got %q", line, out)
		}
	}
}

// TestCompleteWithoutServer: the line stays as it is, soon and without a word.
func TestCompleteWithoutServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := &counter{t: t}
	for _, server := range []string{"127.0.0.1:1", "http://" + silent.Addr().String(), "://"} {
		t.Setenv("PROMOPOOL_SERVER", server)
		if got := c.Completes("launch", ""); len(got) != 0 {
			t.Errorf("%s: got %q", server, got)
		}
		if out, complaint := c.Run(done, "__complete", "launch", ""); strings.Contains(complaint, "promopool:") || strings.Contains(out, "answer") {
			t.Errorf("%s: got %q and %q", server, out, complaint)
		}
	}
}
