package importing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"promopool/internal/domain"
)

// Position is a place between two rows of a file.
type Position struct {
	Offset int64 // bytes of its text before it, in UTF-8
	Line   int64 // lines before it
}

// Row is a row of a file: a code with its window, or refused.
type Row struct {
	Line   int64  // from 1
	Raw    string // as it came, without the line's end
	Code   string
	Window domain.Window

	Refused domain.RefusalReason // "": not
	Value   string               // what is wrong
}

// Parser reads codes from a file, row by row. Begun at any Position it gives
// the same rows as one that has come there from the beginning.
type Parser struct {
	r      *bufio.Reader
	at     Position
	layout *domain.Layout

	form      domain.Layout // what was known before the text was seen
	delimiter string        // as told; "": by looking
	zone      *time.Location
	done      func(offset int64) int64
	close     func()

	sheet   bool
	place   [5]int // column of the file by domain.Columns; -1: absent
	cells   [][]byte
	windows map[string]windowOf // by the text of the dates
	key     []byte
}

// maxWindows bounds the memory for windows already read.
const maxWindows = 4096

// newParser reads the text of a source, which begins at the given position.
func newParser(s source, at Position, delimiter string, zone *time.Location, layout *domain.Layout) *Parser {
	p := &Parser{
		r: bufio.NewReaderSize(s.text, 8*maxRecord), at: at,
		form: s.form, delimiter: delimiter, zone: zone, done: s.done, close: s.close,
		windows: make(map[string]windowOf),
	}
	if layout != nil {
		p.use(layout)
	}
	return p
}

// Position is where the next row begins.
func (p *Parser) Position() Position { return p.at }

// Close ends the reading.
func (p *Parser) Close() {
	if p.close != nil {
		p.close()
	}
}

// Done is how many bytes of the file lie before Position, at least.
func (p *Parser) Done() int64 { return p.done(p.at.Offset) }

// Layout is how the file is understood; nil before the first row.
func (p *Parser) Layout() *domain.Layout { return p.layout }

// Next returns the next row, or io.EOF. Blank rows are passed over. An
// ErrFile is the file's fault; other errors are the reader's.
func (p *Parser) Next() (Row, error) {
	if p.layout == nil {
		if err := p.begin(); err != nil {
			return Row{}, err
		}
	}
	for {
		b, whole, err := p.peek()
		if err != nil {
			return Row{}, err
		}
		if len(b) == 0 {
			return Row{}, io.EOF
		}
		cells, size, reason := split(p.cells[:0], b, p.layout.Delimiter[0], whole)
		if cells != nil {
			p.cells = cells
		}
		row := Row{Line: p.at.Line + 1, Refused: reason}
		if reason == domain.LineTooLong {
			row.Raw = p.raw(b[:maxRaw])
			row.Value = row.Raw
			return row, p.skipLine()
		}
		record := bytes.TrimRight(b[:size], "\r\n")
		empty := reason == "" && allBlank(cells)
		if !empty {
			row.Raw = p.raw(record)
			p.read(&row, cells)
		}
		p.at.Line += int64(bytes.Count(b[:size], []byte("\n")))
		if whole && b[size-1] != '\n' {
			p.at.Line++
		}
		if err := p.discard(size); err != nil {
			return Row{}, err
		}
		if !empty {
			return row, nil
		}
	}
}

// begin passes over a byte order mark and the header.
func (p *Parser) begin() error {
	head, whole, err := p.peek()
	if err != nil {
		return err
	}
	if bom := []byte("\xef\xbb\xbf"); bytes.HasPrefix(head, bom) {
		if err := p.discard(len(bom)); err != nil {
			return err
		}
		if head, whole, err = p.peek(); err != nil {
			return err
		}
	}
	layout, err := look(head, whole, p.form, p.delimiter)
	if err != nil {
		return err
	}
	p.use(&layout)
	for p.at.Line < layout.HeaderRow {
		_, rest, _ := bytes.Cut(head, []byte("\n"))
		if err := p.discard(len(head) - len(rest)); err != nil {
			return err
		}
		p.at.Line++
		head = rest
	}
	return nil
}

func (p *Parser) use(l *domain.Layout) {
	p.layout = l
	p.sheet = l.Format == domain.FormatXLSX
	for i, want := range domain.Columns {
		p.place[i] = -1
		for at, c := range l.Columns {
			if c == want {
				p.place[i] = at
			}
		}
	}
}

// peek returns what can be seen of the file from here; whole: up to its end.
func (p *Parser) peek() (b []byte, whole bool, _ error) {
	b, err := p.r.Peek(maxRecord)
	if errors.Is(err, io.EOF) {
		return b, true, nil
	}
	return b, false, err
}

func (p *Parser) discard(n int) error {
	_, err := p.r.Discard(n)
	p.at.Offset += int64(n)
	return err
}

// skipLine passes over a line of any length.
func (p *Parser) skipLine() error {
	for {
		part, err := p.r.ReadSlice('\n')
		p.at.Offset += int64(len(part))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil || errors.Is(err, io.EOF):
			p.at.Line++
			return nil
		}
		return err
	}
}

// read makes a row of its cells.
func (p *Parser) read(row *Row, cells [][]byte) {
	switch {
	case !utf8.ValidString(row.Raw):
		row.refuse(domain.NotUTF8, row.Raw)
		return
	case row.Refused != "":
		row.Value = row.Raw
		return
	case len(cells) > len(p.layout.Columns) && !allBlank(cells[len(p.layout.Columns):]):
		row.refuse(domain.TooManyColumns, fmt.Sprintf("%d columns instead of %d", len(cells), len(p.layout.Columns)))
		return
	}
	if p.sheet && !p.readMarks(row) {
		return
	}
	cell := func(column int) []byte {
		if at := p.place[column]; at >= 0 && at < len(cells) {
			return cells[at]
		}
		return nil
	}
	text := plain(string(cell(0)))
	code, reason := domain.CleanCode(text)
	if reason != "" {
		row.refuse(reason, text)
		return
	}
	row.Code = code

	p.key = p.key[:0]
	for i := 1; i < len(p.place); i++ {
		p.key = append(append(p.key, cell(i)...), 0)
	}
	w, ok := p.windows[string(p.key)]
	if !ok {
		w = parseWindow([4]string{string(cell(1)), string(cell(2)), string(cell(3)), string(cell(4))}, p.zone)
		if len(p.windows) == maxWindows {
			clear(p.windows)
		}
		p.windows[string(p.key)] = w
	}
	row.Window = w.window
	if w.reason != "" {
		row.refuse(w.reason, w.value)
	}
}

// raw is a record as it came.
func (p *Parser) raw(record []byte) string {
	if p.sheet {
		return unmarked(record)
	}
	return string(record)
}

func (r *Row) refuse(why domain.RefusalReason, value string) {
	r.Refused, r.Value = why, value
}

func allBlank(cells [][]byte) bool {
	for _, c := range cells {
		if !blank(c) {
			return false
		}
	}
	return true
}
