package importing

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// sheetDelimiter is between the cells of a sheet's text.
const sheetDelimiter = ','

// sheetText reads a sheet as CSV, a line for each of its rows, the empty ones
// too, so that a line's number is the row's. Cells that are more than text
// begin with a mark that says so.
type sheetText struct {
	book  *workbook
	xml   *tokens
	file  *watched
	from  int64   // where the sheet lies in the file
	share float64 // bytes of the file for one of the sheet: it stands for the whole
	marks marks

	row   int64    // the last that was written
	next  int64    // the one at hand
	cells [][]byte // of the row at hand
	width int      // cells up to the last that has something
	cell  cell

	buf, out []byte
	text     int64
	ended    bool
	err      error
}

// cell is one of the row at hand, as far as it was read.
type cell struct {
	column  int
	kind    string
	style   int
	formula bool
	value   []byte
}

func (w *workbook) open(s sheet) (*sheetText, error) {
	t, err := w.tokens(s.part, maxSheetBytes)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errNoSheet
	}
	part := w.parts[s.part]
	from, err := part.DataOffset()
	if err != nil {
		return nil, err
	}
	return &sheetText{
		book: w, xml: t, file: w.file, from: from,
		share: float64(w.size) / float64(max(part.CompressedSize64, 1)),
		cells: make([][]byte, maxColumns+1),
	}, nil
}

func (s *sheetText) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *sheetText) fill() {
	s.buf = s.buf[:0]
	for len(s.buf) < decodeBytes && s.err == nil {
		if err := s.step(); errors.Is(err, io.EOF) {
			s.err = io.EOF
			if !s.ended {
				s.err = s.file.fault(io.ErrUnexpectedEOF)
			}
		} else if err != nil {
			s.err = s.file.fault(err)
		}
	}
	s.out = s.buf
	s.text += int64(len(s.buf))
	done := int64(float64(max(s.file.until-s.from, 0)) * s.share)
	if errors.Is(s.err, io.EOF) {
		done = s.book.size
	}
	s.marks.add(s.text, min(done, s.book.size))
}

// step reads one token of the sheet, or a cell.
func (s *sheetText) step() error {
	token, err := s.xml.next()
	if err != nil || s.ended { // behind the rows too: at the end the checksum is compared
		return err
	}
	switch e := token.(type) {
	case xml.StartElement:
		switch e.Name.Local {
		case "row":
			return s.beginRow(attribute(e, "r"))
		case "c":
			return s.readCell(e)
		}
	case xml.EndElement:
		switch e.Name.Local {
		case "row":
			s.endRow()
		case "sheetData":
			s.ended = true
		}
	}
	return nil
}

// beginRow takes the row's number, or the next where it is not said.
func (s *sheetText) beginRow(number string) error {
	s.next, s.width, s.cell.column = s.row+1, 0, -1
	if number == "" {
		return nil
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < s.next || n > maxRows {
		return errDamaged
	}
	s.next = n
	return nil
}

// readCell reads a cell to its end.
func (s *sheetText) readCell(e xml.StartElement) error {
	if s.next == 0 || s.next == s.row { // outside of a row
		return errDamaged
	}
	c := &s.cell
	column := c.column + 1
	c.kind, c.style, c.formula, c.value = "", 0, false, c.value[:0]
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "r":
			if column = columnOf(a.Value); column < 0 {
				return errDamaged
			}
		case "t":
			c.kind = a.Value
		case "s":
			c.style, _ = strconv.Atoi(a.Value) // what is no number has no style
		}
	}
	c.column = column
	if err := s.readValue(); err != nil {
		return err
	}
	text, mark, err := s.meaning()
	if err != nil {
		return err
	}
	s.place(text, mark)
	return nil
}

// readValue reads what is in a cell.
func (s *sheetText) readValue() error {
	c := &s.cell
	inside := false
	for {
		token, err := s.xml.next()
		if err != nil {
			return noEOF(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "v":
				inside = true
			case "f":
				c.formula = true
			case "is":
				if c.value, err = s.xml.richText(c.value, "is"); err != nil {
					return err
				}
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "v":
				inside = false
			case "c":
				return nil
			}
		case xml.CharData:
			if inside {
				c.value = appendCell(c.value, e)
			}
		}
	}
}

// place puts a cell into the row. What lies beyond any header is refused with
// its row wherever it lies, so one column stands for all.
func (s *sheetText) place(text []byte, mark byte) {
	if len(text) == 0 && mark == 0 {
		return
	}
	at := min(s.cell.column, maxColumns)
	for ; s.width <= at; s.width++ {
		s.cells[s.width] = s.cells[s.width][:0]
	}
	s.cells[at] = appendField(s.cells[at][:0], text, mark)
}

func (s *sheetText) endRow() {
	for ; s.row+1 < s.next; s.row++ {
		s.buf = append(s.buf, '\n')
	}
	for i, c := range s.cells[:s.width] {
		if i > 0 {
			s.buf = append(s.buf, sheetDelimiter)
		}
		s.buf = append(s.buf, c...)
	}
	s.buf = append(s.buf, '\n')
	s.row = s.next
	s.width = 0
}

// columnOf is the number of a cell's column from 0: B7 is in 1. Below 0: none.
func columnOf(ref string) int {
	n := 0
	for i := range len(ref) {
		c := ref[i] &^ 0x20
		if c < 'A' || c > 'Z' {
			break
		}
		if n = n*26 + int(c-'A') + 1; n > 1<<14 {
			return -1
		}
	}
	return n - 1
}

// appendCell appends to a cell's text as much as is kept of one.
func appendCell(text, more []byte) []byte {
	if len(text)+len(more) > maxCell {
		more = more[:max(maxCell-len(text), 0)]
		for len(more) > 0 && !utf8.RuneStart(more[len(more)-1]) { // its last character may be cut
			more = more[:len(more)-1]
		}
		if len(more) > 0 && more[len(more)-1] >= utf8.RuneSelf {
			more = more[:len(more)-1]
		}
	}
	return append(text, more...)
}

// appendField appends a cell as a field of CSV. A line of text is one row, so
// line breaks within become blanks, and are told by the mark.
func appendField(dst, text []byte, mark byte) []byte {
	quoted := bytes.ContainsAny(text, `",`)
	if quoted {
		dst = append(dst, '"')
	}
	at := len(dst)
	for _, c := range text {
		switch c {
		case '\n', '\r':
			c = ' '
			if mark == 0 {
				mark = markLineBreak
			}
		case markSign:
			c = '?'
			mark = markControl
		case '"':
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	if mark != 0 {
		dst = append(dst, 0, 0)
		copy(dst[at+2:], dst[at:])
		dst[at], dst[at+1] = markSign, mark
	}
	if quoted {
		dst = append(dst, '"')
	}
	return dst
}
