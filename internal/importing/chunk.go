package importing

import (
	"errors"
	"io"
	"strings"
	"time"

	"promopool/internal/domain"
)

// Bounds of a chunk, which is one transaction. A row of lots is written for every
// distinct window while the pool is locked: hence their bound.
const (
	chunkRows      = 50_000
	firstChunkRows = 2_000 // of a file, so that its first codes can be issued at once
	leastChunkRows = 100
	growth         = 25
	chunkWindows   = 10_000
	chunkBytes     = 8 << 20
)

// Bounds of what is kept of a refused row.
const (
	maxValue = 200
	maxRaw   = 4096
)

// chunk is consecutive rows of a file, and where the next begins.
type chunk struct {
	rows   []Row
	end    Position
	done   int64 // bytes of the file before end, at least
	layout *domain.Layout
	last   bool
}

// firstRows is the size of the first chunk of a session: the smaller, the
// oftener others have failed at the same place, so that in the end even a
// database that is too slow or never up for long gets forward.
func firstRows(job Job) int {
	rows := chunkRows
	if job.From.Offset == 0 {
		rows = firstChunkRows
	}
	return max(leastChunkRows, rows>>(2*(max(job.Attempts, 1)-1)))
}

// readChunk reads at most the given number of rows.
func readChunk(p *Parser, rows int) (chunk, error) {
	c := chunk{rows: make([]Row, 0, rows)}
	windows := make(map[domain.Window]bool)
	bytes := 0
	for len(c.rows) < rows && bytes < chunkBytes && len(windows) < chunkWindows {
		row, err := p.Next()
		if errors.Is(err, io.EOF) {
			c.last = true
			break
		}
		if err != nil {
			return chunk{}, err
		}
		c.rows = append(c.rows, row)
		bytes += len(row.Raw) + len(row.Code)
		if row.Refused == "" {
			windows[row.Window] = true
		}
	}
	c.end, c.done, c.layout = p.Position(), p.Done(), p.Layout()
	return c, nil
}

// Found is a code of the file that the pool has.
type Found struct {
	Place  domain.Place
	Window domain.Window
	Named  bool // by a row before, which added, moves or left it
	Issued bool // in a single-use pool, once and for all

	// Withheld: the code is out of the stock as blocked or redeemed; "": it is not.
	Withheld domain.CodeState
}

// Lot is new codes that share a window.
type Lot struct {
	Window domain.Window
	Codes  []string // in the order of the file
}

// Move is a code that is to get other dates.
type Move struct {
	Code   string
	From   domain.Place
	Window domain.Window
	Line   int64  // of its row
	Row    string // as it came, for the report if the code turns out to be issued
}

// Refusal is what becomes of the row when the code cannot move.
func (m *Move) Refusal(why domain.RefusalReason) domain.Refusal {
	return domain.Refusal{Line: m.Line, Reason: why, Value: keep(m.Code, maxValue), Row: m.Row}
}

// Step is what one transaction makes true of an import.
type Step struct {
	At        time.Time
	End       Position
	Done      int64 // bytes of the file before End, at least
	Layout    *domain.Layout
	Rows      int64
	Added     int64
	Lots      []Lot
	Moves     []Move
	Unchanged []string
	Refusals  []domain.Refusal
	Last      bool // the file ends here
}

// decide says what becomes of a chunk's rows at the given time. found are the
// codes among them that the pool has.
func decide(c chunk, now time.Time, multiUse bool, found map[string]Found) Step {
	s := Step{At: now, End: c.end, Done: c.done, Layout: c.layout, Rows: int64(len(c.rows)), Last: c.last}
	lots := make(map[domain.Window]int)
	seen := make(map[string]struct{}, len(c.rows))
	for i := range c.rows {
		row := &c.rows[i]
		have, known := found[row.Code]
		switch why := verdict(row, now, multiUse, seen, have, known); {
		case why != "":
			s.Refusals = append(s.Refusals, refusal(row, why))
			continue
		case known && have.Window == row.Window:
			s.Unchanged = append(s.Unchanged, row.Code)
		case known:
			s.Moves = append(s.Moves, Move{Code: row.Code, From: have.Place, Window: row.Window, Line: row.Line, Row: keep(row.Raw, maxRaw)})
		default:
			s.add(lots, row)
		}
		seen[row.Code] = struct{}{}
	}
	return s
}

func (s *Step) add(lots map[domain.Window]int, row *Row) {
	at, ok := lots[row.Window]
	if !ok {
		at = len(s.Lots)
		lots[row.Window] = at
		s.Lots = append(s.Lots, Lot{Window: row.Window})
	}
	s.Lots[at].Codes = append(s.Lots[at].Codes, row.Code)
	s.Added++
}

// verdict says why a row is refused, "" when it is not.
func verdict(row *Row, now time.Time, multiUse bool, seen map[string]struct{}, have Found, known bool) domain.RefusalReason {
	switch {
	case row.Refused != "":
		return row.Refused
	case row.Window.Expired(now):
		return domain.WindowOver
	}
	if _, ok := seen[row.Code]; ok || have.Named {
		return domain.DuplicateInFile
	}
	switch {
	case known && multiUse && have.Window != row.Window:
		return domain.DatesFixed
	case known && !multiUse && have.Issued:
		return domain.AlreadyIssued
	case known && have.Withheld != "":
		return domain.WithheldRefusal(have.Withheld)
	}
	return ""
}

func refusal(row *Row, why domain.RefusalReason) domain.Refusal {
	value := row.Value
	if row.Refused == "" {
		value = row.Code
	}
	if why == domain.WindowOver {
		end := row.Window.IssueEnd
		if end.IsZero() || !row.Window.AvailableTill.IsZero() && row.Window.AvailableTill.Before(end) {
			end = row.Window.AvailableTill
		}
		value = domain.EventTime(end)
	}
	return domain.Refusal{Line: row.Line, Reason: why, Value: keep(value, maxValue), Row: keep(row.Raw, maxRaw)}
}

// storable is s as PostgreSQL can have it.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}

// keep makes s fit for PostgreSQL and at most n bytes long.
func keep(s string, n int) string {
	s = storable(s)
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
