package crashpoint_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promopool/internal/crashpoint"
)

var update = flag.Bool("update", false, "write the tables of docs/ anew")

// pages are where the documentation shows a group of points.
var pages = map[string]string{
	"starting": "reliability.md", "pools": "reliability.md",
	"issuing": "issuing.md", "gate": "issuing.md", "byhand": "issuing.md", "imports": "issuing.md",
	"redeeming": "redeeming.md",
	"notices":   "notices.md", "outbox": "notices.md",
	"customers": "customers.md",
}

// TestDocs holds the tables of the documentation to the register, which is their
// source: go test ./internal/crashpoint -update.
func TestDocs(t *testing.T) {
	groups := map[string][]*crashpoint.Point{}
	for _, p := range crashpoint.All() {
		groups[p.Group()] = append(groups[p.Group()], p)
		if pages[p.Group()] == "" {
			t.Errorf("point %s is of no group that a page of docs shows", p.Name)
		}
	}
	for group, page := range pages {
		file := filepath.Join("..", "..", "docs", page)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := fmt.Sprintf("<!-- crash points: %s -->\n", group), "<!-- end of crash points -->"
		head, rest, found := strings.Cut(string(text), begin)
		shown, foot, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Errorf("docs/%s has no place for the crash points of %s", page, group)
			continue
		}
		want := table(groups[group])
		if shown == want {
			continue
		}
		if !*update {
			t.Errorf("docs/%s: the crash points of %s are not those of the register; go test ./internal/crashpoint -update", page, group)
			continue
		}
		if err := os.WriteFile(file, []byte(head+begin+want+end+foot), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func table(points []*crashpoint.Point) string {
	var b strings.Builder
	b.WriteString("\n| point | writes | before it | behind it | who repairs it |\n|---|---|---|---|---|\n")
	for _, p := range points {
		to := ""
		if p.To == crashpoint.Kafka {
			to = " (Kafka)"
		}
		fmt.Fprintf(&b, "| `%s` | %s%s | %s | %s | %s |\n", p.Name, p.Write, to, p.Before, p.After, p.Repair)
	}
	b.WriteString("\n")
	return b.String()
}

// TestPoints wants every point told whole, under a name of its own.
func TestPoints(t *testing.T) {
	names := map[string]bool{}
	for _, p := range crashpoint.All() {
		if names[p.Name] || !strings.HasPrefix(p.Name, p.Group()+".") {
			t.Errorf("point %s has a name that another has, or none of a group", p.Name)
		}
		names[p.Name] = true
		if p.Write == "" || p.Before == "" || p.After == "" || p.Repair == "" || (p.To == crashpoint.Kafka) != (p.Patience > 0) {
			t.Errorf("point %s is not told whole", p.Name)
		}
		for _, name := range strings.Split(p.Repair, "`") {
			if group, _, dotted := strings.Cut(name, "."); dotted && pages[group] != "" && !strings.Contains(name, " ") && name != p.Name && !known(name) {
				t.Errorf("point %s speaks of %s, which is none", p.Name, name)
			}
		}
	}
}

func known(name string) bool {
	for _, p := range crashpoint.All() {
		if p.Name == name {
			return true
		}
	}
	return false
}
