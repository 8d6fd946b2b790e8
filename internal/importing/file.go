package importing

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"promopool/internal/domain"
)

// mediaXLSX is the media type of a spreadsheet.
const mediaXLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// File is what was uploaded.
type File struct {
	Bytes     io.ReaderAt
	Size      int64
	MediaType string
	Options   domain.ImportOptions
}

// lookBytes is how much of a file is looked at to find out what it is.
const lookBytes = 512 << 10

var (
	errOldWorkbook = fmt.Errorf("%w: it is a workbook of an old kind or has a password, save it as .xlsx without one", ErrFile)
	errNoWorkbook  = fmt.Errorf("%w: it is no workbook in XLSX", ErrFile)
)

// source is a file as text: UTF-8, each row a line. The text is a function of
// the file, its options and its layout alone, so that a place in it means the
// same whenever it is read again.
type source struct {
	text io.Reader     // from the position that was asked for
	form domain.Layout // as far as it is known without the text: no columns
	done func(offset int64) int64

	fromStart bool   // whatever position was asked for
	close     func() // nil: there is nothing to close
}

// open reads a file as text from a position on. layout is what was found
// before, nil at the beginning.
func (f File) open(from Position, layout *domain.Layout) (source, error) {
	form := domain.Layout{}
	if layout != nil {
		form = *layout
	} else {
		head := make([]byte, min(lookBytes, f.Size))
		if _, err := f.Bytes.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return source{}, err
		}
		var err error
		if form, err = f.look(head); err != nil {
			return source{}, err
		}
	}
	if form.Format != domain.FormatXLSX {
		return f.openText(form, from), nil
	}
	return f.openSheet(form)
}

// look tells from the beginning of a file what it is.
func (f File) look(head []byte) (domain.Layout, error) {
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return domain.Layout{Format: domain.FormatXLSX}, nil
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		return domain.Layout{}, errOldWorkbook
	case f.MediaType == mediaXLSX:
		return domain.Layout{}, errNoWorkbook
	}
	form := domain.Layout{Format: domain.FormatCSV}
	var err error
	if form.Encoding, form.Mark, err = encodingOf(head, f.Options.Encoding); err != nil {
		return form, err
	}
	text := bytes.TrimPrefix(decodeAll(head, form), []byte(byteOrderMarks[0].bytes))
	form.CR = bytes.IndexByte(text, '\r') >= 0 && bytes.IndexByte(text, '\n') < 0
	if form.CR {
		crToLF(text)
	}
	if f.MediaType == "text/plain" && isList(text, f.Size == int64(len(head)), f.Options.Delimiter) {
		form.Format = domain.FormatList
	}
	return form, nil
}

// openText reads text. What is UTF-8 needs no decoding and is read from the
// position on; all else is decoded from the start.
func (f File) openText(form domain.Layout, from Position) source {
	s := source{form: form}
	if (form.Encoding == "utf-8" || form.Encoding == "") && form.Format != domain.FormatList {
		s.text = io.NewSectionReader(f.Bytes, from.Offset, f.Size-from.Offset)
		if form.CR {
			s.text = &macText{s.text}
		}
		s.done = func(offset int64) int64 { return offset }
		return s
	}
	d := newDecoder(io.NewSectionReader(f.Bytes, 0, f.Size), form)
	if form.Format == domain.FormatList {
		d.then = append(d.then, (&values{delimiters: listDelimiters(f.Options.Delimiter)}).toLines)
	}
	s.text, s.done, s.fromStart = d, d.marks.at, true
	return s
}

// skip passes over text that was read before.
func skip(text io.Reader, n int64) error {
	if _, err := io.CopyN(io.Discard, text, n); errors.Is(err, io.EOF) {
		return errors.New("the text of a file is shorter than it was")
	} else if err != nil {
		return err
	}
	return nil
}

// macText ends lines with a line feed where the file has a carriage return.
type macText struct{ r io.Reader }

func (m *macText) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	crToLF(p[:n])
	return n, err
}

func crToLF(b []byte) {
	for i, c := range b {
		if c == '\r' {
			b[i] = '\n'
		}
	}
}

// marks are places where text and file are known to belong together.
type marks struct{ text, file []int64 }

func (m *marks) add(text, file int64) {
	m.text, m.file = append(m.text, text), append(m.file, file)
}

// at is how much of the file lies behind, at least, when the text up to the
// offset does. Offsets only grow.
func (m *marks) at(offset int64) int64 {
	n := 0
	for n+1 < len(m.text) && m.text[n+1] <= offset {
		n++
	}
	if len(m.text) == 0 || m.text[0] > offset {
		return 0
	}
	m.text, m.file = m.text[n:], m.file[n:]
	return m.file[0]
}

// Open returns a parser of a file, from a position on that another has come
// to. layout is what that one has found, nil at the beginning.
func Open(f File, from Position, layout *domain.Layout) (*Parser, error) {
	zone, err := f.Options.Zone()
	if err != nil { // it was checked, by a process with other zones
		return nil, fmt.Errorf("%w: its time zone %q is not known any more", ErrFile, f.Options.TZ)
	}
	s, err := f.open(from, layout)
	if err != nil {
		return nil, err
	}
	p := newParser(s, from, f.Options.Delimiter, zone, layout)
	if s.fromStart {
		if err := skip(s.text, from.Offset); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}
