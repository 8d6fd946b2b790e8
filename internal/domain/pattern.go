package domain

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Plain is the alphabet without look-alikes, 31 characters: the digits but 0
// and 1 and the capitals but I, L and O.
const Plain = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"

const (
	digits  = "0123456789"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

	// DefaultLength is how many characters of Plain a code has where nobody
	// says more: 31^13 texts.
	DefaultLength = 13
	// maxAlphabet is the most characters of an alphabet.
	maxAlphabet = 64
	// spaceBits bounds a pattern's space: numbers of its texts fit in 128 bits
	// and their halves in 64.
	spaceBits = 127
	// mostBits bounds how many codes of one pattern are made: with 10^12 at a
	// time behind them their numbers fit in 63 bits.
	mostBits = 62
)

// Pattern says which texts generated codes have: a sequence of places, each
// with the characters that may stand there. A character is a code point that
// Unicode's form NFC never merges with its neighbours, so texts of a pattern
// are codes as CleanCode leaves them, and are read back place by place. Its
// texts are numbered from 0 in the order of their characters.
//
// In its notation # is a character of the alphabet, 9 a digit, A a letter A–Z,
// \ takes the next as it is, and everything else stands for itself.
type Pattern struct {
	text     string // canonical: escaped only where needed
	alphabet string // what # stands for, in the order of code points
	places   []place
	space    *big.Int
	last     uint128 // space − 1
}

// place is where one of several characters may stand.
type place struct {
	runes []rune   // in the order of code points
	texts []string // the same as text
}

func newPlace(chars string) place {
	p := place{runes: []rune(chars)}
	slices.Sort(p.runes)
	for _, r := range p.runes {
		p.texts = append(p.texts, string(r))
	}
	return p
}

// ParsePattern reads a pattern's notation. An empty alphabet is Plain. What is
// wrong comes as an *Invalid about the field pattern or alphabet.
func ParsePattern(text, alphabet string) (*Pattern, error) {
	if alphabet == "" {
		alphabet = Plain
	}
	p := &Pattern{}
	sharp, err := p.readAlphabet(alphabet)
	if err != nil {
		return nil, err
	}
	if err := p.read(text, sharp); err != nil {
		return nil, badPattern(err.Error())
	}
	return p, nil
}

// Prefixed is the notation of length characters of the alphabet between a
// prefix and a suffix, which stand for themselves.
func Prefixed(prefix string, length int, suffix string) string {
	return escape(prefix) + strings.Repeat("#", max(0, min(length, MaxCode+1))) + escape(suffix)
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "#", `\#`, "9", `\9`, "A", `\A`).Replace(s)
}

func badPattern(detail string) error {
	return &Invalid{Problems: []Problem{{Field: "pattern", Detail: detail}}}
}

func (p *Pattern) readAlphabet(alphabet string) (place, error) {
	bad := func(detail string) (place, error) {
		return place{}, &Invalid{Problems: []Problem{{Field: "alphabet", Detail: detail}}}
	}
	if len(alphabet) > maxAlphabet*utf8.UTFMax || !utf8.ValidString(alphabet) {
		return bad(fmt.Sprintf("must be 2 to %d characters of UTF-8", maxAlphabet))
	}
	sharp := newPlace(norm.NFC.String(alphabet))
	if n := len(sharp.runes); n < 2 || n > maxAlphabet {
		return bad(fmt.Sprintf("must be 2 to %d characters", maxAlphabet))
	}
	for i, r := range sharp.runes {
		if why := unfit(r); why != "" {
			return bad(why)
		}
		if r == ' ' {
			return bad("cannot have a blank")
		}
		if i > 0 && sharp.runes[i-1] == r {
			return bad(fmt.Sprintf("has %q twice", r))
		}
	}
	p.alphabet = strings.Join(sharp.texts, "")
	return sharp, nil
}

// unfit says why a character cannot be in a code that is generated.
func unfit(r rune) string {
	switch {
	case !unicode.IsPrint(r):
		return fmt.Sprintf("has %U, which cannot be printed", r)
	case !norm.NFC.IsNormalString(string(r)) || !norm.NFC.PropertiesString(string(r)).BoundaryBefore():
		return fmt.Sprintf("has %U, which may merge with the character before it", r)
	}
	return ""
}

// kinds are the characters of the notation and what they stand for.
var kinds = map[rune]place{'9': newPlace(digits), 'A': newPlace(letters)}

func (p *Pattern) read(text string, sharp place) error {
	// Longer ones have more places than a code has bytes, or nothing but \.
	if len(text) > 2*MaxCode || !utf8.ValidString(text) {
		return fmt.Errorf("must be at most %d bytes of UTF-8", 2*MaxCode)
	}
	var b strings.Builder
	space := big.NewInt(1)
	escaped := false
	for _, r := range norm.NFC.String(text) {
		kind, random := kinds[r]
		if r == '#' {
			kind, random = sharp, true
		}
		switch {
		case escaped && (random || r == '\\'):
			b.WriteByte('\\')
			kind = newPlace(string(r))
		case escaped || !random && r != '\\':
			kind = newPlace(string(r))
		case r == '\\':
			escaped = true
			continue
		}
		escaped = false
		if why := unfit(r); why != "" {
			return errors.New(why)
		}
		b.WriteRune(r)
		p.places = append(p.places, kind)
		space.Mul(space, big.NewInt(int64(len(kind.runes))))
	}
	switch {
	case escaped:
		return errors.New(`ends with \, which takes the next character as it is`)
	case len(p.places) == 0:
		return errors.New("is empty: write # for a random character, such as ####-####-####")
	case p.places[0].runes[0] == ' ' || p.places[len(p.places)-1].runes[0] == ' ':
		return errors.New("cannot begin or end with a blank")
	case p.longest() > MaxCode:
		return fmt.Errorf("spells codes of %d bytes, a code has at most %d", p.longest(), MaxCode)
	case space.BitLen() > spaceBits:
		return fmt.Errorf("has 2^%d texts or more: take fewer random characters, nobody can guess 25 of the usual alphabet", spaceBits)
	}
	p.text, p.space = b.String(), space
	p.last = uint128Of(new(big.Int).Sub(space, big.NewInt(1)))
	return nil
}

// longest is the most bytes that a text of the pattern has.
func (p *Pattern) longest() int {
	n := 0
	for _, c := range p.places {
		n += len(c.texts[len(c.texts)-1]) // UTF-8 grows with the code point
	}
	return n
}

// String is the pattern in its notation.
func (p *Pattern) String() string { return p.text }

// Alphabet is what # stands for.
func (p *Pattern) Alphabet() string { return p.alphabet }

// Space is how many texts the pattern has, fewer than 2^127.
func (p *Pattern) Space() *big.Int { return new(big.Int).Set(p.space) }

// Holds reports whether the pattern has n texts.
func (p *Pattern) Holds(n int64) bool {
	return n <= 0 || !p.last.less(uint128{lo: uint64(n - 1)})
}

// Odds are those of hitting one of n texts of the pattern by a random guess.
func (p *Pattern) Odds(n int64) float64 {
	space, _ := new(big.Float).SetInt(p.space).Float64()
	return float64(n) / space
}

// Most is the largest n whose Odds are not above the given ones, at most 2^62.
func (p *Pattern) Most(odds float64) int64 {
	most, _ := new(big.Float).Mul(new(big.Float).SetInt(p.space), big.NewFloat(odds)).Int(nil)
	if most.Cmp(p.space) > 0 {
		most.Set(p.space)
	}
	if most.BitLen() > mostBits {
		return 1 << mostBits
	}
	// The product was rounded, and so will the quotient be.
	n := most.Int64()
	for p.Holds(n+1) && p.Odds(n+1) <= odds {
		n++
	}
	for n > 0 && p.Odds(n) > odds {
		n--
	}
	return n
}

// Same reports whether the patterns have the same texts.
func (p *Pattern) Same(q *Pattern) bool {
	return slices.EqualFunc(p.places, q.places, func(a, b place) bool { return slices.Equal(a.runes, b.runes) })
}

// Meets reports whether some text is of both patterns.
func (p *Pattern) Meets(q *Pattern) bool {
	return slices.EqualFunc(p.places, q.places, func(a, b place) bool {
		return slices.ContainsFunc(a.runes, func(r rune) bool { return slices.Contains(b.runes, r) })
	})
}

// appendText writes the text of number n.
func (p *Pattern) appendText(b []byte, n uint128) []byte {
	var room [MaxCode]byte
	at := len(room)
	for i := len(p.places) - 1; i >= 0; i-- {
		texts := p.places[i].texts
		var digit uint64
		if len(texts) > 1 {
			n, digit = n.div(uint64(len(texts)))
		}
		at -= len(texts[digit])
		copy(room[at:], texts[digit])
	}
	return append(b, room[at:]...)
}

// number reads a text back; false: it is none of the pattern's.
func (p *Pattern) number(text string) (n uint128, ok bool) {
	for _, c := range p.places {
		r, size := utf8.DecodeRuneInString(text)
		digit, found := slices.BinarySearch(c.runes, r)
		if !found || text[:size] != c.texts[digit] { // a byte that is no UTF-8 decodes to U+FFFD
			return uint128{}, false
		}
		n = n.mul(uint64(len(c.runes))).add(uint64(digit))
		text = text[size:]
	}
	return n, text == ""
}
