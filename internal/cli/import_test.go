package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImport(t *testing.T) {
	c := newCounter(t)
	t.Setenv("PROMOPOOL_ACTOR", "anna")
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
	if !strings.Contains(complaint, "2 of 4 rows were refused") {
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
	c.Shows([]string{"import", "mugs", file("pasted", "T4, T5;T6\n"), "--pasted", "--dry-run"}, "added 3", "read as list, utf-8, no header")
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

	c.Shows([]string{"imports", "show", "1"}, "status completed with refusals", "by anna", "file codes.csv", " duplicate_in_file 1"[1:], "file kept until")
	c.Shows([]string{"imports", "show", "1", "--follow"}, "status completed with refusals", "rows 4")
	c.Shows([]string{"imports", "list"}, "TASK POOL STATUS", "1 mugs completed with refusals 4 2 0 2 anna")
	c.Shows([]string{"imports", "list", "mugs", "--status", "completed"}, "3 mugs completed 2 2 0 0 anna")
	c.Fails("there is no pool \"cups\"", "imports", "list", "cups")
	c.Fails("there is no import 99", "imports", "show", "99")
	c.Fails("there is no import 99", "imports", "cancel", "99")
	c.Fails("is completed with refusals: there is nothing left to cancel", "imports", "cancel", "1")
	if out, _ := c.Run(0, "imports", "rejected", "1"); !strings.HasPrefix(out, "code;issue_end;note;line;reason\nA1;;;4;") {
		t.Errorf("got %q", out)
	}
	back := filepath.Join(dir, "back.csv")
	c.Run(0, "imports", "file", "1", "--output", back)
	if got, err := os.ReadFile(back); err != nil || string(got) != "code;issue_end;note\nA1;2099-01-01;\nA2;;x\nA1;;\n;2099-01-01;\n" {
		t.Errorf("got %q, %v", got, err)
	}
	c.Fails("there is no import 99", "imports", "file", "99", "-o", back)

	if out, _ := c.Run(0, "code", "export", "mugs", "--state", "available", "-o", back); !strings.HasPrefix(out, "8 codes in ") {
		t.Errorf("got %q", out)
	}
	exported, err := os.ReadFile(back)
	if err != nil || !strings.Contains(string(exported), "\nA1,available,,2099-01-01T00:00:00Z,,,0,,,,,\n") {
		t.Errorf("got %s, %v", exported, err)
	}
	if out, _ := c.Run(0, "code", "export", "mugs"); out != string(exported) {
		t.Errorf("got %s, want %s", out, exported)
	}
	c.Fails("there is no pool \"cups\"", "code", "export", "cups")
	c.Fails("scheduled", "code", "export", "mugs", "--state", "held", "-o", filepath.Join(dir, "held.csv"))
	if left, err := filepath.Glob(filepath.Join(dir, "held*")); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// What was exported can be imported: it is all there.
	if out, _ := c.Run(0, "import", "mugs", back); !strings.Contains(out, "unchanged") {
		t.Errorf("got %s", out)
	}
}
