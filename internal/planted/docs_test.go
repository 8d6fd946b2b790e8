package planted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where the table of bugs stands.
const (
	page      = "docs/reliability.md"
	tableFrom = "<!-- planted bugs -->\n\n"
	tableTill = "\n<!-- end of planted bugs -->"
)

// table is what docs/reliability.md says of the bugs.
func table() string {
	var t strings.Builder
	t.WriteString("| | bug | what would come of it | caught by |\n|--|---|---|---|\n")
	for _, b := range bugs {
		number, _, _ := strings.Cut(b.name, "-")
		test := strings.NewReplacer("^", "", "$", "").Replace(b.run)
		if len(b.args) > 2 {
			test += " " + strings.Join(b.args, " ")
		}
		fmt.Fprintf(&t, "| [%s](../internal/planted/testdata/%s.patch) | %s | %s | `%s`: `%s` |\n", number, b.name, b.what, b.breaks, strings.TrimPrefix(b.pkg, "internal/"), test)
	}
	return t.String()
}

// TestTable: the documentation has the table that this package works by.
func TestTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), tableFrom)
	got, _, ended := strings.Cut(rest, tableTill)
	if want := table(); !found || !ended || got != want {
		t.Errorf("%s has another table of bugs; the right one:\n%s", page, want)
	}
}
