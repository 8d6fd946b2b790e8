package importing_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"promopool/internal/domain"
)

// dated is a file of the codes prefix-from…prefix-till−1 with an end of issue.
func dated(prefix string, from, till int, end func(i int) string) *bytes.Buffer {
	var b bytes.Buffer
	b.WriteString("code;issue_end\n")
	for i := from; i < till; i++ {
		fmt.Fprintf(&b, "%s-%07d;%s\n", prefix, i, end(i))
	}
	return &b
}

func always(end string) func(int) string { return func(int) string { return end } }

// TestImportMoves: codes uploaded again get the dates of the new file, unless
// they are issued; those with the same dates stay.
func TestImportMoves(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	w.end(w.upload("mugs", dated("M", 0, 6000, always("2098-01-01"))).Task)
	w.issue("mugs", 100)

	i := w.end(w.upload("mugs", dated("M", 50, 7000, func(n int) string {
		if n%2 == 0 {
			return "2098-01-01"
		}
		return "2099-01-01"
	})).Task)
	// 50…99 are issued; of 100…5999 half get other dates.
	if i.Added != 1000 || i.Moved != 2950 || i.Unchanged != 2950 || i.Refused != 50 {
		t.Errorf("got %+v", i)
	}
	refusals, err := w.store.Refusals(t.Context(), i.Task, 0, 100)
	if err != nil || len(refusals) != 50 || refusals[0].Line != 2 || refusals[0].Reason != domain.AlreadyIssued || refusals[0].Value != "M-0000050" {
		t.Errorf("got %d refusals, %v, the first %+v", len(refusals), err, refusals[0])
	}
	w.settled()
	// Every second code of a lot went: what was left is laid down anew.
	for deadline := time.Now().Add(10 * time.Second); w.count(`SELECT count(*) FROM runs`) > 20; {
		if time.Now().After(deadline) {
			t.Fatalf("%d runs are left", w.count(`SELECT count(*) FROM runs`))
		}
	}
	w.check()

	// Back again, and a second row with a code changes nothing.
	file := dated("M", 100, 6000, always("2098-01-01"))
	file.WriteString("M-0000101;2097-01-01\nM-0000102;2097-01-01\n")
	i = w.end(w.upload("mugs", file).Task)
	if i.Moved != 2950 || i.Unchanged != 2950 || i.Refused != 2 {
		t.Errorf("back: got %+v", i)
	}
	w.settled()
	s, err := w.store.Stock(t.Context(), "mugs")
	if err != nil || s.Total != 7000 || s.Issued != 100 || s.Available != 6900 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestImportMovesExpired: dates are extended of codes that have expired.
func TestImportMovesExpired(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	soon := time.Now().Add(2 * time.Second)
	w.end(w.upload("mugs", strings.NewReader("code;issue_end\nA;"+soon.UTC().Format(time.RFC3339Nano)+"\n")).Task)
	for time.Now().Before(soon) {
		time.Sleep(time.Until(soon))
	}
	if i := w.end(w.upload("mugs", strings.NewReader("code;issue_end\nA;2099-01-01\n")).Task); i.Moved != 1 {
		t.Errorf("got %+v", i)
	}
	w.settled()
}

// TestImportGrowsLots: codes with the same dates lie in one lot, in whatever order
// they come.
func TestImportGrowsLots(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	const n, windows = 120_000, 50
	i := w.end(w.upload("mugs", dated("G", 0, n, func(i int) string { return fmt.Sprintf("2099-01-01 00:%02d", i*7%windows) })).Task)
	if i.Added != n {
		t.Errorf("got %+v", i)
	}
	if lots, runs := w.count(`SELECT count(*) FROM lots`), w.count(`SELECT count(*) FROM runs`); lots != windows || runs != windows {
		t.Errorf("%d lots and %d runs, want %d", lots, runs, windows)
	}
	w.settled()
}

// TestImportManyUses: codes for many uses keep their dates, and their numbers.
func TestImportManyUses(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	w.exec(`UPDATE pools SET multi_use = true`)
	w.end(w.upload("mugs", strings.NewReader("code;issue_end\nA;2098-01-01\nB;2098-01-01\n")).Task)
	i := w.end(w.upload("mugs", strings.NewReader("code;issue_end\nA;2098-01-01\nB;2099-01-01\nC;2098-01-01\n")).Task)
	if i.Added != 1 || i.Unchanged != 1 || i.Refused != 1 {
		t.Errorf("got %+v", i)
	}
	if n := w.count(`SELECT count(*) FROM lots`); n != 2 {
		t.Errorf("%d lots, want 2", n)
	}
	w.settled()
}
