package consumer

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// maxDepth bounds how deeply arrays and objects are nested. No event needs
// more, and readers of the outcome must be able to parse its context.
const maxDepth = 128

// scanner goes once through a JSON text (RFC 8259) that is known to be UTF-8.
// Its methods return false at a fault, which is then in bad. It is stricter
// than encoding/json in one point: a lone surrogate is a fault.
type scanner struct {
	b    []byte
	i    int    // what is next
	name []byte // of the member that next has come to
	bad  *Malformed
}

func (s *scanner) fail(why Defect, detail string) bool {
	s.bad = &Malformed{Reason: why, Detail: detail}
	return false
}

func (s *scanner) expected(what string) bool {
	if s.i >= len(s.b) {
		return s.fail(notJSON, fmt.Sprintf("The JSON text ends at byte %d, where %s is expected.", s.i, what))
	}
	return s.fail(notJSON, fmt.Sprintf("Not JSON at byte %d, where %s is expected.", s.i, what))
}

// peek skips blanks and returns the byte that follows, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\n', '\r', '\t':
		default:
			return c
		}
	}
	return 0
}

// end makes sure that nothing follows.
func (s *scanner) end() bool {
	s.peek()
	return s.i == len(s.b) || s.expected("the end")
}

// next goes to the next member of an object, or past its end: then, and at a
// fault, it returns false. It is called first with the scanner on the brace,
// and from then on behind the last member's value.
func (s *scanner) next(first bool) bool {
	if first {
		s.i++
	}
	c := s.peek()
	if c == '}' {
		s.i++
		return false
	}
	if !first {
		if c != ',' {
			return s.expected("a comma or a closing brace")
		}
		s.i++
		c = s.peek()
	}
	if c != '"' {
		return s.expected("a name in quotes")
	}
	t, ok := s.text()
	if !ok {
		return false
	}
	s.name = t.bytes()
	if s.peek() != ':' {
		return s.expected("a colon")
	}
	s.i++
	return true
}

// value skips a value that is inside depth-1 others.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		_, ok := s.text()
		return ok
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number()
	}
	return s.expected("a value")
}

func (s *scanner) object(depth int) bool {
	if depth > maxDepth {
		return s.tooDeep()
	}
	for first := true; s.next(first); first = false {
		if !s.value(depth + 1) {
			return false
		}
	}
	return s.bad == nil
}

func (s *scanner) array(depth int) bool {
	if depth > maxDepth {
		return s.tooDeep()
	}
	s.i++
	if s.peek() == ']' {
		s.i++
		return true
	}
	for s.value(depth + 1) {
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return true
		default:
			return s.expected("a comma or a closing bracket")
		}
	}
	return false
}

func (s *scanner) tooDeep() bool {
	return s.fail(tooDeep, fmt.Sprintf("Arrays and objects are nested more than %d deep.", maxDepth))
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.expected("a value")
	}
	s.i += len(w)
	return true
}

func (s *scanner) number() bool {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > start || s.expected("a digit")
}

// text is a string as it is written between its quotes, known to be well formed.
type text struct {
	raw     []byte
	escaped bool
}

// bytes is what the text means.
func (t text) bytes() []byte {
	if !t.escaped {
		return t.raw
	}
	return t.append(make([]byte, 0, len(t.raw)))
}

// text reads the string that the scanner is on.
func (s *scanner) text() (t text, ok bool) {
	start := s.i + 1
	for i := plain(s.b, start); i < len(s.b); i = plain(s.b, i) {
		switch c := s.b[i]; c {
		case '"':
			s.i = i + 1
			t.raw = s.b[start:i:i]
			return t, true
		case '\\':
			t.escaped = true
			s.i = i
			if !s.escape() {
				return text{}, false
			}
			i = s.i
		case 0:
			return text{}, s.fail(nul, fmt.Sprintf("There is a NUL at byte %d.", i))
		default:
			s.i = i
			return text{}, s.expected("no control character, unless escaped,")
		}
	}
	s.i = len(s.b)
	return text{}, s.expected("a closing quote")
}

// plain returns where, from i on, the first quote, backslash or control
// character is, or the length of b.
func plain(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		// Eight bytes at once: the lowest bit left in found is the top bit of
		// the first such byte.
		// https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^'"'*ones, w^'\\'*ones
		found := ((w-' '*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// escape skips the escape that the scanner is on, both halves of a surrogate pair.
func (s *scanner) escape() bool {
	at := s.i
	if at+1 >= len(s.b) {
		s.i = len(s.b)
		return s.expected("the rest of an escape")
	}
	switch s.b[at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i = at + 2
		return true
	case 'u':
	default:
		return s.expected("an escape that JSON knows")
	}
	r, ok := hex4(s.b[at+2:])
	if !ok {
		return s.expected("an escape of four hexadecimal digits")
	}
	s.i = at + 6
	if r < surrogates || r >= surrogatesEnd {
		return true
	}
	if low, ok := escapedUnit(s.b[s.i:]); r < lowSurrogates && ok && lowSurrogates <= low && low < surrogatesEnd {
		s.i += 6
		return true
	}
	return s.fail(loneSurrogate, fmt.Sprintf("There is half a surrogate pair at byte %d.", at))
}

// Surrogates in UTF-16: high ones, then low ones.
const (
	surrogates    = 0xd800
	lowSurrogates = 0xdc00
	surrogatesEnd = 0xe000
)

// escapedUnit reads \uXXXX at the head of b.
func escapedUnit(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	return hex4(b[2:])
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// append appends what the text means.
func (t text) append(dst []byte) []byte {
	if !t.escaped {
		return append(dst, t.raw...)
	}
	for raw := t.raw; len(raw) > 0; {
		if raw[0] != '\\' {
			dst = append(dst, raw[0])
			raw = raw[1:]
			continue
		}
		if raw[1] != 'u' {
			dst = append(dst, unescaped(raw[1]))
			raw = raw[2:]
			continue
		}
		r, _ := hex4(raw[2:])
		raw = raw[6:]
		if surrogates <= r && r < surrogatesEnd {
			low, _ := hex4(raw[2:])
			r = (r-surrogates)<<10 + (low - lowSurrogates) + 0x10000
			raw = raw[6:]
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// unescaped is what a backslash and c mean.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
