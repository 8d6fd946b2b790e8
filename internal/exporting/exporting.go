// Package exporting writes the codes of a pool as a file that a spreadsheet can
// open and that can be uploaded again. It reads them in pages, each a short
// transaction of its own, because a long one would slow issuing down; so
// memory is constant, and a reader that waits holds nothing.
//
// Every line is true of the moment at which its page was read, and the pages
// follow each other: a code that is issued meanwhile may stand as either. One
// that is moved to other dates meanwhile may stand with both of them, or be
// missing.
package exporting

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"promopool/internal/domain"
	"promopool/internal/importing"
)

// Store lists codes.
type Store interface {
	// Codes returns codes behind a place, in the order of their places, none when
	// there are no more. only: domain.CodeIssued for those that are issued;
	// anything else means all.
	Codes(ctx context.Context, pool *domain.Pool, only domain.CodeState, after domain.Place, limit int) ([]domain.CodeRow, error)
}

// pageRows is how many codes are in memory at once, some 2 MB.
const pageRows = 5_000

// Exporter writes codes.
type Exporter struct{ store Store }

// New returns an exporter.
func New(store Store) *Exporter { return &Exporter{store: store} }

// Header are the columns. Those that an upload knows are named as it knows them;
// the others it ignores.
var Header = []string{
	"code", "state", "issue_start", "issue_end", "available_from", "available_till",
	"times_issued", "customer_id", "request_id", "issued_at", "valid_from", "valid_until",
}

// WriteCodes writes those of a pool's codes that are in a state, all where it is
// empty. A code that many may use is never in the state issued; its line says
// how often it was.
func (e *Exporter) WriteCodes(ctx context.Context, pool *domain.Pool, state domain.CodeState, w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(Header); err != nil {
		return err
	}
	l := line{cells: make([]string, len(Header))}
	for after := (domain.Place{Seq: -1}); ; {
		page, err := e.store.Codes(ctx, pool, state, after, pageRows)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			out.Flush()
			return out.Error()
		}
		for i := range page {
			if state == "" || page[i].State == state {
				if err := out.Write(l.of(&page[i])); err != nil {
					return err
				}
			}
		}
		after = page[len(page)-1].Place
	}
}

// line is a line of the file, made in the same place every time.
type line struct {
	cells  []string
	window domain.Window // of cells 2 to 5
}

func (l *line) of(c *domain.CodeRow) []string {
	l.cells[0], l.cells[1] = importing.Defuse(c.Code), string(c.State)
	if l.window != c.Window { // as a rule it is that of the line before
		l.window = c.Window
		l.cells[2], l.cells[3] = timeText(c.Window.IssueStart), timeText(c.Window.IssueEnd)
		l.cells[4], l.cells[5] = timeText(c.Window.AvailableFrom), timeText(c.Window.AvailableTill)
	}
	l.cells[6] = strconv.FormatInt(c.Times, 10)
	issue := l.cells[7:]
	clear(issue)
	if i := c.Issue; i != nil {
		issue[0], issue[1] = importing.Defuse(i.CustomerID), importing.Defuse(i.RequestID)
		issue[2], issue[3], issue[4] = timeText(i.IssuedAt), timeText(i.ValidFrom), timeText(i.ValidUntil)
	}
	return l.cells
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return domain.EventTime(t)
}
