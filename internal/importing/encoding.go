package importing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"promopool/internal/domain"
)

var (
	errNotText = fmt.Errorf("%w: it is no text, save it as CSV (UTF-8) or XLSX", ErrFile)
	errUnclear = fmt.Errorf("%w: it may be windows-1251 or windows-1252, say so with encoding=", ErrFile)
)

// byteOrderMarks tell an encoding for sure.
var byteOrderMarks = []struct{ encoding, bytes string }{
	{"utf-8", "\xef\xbb\xbf"},
	{"utf-16le", "\xff\xfe"},
	{"utf-16be", "\xfe\xff"},
}

// encodingOf finds out how the bytes of a file are text, unless it was told.
func encodingOf(head []byte, told string) (encoding string, mark bool, _ error) {
	for _, m := range byteOrderMarks {
		if bytes.HasPrefix(head, []byte(m.bytes)) && (told == "" || told == m.encoding) {
			return m.encoding, true, nil
		}
	}
	if told != "" {
		return told, false, nil
	}
	encoding, err := likeliestEncoding(head)
	return encoding, false, err
}

// likeliestEncoding judges text without a mark. In UTF-16 line ends, digits and
// delimiters have a zero byte, always on the same side; UTF-8 that is wrong in
// a few places only is UTF-8.
func likeliestEncoding(head []byte) (string, error) {
	if bytes.IndexByte(head, 0) < 0 && utf8.Valid(head) { // nearly always, and quick to see
		return "utf-8", nil
	}
	var zeros [2]int
	for i, c := range head {
		if c == 0 {
			zeros[i&1]++
		}
	}
	switch both := zeros[0] + zeros[1]; {
	case 40*both <= len(head): // a character each in twenty
	case 8*zeros[0] <= both:
		return "utf-16le", nil
	case 8*zeros[1] <= both:
		return "utf-16be", nil
	default:
		return "", errNotText
	}
	right, wrong := multibyte(head)
	if wrong == 0 || right > wrong {
		return "utf-8", nil
	}
	return likeliestCodePage(head)
}

// multibyte counts the sequences of UTF-8 beyond ASCII, and the bytes that are
// part of none. A sequence cut off at the end is neither.
func multibyte(b []byte) (right, wrong int) {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case size > 1:
			right++
		case r == utf8.RuneError && !utf8.FullRune(b):
			return right, wrong
		case r == utf8.RuneError:
			wrong++
		}
		b = b[size:]
	}
	return right, wrong
}

// likeliestCodePage tells Cyrillic from Western text by its words: Russian ones
// have letters beyond ASCII only, Western ones rarely two in a row. Where both
// code pages say the same it does not matter; where nothing is said nothing is
// guessed, since a code that was mangled could not be found again.
func likeliestCodePage(text []byte) (string, error) {
	cyrillic, western, differ := 0, 0, false
	ascii, high := 0, 0 // letters of the word at hand
	word := func() {
		switch {
		case ascii > 0 && high > 0:
			western++
		case high > 1:
			cyrillic++
		}
		ascii, high = 0, 0
	}
	for _, c := range text {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			ascii++
			continue
		case c >= 0xc0 && c != 0xd7 && c != 0xf7 || c == 0xa8 || c == 0xb8: // the last two: Ё, ё
			high++
			differ = true
			continue
		}
		switch c {
		case 0x80, 0xa3: // €, £, which nobody means by Ђ, Ј
			western++
		case 0x88, 0xb9: // €, №
			cyrillic++
		}
		differ = differ || c >= 0x80 && code1251[c] != code1252[c]
		word()
	}
	word()
	switch {
	case !differ || western > cyrillic:
		return "windows-1252", nil
	case cyrillic > western:
		return "windows-1251", nil
	}
	return "", errUnclear
}

var (
	code1251 = codePage(charmap.Windows1251)
	code1252 = codePage(charmap.Windows1252)
)

func codePage(c *charmap.Charmap) (page [256]rune) {
	for i := range page {
		page[i] = c.DecodeByte(byte(i))
	}
	return page
}

// A converter appends the text of src to dst, as far as it is whole, and says
// how many bytes it has read. What is no text becomes a byte that is no UTF-8,
// so that its row is refused.
type converter func(dst, src []byte, last bool) (text []byte, read int)

func converterOf(encoding string) converter {
	switch encoding {
	case "utf-16le":
		return func(dst, src []byte, last bool) ([]byte, int) { return fromUTF16(dst, src, last, 0) }
	case "utf-16be":
		return func(dst, src []byte, last bool) ([]byte, int) { return fromUTF16(dst, src, last, 1) }
	case "windows-1251":
		return func(dst, src []byte, _ bool) ([]byte, int) { return fromCodePage(dst, src, &code1251) }
	case "windows-1252":
		return func(dst, src []byte, _ bool) ([]byte, int) { return fromCodePage(dst, src, &code1252) }
	}
	return func(dst, src []byte, _ bool) ([]byte, int) { return append(dst, src...), len(src) }
}

func fromCodePage(dst, src []byte, page *[256]rune) ([]byte, int) {
	for _, c := range src {
		dst = utf8.AppendRune(dst, page[c])
	}
	return dst, len(src)
}

const noText = 0xff

// fromUTF16 reads units whose low byte is at the given place.
func fromUTF16(dst, src []byte, last bool, low int) ([]byte, int) {
	unit := func(at int) rune { return rune(src[at+1-low])<<8 | rune(src[at+low]) }
	at := 0
	for ; at+1 < len(src); at += 2 {
		r := unit(at)
		if !utf16.IsSurrogate(r) {
			dst = utf8.AppendRune(dst, r)
			continue
		}
		if at+3 >= len(src) && !last {
			return dst, at
		}
		if at+3 < len(src) {
			if whole := utf16.DecodeRune(r, unit(at+2)); whole != utf8.RuneError {
				dst = utf8.AppendRune(dst, whole)
				at += 2
				continue
			}
		}
		dst = append(dst, noText)
	}
	if last && at < len(src) {
		return append(dst, noText), len(src)
	}
	return dst, at
}

// decodeAll is the text of the beginning of a file, which may be head itself.
func decodeAll(head []byte, form domain.Layout) []byte {
	if form.Encoding == "utf-8" {
		return head
	}
	text, _ := converterOf(form.Encoding)(nil, head[markSize(form):], false)
	return text
}

// markSize is how much of a file is a mark that decoding takes off. That of
// UTF-8 is the parser's, which reads such files without decoding.
func markSize(form domain.Layout) int {
	if form.Mark && form.Encoding != "utf-8" {
		return 2
	}
	return 0
}

// decodeBytes is how much of a file is decoded at a time.
const decodeBytes = 32 << 10

// decoder reads a file as UTF-8.
type decoder struct {
	src     io.Reader
	convert converter
	then    []func(text []byte) // change it in place
	marks   marks

	in         []byte // of which kept bytes wait for what follows them
	kept       int
	out        []byte // not read yet
	buf        []byte
	text, file int64
	err        error
}

func newDecoder(src io.Reader, form domain.Layout) *decoder {
	d := &decoder{src: src, convert: converterOf(form.Encoding), in: make([]byte, decodeBytes)}
	if form.CR {
		d.then = append(d.then, crToLF)
	}
	if n := markSize(form); n > 0 {
		_, d.err = io.CopyN(io.Discard, src, int64(n))
		d.file = int64(n)
	}
	return d
}

func (d *decoder) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.fill()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

func (d *decoder) fill() {
	n, err := io.ReadFull(d.src, d.in[d.kept:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	d.err = err
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	src := d.in[:d.kept+n]
	text, read := d.convert(d.buf[:0], src, err != nil)
	for _, change := range d.then {
		change(text)
	}
	d.kept = copy(d.in, src[read:])
	d.buf, d.out = text, text
	d.text += int64(len(text))
	d.file += int64(read)
	d.marks.add(d.text, d.file)
}
