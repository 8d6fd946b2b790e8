package importing

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"promopool/internal/domain"
)

// A cell of a sheet that is more than text has a mark before its text: a
// control character, which no code has, and a letter.
const (
	markSign      = '\x1a'
	markDate      = 'd'
	markNumber    = 'n' // whose text is not certain
	markBoolean   = 'b'
	markError     = 'e'
	markNoValue   = 'f'
	markLineBreak = 'l'
	markControl   = 'c'
)

// asCode says why a cell with a mark is no code: what was typed is not known.
var asCode = map[byte]domain.RefusalReason{
	markDate:      domain.DateAsCode,
	markNumber:    domain.NumberNotExact,
	markBoolean:   domain.BooleanAsCode,
	markError:     domain.CellError,
	markNoValue:   domain.FormulaNoValue,
	markLineBreak: domain.LineBreak,
	markControl:   domain.CodeControl,
}

// unmarked is text without its marks, as a person sees it.
func unmarked(text []byte) string {
	if bytes.IndexByte(text, markSign) < 0 {
		return string(text)
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == markSign {
			i++
			continue
		}
		plain = append(plain, text[i])
	}
	return string(plain)
}

// cutMark takes the mark off a cell; 0: it has none.
func cutMark(cell []byte) (text []byte, mark byte) {
	if len(cell) < 2 || cell[0] != markSign {
		return cell, 0
	}
	return cell[2:], cell[1]
}

// readMarks refuses a row whose code or dates are not what they seem, and takes
// the marks off the others.
func (p *Parser) readMarks(row *Row) bool {
	for i := range p.place {
		at := p.place[i]
		if at < 0 || at >= len(p.cells) {
			continue
		}
		text, mark := cutMark(p.cells[at])
		why := domain.RefusalReason("")
		switch {
		case i == 0 && mark != 0:
			why = asCode[mark]
		case mark == markError || mark == markNoValue:
			why = asCode[mark]
		}
		if why != "" {
			row.refuse(why, string(text))
			return false
		}
		p.cells[at] = text
	}
	return true
}

// meaning is the text of the cell at hand as a person knows it, with a mark
// where it is more or less than that.
func (s *sheetText) meaning() (text []byte, mark byte, _ error) {
	c := &s.cell
	switch c.kind {
	case "s":
		i, err := strconv.Atoi(string(bytes.TrimSpace(c.value)))
		if err != nil {
			return nil, 0, errDamaged
		}
		text, err = s.book.texts.get(i)
		return text, 0, err
	case "inlineStr":
		return c.value, 0, nil
	case "str":
		return unescape(c.value), 0, nil
	case "b":
		if string(bytes.TrimSpace(c.value)) == "1" {
			return []byte("TRUE"), markBoolean, nil
		}
		return []byte("FALSE"), markBoolean, nil
	case "e":
		return c.value, markError, nil
	case "d":
		return c.value, markDate, nil
	}
	raw := string(bytes.TrimSpace(c.value))
	if raw == "" {
		if c.formula {
			return nil, markNoValue, nil
		}
		return nil, 0, nil
	}
	shown, mark := s.book.number(raw, c.style)
	return []byte(shown), mark, nil
}

// number is what a number's cell shows, where that can be known for sure.
func (w *workbook) number(raw string, style int) (shown string, mark byte) {
	var form numberForm
	if style >= 0 && style < len(w.styles) {
		form = w.styles[style]
	}
	switch form {
	case otherForm:
	case dateForm:
		if t, ok := dateOf(raw, w.from1904); ok {
			return t, markDate
		}
	default:
		if digits, ok := integer(raw, int(form)); ok {
			return digits, 0
		}
	}
	return raw, markNumber
}

// numberForm is how a cell shows a number: as a date, in a way that says too
// little, or, 0 and above, as an integer of at least so many digits.
type numberForm int

const (
	dateForm  numberForm = -1
	otherForm numberForm = -2
)

// mostDigits of a number are kept by a spreadsheet.
const mostDigits = 15

// integer is the digits of a whole number, with zeros before them up to width.
func integer(raw string, width int) (string, bool) {
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1e15 {
		return "", false
	}
	n := int64(f)
	if n < 0 {
		return "-" + padded(-n, width), true
	}
	return padded(n, width), true
}

func padded(n int64, width int) string {
	s := strconv.FormatInt(n, 10)
	return strings.Repeat("0", max(0, width-len(s))) + s
}

// numberFormOf is the form of a format, by its number or its own code. Built-in
// ones have no code; of those that differ between languages only what is a day
// in all of them is taken for a date.
func numberFormOf(id, code string, own bool) numberForm {
	if own {
		return formOfCode(code)
	}
	n, err := strconv.Atoi(id)
	switch {
	case err != nil || n == 0 || n == 49: // none, General, text
		return 0
	case n == 1:
		return 1
	case n >= 14 && n <= 17, n == 22, n >= 27 && n <= 31, n == 36, n >= 50 && n <= 54, n == 57, n == 58:
		return dateForm
	}
	return otherForm
}

// formOfCode reads a format such as 00000, General or dd.mm.yyyy hh:mm.
func formOfCode(code string) numberForm {
	switch {
	case code == "" || strings.EqualFold(code, "General") || code == "@":
		return 0
	case strings.Trim(code, "0") == "" && len(code) <= 2*mostDigits:
		return numberForm(len(code))
	}
	positive, _, _ := strings.Cut(code, ";")
	letters := strings.ToLower(formLetters(positive))
	switch {
	case strings.ContainsAny(letters, "yd"):
		return dateForm
	case strings.Contains(letters, "m") && !strings.ContainsAny(letters, "hs0#?"): // a month, no minutes
		return dateForm
	}
	return otherForm
}

// formLetters is a format without what it shows as it stands, colours and
// conditions. Hours and so on that are counted on ([h]) are no date.
func formLetters(code string) string {
	var b strings.Builder
	for i := 0; i < len(code); i++ {
		var end int
		switch code[i] {
		case '"':
			end = strings.IndexByte(code[i+1:], '"')
		case '[':
			end = strings.IndexByte(code[i:], ']') - 1
			if end > 0 && strings.Trim(code[i+1:i+1+end], "hmsHMS") == "" {
				b.WriteString("h")
			}
		case '\\', '_', '*':
			end = 0
		default:
			b.WriteByte(code[i])
			continue
		}
		if end < 0 {
			break
		}
		i += end + 1
	}
	return b.String()
}

// dateOf is the day and time that a spreadsheet counts as so many days. The
// first 60 days of 1900 are one off, and the 60th never was: nothing is a date
// before March.
func dateOf(raw string, from1904 bool) (string, bool) {
	days, err := strconv.ParseFloat(raw, 64)
	first, epoch := 61.0, time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	if from1904 {
		first, epoch = 0, time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if err != nil || !(days >= first && days < 2_958_466) { // NaN is neither
		return "", false
	}
	whole, part := math.Modf(days)
	t := epoch.AddDate(0, 0, int(whole)).Add(time.Duration(math.Round(part*86_400_000)) * time.Millisecond)
	switch {
	case t.Year() > 9999:
		return "", false
	case t.Nanosecond() > 0:
		return t.Format("2006-01-02 15:04:05.000"), true
	case t.Hour() > 0 || t.Minute() > 0 || t.Second() > 0:
		return t.Format("2006-01-02 15:04:05"), true
	}
	return t.Format("2006-01-02"), true
}

// unescape reads the characters that XML can't have, written as _x000D_.
func unescape(text []byte) []byte {
	if !bytes.Contains(text, []byte("_x")) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if unit, ok := escaped(text[i:]); ok {
			i += 7
			if low, ok := escaped(text[i:]); utf16.IsSurrogate(unit) && ok {
				if whole := utf16.DecodeRune(unit, low); whole != utf8.RuneError {
					unit = whole
					i += 7
				}
			}
			out = utf8.AppendRune(out, unit)
			continue
		}
		out = append(out, text[i])
		i++
	}
	return out
}

func escaped(text []byte) (rune, bool) {
	if len(text) < 7 || text[0] != '_' || text[1] != 'x' || text[6] != '_' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}
