package demo

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"promopool/internal/domain"
)

// header is that of the files which marketing departments have.
const header = "Code;IssueStartDateTimeUtc;IssueEndDateTimeUtc;AvailableFromDateTimeUtc;AvailableTillDateTimeUtc"

const fileTime = "2006-01-02 15:04:05"

// A wave is a part of the codes, with when they may be issued and used.
type wave struct {
	percent                                            int
	issueStart, issueEnd, availableFrom, availableTill time.Time
}

func (w wave) row(code string) string {
	return strings.Join([]string{
		code, w.issueStart.Format(fileTime), w.issueEnd.Format(fileTime),
		w.availableFrom.Format(fileTime), w.availableTill.Format(fileTime),
	}, ";")
}

// wavesFrom is the plan of a sale: most codes for now, the last for later.
func wavesFrom(today time.Time) []wave {
	day := func(n int) time.Time { return today.AddDate(0, 0, n) }
	return []wave{
		{40, day(-7), day(14), day(-7), day(30)},
		{50, day(-7), day(45), day(-7), day(75)},
		{10, day(14), day(60), day(14), day(90)},
	}
}

// usable is how many of n codes of the file may be issued at once.
func usable(n int) int { return n - n/10 }

// A fault is a row that is wrong on purpose.
type fault struct {
	Line   int64 // in the file, the header being line 1
	Reason domain.RefusalReason
}

// writeCodes writes a file of n good codes, and a few rows that are not, of
// which it returns what an import must say. Each call writes other codes.
func writeCodes(to io.Writer, prefix string, n int, now time.Time) ([]fault, error) {
	out := bufio.NewWriterSize(to, 1<<16)
	waves := wavesFrom(now.UTC().Truncate(24 * time.Hour))
	fmt.Fprintln(out, header)

	wrong := []struct {
		reason domain.RefusalReason
		row    func(earlier, code string) string
	}{
		{domain.DuplicateInFile, func(earlier, _ string) string { return waves[0].row(earlier) }},
		{domain.EmptyCode, func(_, _ string) string { return waves[0].row("") }},
		{domain.BadDate, func(_, code string) string {
			return strings.Replace(waves[0].row(code), waves[0].issueEnd.Format(fileTime), "2026-02-30 00:00:00", 1)
		}},
		{domain.EndBeforeStart, func(_, code string) string {
			w := waves[0]
			w.issueStart, w.issueEnd = w.issueEnd, w.issueStart
			return w.row(code)
		}},
		{domain.BadDate, func(_, code string) string { return code + ";next summer;;;" }},
		{domain.WindowOver, func(_, code string) string {
			w := waves[0]
			w.issueStart, w.issueEnd = w.issueStart.AddDate(-1, 0, 0), w.issueEnd.AddDate(-1, 0, 0)
			return w.row(code)
		}},
		{domain.TooManyColumns, func(_, code string) string { return waves[1].row(code) + ";10 % off" }},
		{domain.DuplicateInFile, func(earlier, _ string) string { return waves[1].row(earlier) }},
	}
	var faults []fault
	fresh := newCodes(prefix)
	line, first := int64(1), ""
	at, end := 0, n*waves[0].percent/100
	for i := range n {
		if i == end {
			at++
			end += n * waves[at].percent / 100
			if at == len(waves)-1 {
				end = n
			}
		}
		code := fresh()
		if first == "" {
			first = code
		}
		fmt.Fprintln(out, waves[at].row(code))
		line++
		// The wrong rows lie evenly between the good ones.
		if k := len(faults); k < len(wrong) && i+1 >= (k+1)*n/(len(wrong)+1) {
			fmt.Fprintln(out, wrong[k].row(first, fresh()))
			line++
			faults = append(faults, fault{line, wrong[k].reason})
		}
	}
	return faults, out.Flush()
}

// newCodes returns a maker of codes, each another.
func newCodes(prefix string) func() string {
	const alphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ" // none that look alike
	seen := map[string]bool{}
	return func() string {
		for {
			b := []byte(prefix + "-XXXX-XXXX")
			for i := len(prefix); i < len(b); i++ {
				if b[i] == 'X' {
					b[i] = alphabet[rand.IntN(len(alphabet))]
				}
			}
			if code := string(b); !seen[code] {
				seen[code] = true
				return code
			}
		}
	}
}
