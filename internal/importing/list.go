package importing

import "bytes"

// listDelimiters may stand between the values of a list.
func listDelimiters(told string) string {
	if told != "" {
		return told
	}
	return ",;\t"
}

// isList reports whether text that was pasted is values one after the other,
// rather than rows with columns: a header with columns, or dates behind the
// codes.
func isList(text []byte, whole bool, told string) bool {
	tried := delimiters
	if told != "" {
		tried = told
	}
	first, _ := firstRecord(text)
	for _, d := range []byte(tried) {
		if l, named, err := header(first, d); err != nil || named > 0 && len(l.Header) > 1 {
			return false
		}
	}
	dated, others := 0, 0
	for range sampleLines {
		line, rest, found := bytes.Cut(text, []byte("\n"))
		if found || whole { // else it may be cut
			switch several, dates := severalIn(line, tried); {
			case dates:
				dated++
			case several:
				others++
			}
		}
		text = rest
	}
	return dated <= others
}

// severalIn reports whether a line has several values, and whether all but the
// first are dates.
func severalIn(line []byte, delimiters string) (several, dates bool) {
	for _, d := range []byte(delimiters) {
		cells, _, reason := split(nil, line, d, true)
		if reason != "" || len(cells) < 2 || allBlank(cells[1:]) {
			continue
		}
		several = true
		if allDates(cells[1:]) {
			return true, true
		}
	}
	return several, false
}

// values makes a list's delimiters line ends, so that each value is a row of
// its own and counted as a line. Those in quotes stay.
type values struct {
	delimiters string
	quoted     bool
	inside     bool // a value has begun
}

func (v *values) toLines(text []byte) {
	for i, c := range text {
		switch {
		case c == '\n':
			v.quoted, v.inside = false, false
		case c == '"' && (v.quoted || !v.inside):
			v.quoted, v.inside = !v.quoted, true
		case v.quoted:
		case bytes.IndexByte([]byte(v.delimiters), c) >= 0:
			text[i] = '\n'
			v.inside = false
		case c != ' ':
			v.inside = true
		}
	}
}
