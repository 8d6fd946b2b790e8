package domain

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestNotice shows what staff read. docs/notices.md has the first three.
func TestNotice(t *testing.T) {
	const days = 24 * time.Hour
	shown, err := os.ReadFile("../../docs/notices.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.ReplaceAll(strings.ReplaceAll(string(shown), "> ", ""), ">\n", "\n")
	low := func(left, below int64, rate float64, in time.Duration) Notice {
		f := StockFacts{At: noon, Left: left, Threshold: &below, PerMinute: rate}
		if in > 0 {
			f.ExhaustedAt = noon.Add(in)
		}
		return Notice{Told: WentLow, Facts: f}
	}
	out := func(rate float64) Notice {
		return Notice{Told: Exhausted, Facts: StockFacts{At: noon, Threshold: number(100), PerMinute: rate}}
	}
	for i, c := range []struct {
		name    string
		notice  Notice
		subject string
		text    []string // paragraphs between the greeting and the link
	}{
		{"Low", low(84, 100, 11.6, 434*time.Second), "Summer sale is running low: 84 codes left", []string{
			"“Summer sale” (campaign “Summer 2026”) is running low: 84 codes are left, fewer than the 100 at which you wanted to know.",
			"Customers are getting about 12 codes a minute. At this pace the last one will be gone on Wednesday, 1 July 2026, at 12:07 UTC, in about 7 minutes.",
			"Please add codes in time, unless the promotion is meant to end with these:",
		}},
		{"Exhausted", out(11.6), "Summer sale has run out of codes", []string{
			"“Summer sale” (campaign “Summer 2026”) has run out of codes. Customers who should get one now go away empty-handed.",
			"Before that, customers were getting about 12 codes a minute.",
			"Please add codes, or archive the pool if the promotion is over:",
		}},
		{"AtOnce", low(0, 100, 5000, 0), "Summer sale fell below 100 codes, and none is left", []string{
			"“Summer sale” (campaign “Summer 2026”) has fallen below the 100 codes at which you wanted to know, and none is left.",
			"Before that, customers were getting about 5,000 codes a minute.",
			"Please add codes, or archive the pool if the promotion is over:",
		}},
		{"LastOne", low(1, 100, 0.2, 5*time.Minute), "Summer sale is running low: 1 code left", []string{
			"“Summer sale” (campaign “Summer 2026”) is running low: 1 code is left, fewer than the 100 at which you wanted to know.",
			"Customers are getting about 12 codes an hour. At this pace the last one will be gone on Wednesday, 1 July 2026, at 12:05 UTC, in about 5 minutes.",
			"Please add codes in time, unless the promotion is meant to end with these:",
		}},
		{"NoneGoes", low(9999, 10_000, 0, 0), "Summer sale is running low: 9,999 codes left", []string{
			"“Summer sale” (campaign “Summer 2026”) is running low: 9,999 codes are left, fewer than the 10,000 at which you wanted to know.",
			"No code was given out in the last five minutes, so there is no telling how long these will last.",
			"Please add codes in time, unless the promotion is meant to end with these:",
		}},
		{"ForYears", low(1_999_999_999, 2_000_000_000, 1, 0), "Summer sale is running low: 1,999,999,999 codes left", []string{
			"“Summer sale” (campaign “Summer 2026”) is running low: 1,999,999,999 codes are left, fewer than the 2,000,000,000 at which you wanted to know.",
			"Customers are getting about 1 code a minute, so these will last for years.",
			"Please add codes in time, unless the promotion is meant to end with these:",
		}},
		{"InMonths", low(99_999, 100_000, 1, 99_999*time.Minute), "Summer sale is running low: 99,999 codes left", []string{
			"“Summer sale” (campaign “Summer 2026”) is running low: 99,999 codes are left, fewer than the 100,000 at which you wanted to know.",
			"Customers are getting about 1 code a minute. At this pace the last one will be gone on Tuesday, 8 September 2026, at 22:39 UTC, in about 2 months.",
			"Please add codes in time, unless the promotion is meant to end with these:",
		}},
		{"Expired", out(0), "Summer sale has run out of codes", []string{
			"“Summer sale” (campaign “Summer 2026”) has run out of codes. Customers who should get one now go away empty-handed.",
			"No code was given out in the last five minutes.",
			"Please add codes, or archive the pool if the promotion is over:",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.notice
			n.To = &Staff{ID: "anna-novak", Name: "Anna Novak", Email: "anna@example.com"}
			n.Pool = &Pool{ID: "summer-sale", CampaignID: "summer", Name: "Summer sale"}
			n.CampaignName, n.Link = "Summer 2026", "https://promo.example.com/pools/summer-sale"
			if got := n.Subject(); got != c.subject {
				t.Errorf("subject %q, want %q", got, c.subject)
			}
			want := "Hello Anna Novak,\n\n" + strings.Join(c.text, "\n\n") + "\nhttps://promo.example.com/pools/summer-sale"
			if got := n.Text(); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if i < 3 && (!strings.Contains(docs, want) || !strings.Contains(docs, "**"+c.subject+"**")) {
				t.Error("docs/notices.md shows another")
			}
		})
	}
	for d, want := range map[time.Duration]string{
		20 * time.Second: "in less than a minute", 40 * time.Second: "in about 1 minute", 89 * time.Minute: "in about 89 minutes",
		90 * time.Minute: "in about 2 hours", 3 * time.Hour: "in about 3 hours", 35 * time.Hour: "in about 35 hours", 36 * time.Hour: "in about 2 days",
		59 * days: "in about 59 days", 75 * days: "in about 3 months", 700 * days: "in about 2 years",
	} {
		if got := within(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
