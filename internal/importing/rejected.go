package importing

import (
	"encoding/csv"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"promopool/internal/domain"
)

// dangerous are the characters that make a spreadsheet take a cell that begins
// with one for a formula; the wide ones where East Asian scripts are written.
const dangerous = "=+-@\t\r\n＝＋－＠"

func isDangerous(cell string) bool {
	first, size := utf8.DecodeRuneInString(cell)
	return size > 0 && strings.ContainsRune(dangerous, first)
}

// Defuse makes a cell safe to open in a spreadsheet; plain is its inverse.
func Defuse(cell string) string {
	if isDangerous(cell) {
		return "'" + cell
	}
	return cell
}

func plain(cell string) string {
	if t, ok := strings.CutPrefix(strings.TrimSpace(cell), "'"); ok && isDangerous(t) {
		return t
	}
	return cell
}

// rejected writes a file of refused rows.
type rejected struct {
	out       *csv.Writer
	delimiter byte
	cells     []string // of a row as it came
	kept      []int    // those of them that are written
	row       []string // these, then line and reason
	err       error    // of the header
}

func newRejected(w io.Writer, layout *domain.Layout) *rejected {
	if layout == nil { // the file was not even looked at, so nothing was refused
		layout = &domain.Layout{Delimiter: ",", Columns: domain.Columns}
	}
	r := &rejected{out: csv.NewWriter(w), delimiter: layout.Delimiter[0], cells: make([]string, len(layout.Columns))}
	if layout.Mark || layout.Encoding != "" && layout.Encoding != "utf-8" || layout.Format == domain.FormatXLSX {
		// Where it came from text is opened in a code page, unless this says not to.
		_, r.err = io.WriteString(w, byteOrderMarks[0].bytes)
	}
	r.out.Comma = rune(r.delimiter)
	for i, c := range layout.Columns {
		if c == domain.ColumnLine || c == domain.ColumnReason { // of the time before
			continue
		}
		name := string(c)
		if layout.Header != nil {
			name = Defuse(layout.Header[i])
		}
		r.kept = append(r.kept, i)
		r.row = append(r.row, name)
	}
	r.row = append(r.row, string(domain.ColumnLine), string(domain.ColumnReason))
	r.err = errors.Join(r.err, r.out.Write(r.row))
	return r
}

func (r *rejected) write(f domain.Refusal) error {
	fillCells(r.cells, f.Row, r.delimiter)
	for i, from := range r.kept {
		r.row[i] = r.cells[from]
	}
	n := len(r.kept)
	r.row[n], r.row[n+1] = strconv.FormatInt(f.Line, 10), string(f.Reason)
	return r.out.Write(r.row)
}

func (r *rejected) close() error {
	r.out.Flush()
	return errors.Join(r.err, r.out.Error())
}

// fillCells puts the cells of a row into their columns; a row that has no
// cells, or too many, goes into the first as a whole.
func fillCells(into []string, row string, delimiter byte) {
	clear(into)
	cells, _, reason := split(nil, []byte(row), delimiter, true)
	if reason != "" && reason != domain.LineBreak || len(cells) > len(into) {
		into[0] = Defuse(row)
		return
	}
	for i, c := range cells {
		into[i] = Defuse(string(c))
	}
}
