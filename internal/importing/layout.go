package importing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"promopool/internal/domain"
)

// ErrFile is a file that cannot be read as a whole. The errors that wrap it
// are sentences for its sender.
var ErrFile = errors.New("the file cannot be imported")

var (
	errNotText    = fmt.Errorf("%w: it is no text in UTF-8, save it as CSV (UTF-8)", ErrFile)
	errNoCode     = fmt.Errorf("%w: its header has no column named code", ErrFile)
	errTwice      = fmt.Errorf("%w: its header has a column twice", ErrFile)
	errTooManyCol = fmt.Errorf("%w: its first line has more than %d columns", ErrFile, maxColumns)
)

const (
	delimiters  = ";,\t|"
	sampleLines = 100
	maxColumns  = 200
)

// look finds out how a file is laid out from its beginning, without a byte
// order mark: its first line is a header when a cell of it names a column.
func look(head []byte, whole bool) (domain.Layout, error) {
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("\xff\xfe")) ||
		bytes.HasPrefix(head, []byte("\xfe\xff")) || 8*bytes.Count(head, []byte{0}) > len(head) { // UTF-16 has a zero in every other byte
		return domain.Layout{}, errNotText
	}
	first, rest := firstRecord(head)
	var best domain.Layout
	named := 0
	for _, d := range []byte(delimiters) {
		l, n, err := header(first, d)
		if err != nil {
			return domain.Layout{}, err
		}
		if n > named {
			best, named = l, n
		}
	}
	switch {
	case named == 0:
		return domain.Layout{Delimiter: string(likeliest(head, whole)), Columns: domain.Columns}, nil
	case len(best.Header) > maxColumns:
		return domain.Layout{}, errTooManyCol
	case len(best.Header) == 1: // the header says nothing about the delimiter
		best.Delimiter = string(likeliest(rest, whole))
	}
	for _, c := range best.Columns {
		if c == domain.ColumnCode {
			return best, nil
		}
	}
	return domain.Layout{}, errNoCode
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
		name := strings.TrimSpace(strings.ToValidUTF8(string(cell), "�"))
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
	s := squeeze.Replace(strings.ToLower(name))
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
		if _, ok := parseTime(string(bytes.TrimSpace(cell))); !ok {
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
