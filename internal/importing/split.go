package importing

import (
	"bytes"

	"promopool/internal/domain"
)

const (
	maxRecord      = 64 << 10 // bytes
	maxQuotedLines = 20       // a quote open for longer was never meant to be
)

// split cuts the record that b begins with into cells (RFC 4180, strictly, but
// for blanks around quotes) and returns its length with the line end. The
// cells are parts of b, or copies where quotes were doubled. whole: b ends
// where the file does. A record that is refused is one line long, except for
// one that is well-formed over several lines (LineBreak).
func split(cells [][]byte, b []byte, delimiter byte, whole bool) (_ [][]byte, size int, _ domain.RefusalReason) {
	line, size := b, len(b)
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		line, size = b[:i], i+1
	} else if !whole {
		return nil, 0, domain.LineTooLong
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	if bytes.IndexByte(line, '"') < 0 {
		for {
			i := bytes.IndexByte(line, delimiter)
			if i < 0 {
				return append(cells, line), size, ""
			}
			cells = append(cells, line[:i])
			line = line[i+1:]
		}
	}
	return splitQuoted(cells, b, delimiter, size, whole)
}

func splitQuoted(cells [][]byte, b []byte, delimiter byte, firstLine int, whole bool) (_ [][]byte, size int, _ domain.RefusalReason) {
	for at := 0; ; {
		cell, end, reason := quotedCell(b, at, delimiter)
		if reason != "" {
			return nil, firstLine, reason
		}
		cells = append(cells, cell)
		if end < len(b) && b[end] == delimiter {
			at = end + 1
			continue
		}
		if end < len(b) && b[end] == '\r' {
			end++
		}
		switch {
		case end < len(b): // a line feed
			end++
		case !whole:
			return nil, firstLine, domain.QuoteUnclosed
		}
		if end > firstLine {
			return cells, end, domain.LineBreak
		}
		return cells, end, ""
	}
}

// quotedCell reads the cell that begins at b[at] and returns where the
// delimiter or the line's end behind it is.
func quotedCell(b []byte, at int, delimiter byte) (cell []byte, end int, _ domain.RefusalReason) {
	open := at
	for open < len(b) && b[open] == ' ' {
		open++
	}
	if open == len(b) || b[open] != '"' {
		for end = at; end < len(b) && b[end] != delimiter && !lineEnd(b, end); end++ {
			if b[end] == '"' {
				return nil, 0, domain.QuoteMisplaced
			}
		}
		return b[at:end], end, ""
	}
	doubled := false
	lines := 0
	for end = open + 1; ; end++ {
		if end == len(b) || lines > maxQuotedLines {
			return nil, 0, domain.QuoteUnclosed
		}
		if b[end] == '\n' {
			lines++
		}
		if b[end] != '"' {
			continue
		}
		if end+1 < len(b) && b[end+1] == '"' {
			doubled = true
			end++
			continue
		}
		break
	}
	cell = b[open+1 : end]
	if doubled {
		cell = bytes.ReplaceAll(cell, []byte(`""`), []byte(`"`))
	}
	for end++; end < len(b) && b[end] == ' '; end++ {
	}
	if end < len(b) && b[end] != delimiter && !lineEnd(b, end) {
		if lines > 0 { // the quote that closed it belongs to another value
			return nil, 0, domain.QuoteUnclosed
		}
		return nil, 0, domain.QuoteMisplaced
	}
	return cell, end, ""
}

func lineEnd(b []byte, at int) bool {
	return b[at] == '\n' || b[at] == '\r' && (at+1 == len(b) || b[at+1] == '\n')
}

// blank reports whether a line has nothing but blanks.
func blank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }
