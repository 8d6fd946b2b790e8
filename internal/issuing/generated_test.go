package issuing_test

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"testing"
	"time"

	"promopool/internal/domain"
)

var generatedRequests = flag.Int("generated", 12_000, "requests of TestGenerated")

// Generate gives the pool n codes of the pattern.
func (w *world) Generate(id, text string, n int64) {
	w.Helper()
	p, err := domain.ParsePattern(text, "")
	if err != nil {
		w.Fatal(err)
	}
	w.made[id] = true
	if _, err := w.store.Generate(context.Background(), "test", id, domain.Generation{Pattern: p, Count: n, MaxGuessOdds: 1e-6}); err != nil {
		w.Fatal(err)
	}
}

// TestGenerated: of a billion codes some are issued on all partitions: distinct,
// of the pattern, repeated alike, and each found by its text. A million of them:
// go test -run TestGenerated -generated 1000000.
func TestGenerated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("gen", 0)
	w.Generate("gen", "SUMMER-####-####-####", 1_000_000_000)
	each := *generatedRequests / w.count
	_, parts := crew(w, 1, w.count)
	for n := range parts {
		w.Publish(n, asks("gen", fmt.Sprint("r", n), each)...)
	}
	start := time.Now()
	together(parts, func(p *part) error { return p.Work(1000) })
	took := time.Since(start)
	w.Check() // it counts owners by code
	if got := len(w.owners); got != each*w.count {
		t.Errorf("%d codes went to %d requests", got, each*w.count)
	}
	t.Logf("%d issued in %s, %.0f/s", each*w.count, took, float64(each*w.count)/took.Seconds())
	form := regexp.MustCompile(`^SUMMER-[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{4}$`)
	checked := 0
	for code, request := range w.owners {
		if !form.MatchString(code) {
			t.Fatalf("%q is not of the pattern", code)
		}
		if checked++; checked > 5_000 {
			continue
		}
		story, err := w.store.Code(context.Background(), "gen", code)
		if err != nil || story.State != domain.CodeIssued || story.Issue.RequestID != request {
			t.Fatalf("%s: got %+v, %v, want it issued to %s", code, story, err, request)
		}
	}
	// Once more, by another: the same codes, made of their numbers.
	again := w.Issuer("two", nil)
	again.Open(0, 0).Want(map[string]int{"issued": each})
	if n := w.Int("SELECT count(*) FROM codes"); n != 0 {
		t.Errorf("%d codes are stored", n)
	}
}

// TestGeneratedDrain: a generated pool is emptied to its last code, scarce as it
// is, by several partitions, and then exhausted.
func TestGeneratedDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("gen", 0)
	w.Generate("gen", "9999999999", 300)
	w.Generate("gen", "9999999999", 200)
	_, parts := crew(w, 2, 4)
	for n := range parts {
		w.Publish(n, asks("gen", fmt.Sprint("r", n), 150)...)
	}
	together(parts, func(p *part) error { return p.Work(40) })
	w.Check()
	if issued, exhausted := w.Count("issued"), w.Count("pool_exhausted"); issued != 500 || exhausted != 100 || len(w.owners) != 500 {
		t.Errorf("got %d issued to %d, %d exhausted, want 500 and 100", issued, len(w.owners), exhausted)
	}
}
