package importing

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"promopool/internal/domain"
)

// ErrFile is a file that cannot be read as a whole. The errors that wrap it
// are sentences for its sender.
var ErrFile = errors.New("the file cannot be imported")

var (
	errNoCode     = fmt.Errorf("%w: its header has no column named code", ErrFile)
	errTwice      = fmt.Errorf("%w: its header has a column twice", ErrFile)
	errTooManyCol = fmt.Errorf("%w: its first line has more than %d columns", ErrFile, maxColumns)
)

const (
	delimiters  = ";,\t|"
	sampleLines = 100
	maxColumns  = 200
	titleRows   = 20 // of a sheet, among which its header is
)

// look finds out how a file is laid out from the beginning of its text, beside
// what is known already: the first line is a header when a cell of it names a
// column. delimiter is what was told, "" for nothing.
func look(head []byte, whole bool, form domain.Layout, delimiter string) (domain.Layout, error) {
	if form.Format == domain.FormatXLSX {
		return lookAtSheet(head, form)
	}
	tried := delimiters
	if delimiter != "" {
		tried = delimiter
	}
	first, rest := firstRecord(head)
	best, err := bestHeader(first, tried)
	if err != nil {
		return form, err
	}
	switch {
	case form.Format == domain.FormatList:
		form.Delimiter, form.Columns = listDelimiters(delimiter)[:1], []domain.Column{domain.ColumnCode}
		if best.Header == nil {
			return form, nil
		}
	case best.Header == nil:
		form.Delimiter, form.Columns = delimiter, domain.Columns
		if delimiter == "" {
			form.Delimiter = string(likeliest(head, whole))
		}
		return form, nil
	case len(best.Header) == 1 && delimiter == "": // the header says nothing about it
		form.Delimiter = string(likeliest(rest, whole))
	default:
		form.Delimiter = best.Delimiter
	}
	form.HeaderRow = int64(bytes.Count(head[:len(head)-len(rest)], []byte("\n")))
	if len(rest) == 0 && !bytes.HasSuffix(head, []byte("\n")) {
		form.HeaderRow++
	}
	return withHeader(form, best)
}

// lookAtSheet looks for a header among the first rows: above it people write
// titles. The row that names most columns is it, one with the code before others.
func lookAtSheet(head []byte, form domain.Layout) (domain.Layout, error) {
	form.Delimiter, form.Columns = string(sheetDelimiter), domain.Columns
	var best domain.Layout
	var wrong error
	most := 0
	for row := range titleRows {
		line, rest, _ := bytes.Cut(head, []byte("\n"))
		l, named, err := header([]byte(unmarked(line)), sheetDelimiter)
		if slices.Contains(l.Columns, domain.ColumnCode) {
			named += len(domain.Columns)
		}
		if named > most {
			best, most, wrong, form.HeaderRow = l, named, err, int64(row)+1
		}
		head = rest
	}
	if most == 0 || wrong != nil {
		return form, wrong
	}
	return withHeader(form, best)
}

func withHeader(form, header domain.Layout) (domain.Layout, error) {
	if len(header.Header) > maxColumns {
		return form, errTooManyCol
	}
	form.Header, form.Columns = header.Header, header.Columns
	if !slices.Contains(form.Columns, domain.ColumnCode) {
		return form, errNoCode
	}
	// What a file of refused rows has behind the rows.
	if n := len(form.Columns) - 2; n > 0 && meaningOf(form.Header[n]) == "line" && meaningOf(form.Header[n+1]) == "reason" {
		form.Columns[n], form.Columns[n+1] = domain.ColumnLine, domain.ColumnReason
	}
	return form, nil
}

// bestHeader reads a line as a header by the delimiter that makes most of it;
// without a header where none does.
func bestHeader(line []byte, delimiters string) (best domain.Layout, wrong error) {
	named := 0
	for _, d := range []byte(delimiters) {
		if l, n, err := header(line, d); n > named {
			best, named, wrong = l, n, err
		}
	}
	return best, wrong
}

// header reads a line as the names of columns and counts those it knows.
func header(line []byte, delimiter byte) (l domain.Layout, named int, err error) {
	cells, _, reason := split(nil, line, delimiter, true)
	if reason != "" {
		return l, 0, nil
	}
	l.Delimiter = string(delimiter)
	seen := make(map[domain.Column]bool)
	for _, cell := range cells {
		name := strings.TrimSpace(storable(string(cell)))
		c := meaning(name)
		l.Header = append(l.Header, name)
		l.Columns = append(l.Columns, c)
		if c == "" {
			continue
		}
		if seen[c] {
			err = fmt.Errorf("%w: %s", errTwice, c)
		}
		seen[c] = true
		named++
	}
	return l, named, err
}

var squeeze = strings.NewReplacer(" ", "", "_", "", "-", "", ".", "", "\u00a0", "")

// meaning is the column that a header names, "" for none: in any case, with
// blanks or underscores, as IssueStart, issue_start_date or
// IssueStartDateTimeUtc.
func meaning(name string) domain.Column {
	s := meaningOf(name)
	s = strings.TrimSuffix(s, "utc")
	for _, suffix := range []string{"datetime", "date", "time"} {
		if t, ok := strings.CutSuffix(s, suffix); ok {
			s = t
			break
		}
	}
	if s == "promocode" {
		return domain.ColumnCode
	}
	for _, c := range domain.Columns {
		if s == squeeze.Replace(string(c)) {
			return c
		}
	}
	return ""
}

// meaningOf is a name without what does not matter.
func meaningOf(name string) string { return squeeze.Replace(strings.ToLower(name)) }

// likeliest is the delimiter that splits most lines of a sample into one value
// and dates, else the semicolon or comma that occurs in most.
func likeliest(sample []byte, whole bool) byte {
	var dated, present [len(delimiters)]int
	for range sampleLines {
		line, rest, found := bytes.Cut(sample, []byte("\n"))
		if found || whole { // else it may be cut
			count(line, &dated, &present)
		}
		sample = rest
	}
	best := 1 // a comma
	for i := range dated {
		if dated[i] > dated[best] || dated[i] == dated[best] && present[i] > present[best] {
			best = i
		}
	}
	return delimiters[best]
}

func count(line []byte, dated, present *[len(delimiters)]int) {
	for i := range len(delimiters) {
		cells, _, reason := split(nil, line, delimiters[i], true)
		if reason != "" || len(cells) < 2 {
			continue
		}
		if delimiters[i] == ';' || delimiters[i] == ',' {
			present[i]++
		}
		if allDates(cells[1:]) {
			dated[i]++
		}
	}
}

func allDates(cells [][]byte) bool {
	for _, cell := range cells {
		if _, ok := parseTime(string(bytes.TrimSpace(cell)), time.UTC); !ok {
			return false
		}
	}
	return true
}

// firstRecord is the first line that is not blank, and what follows it.
func firstRecord(head []byte) (line, rest []byte) {
	for rest = head; len(rest) > 0; {
		if line, rest, _ = bytes.Cut(rest, []byte("\n")); !blank(line) {
			return line, rest
		}
	}
	return nil, nil
}
