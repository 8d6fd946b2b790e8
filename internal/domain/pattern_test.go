package domain

import (
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestParsePattern(t *testing.T) {
	for _, c := range []struct {
		name, text, alphabet string
		canonical            string // "": refused
		space                string
		says                 string // when refused
	}{
		{name: "Plain", text: "#############", canonical: "#############", space: "24417546297445042591"},
		{name: "Kinds", text: "SUMMER-#9", canonical: "SUMMER-#9", space: "310"},
		{name: "Letter", text: "xA", canonical: "xA", space: "26"},
		{name: "Escapes", text: `\S\#\9\A\\#`, canonical: `S\#\9\A\\#`, space: "31"},
		{name: "Alphabet", text: "##", alphabet: "zyx", canonical: "##", space: "9"},
		{name: "OneText", text: `S\ALE`, canonical: `S\ALE`, space: "1"},
		{name: "Blank", text: "a #", canonical: "a #", space: "31"},
		{name: "Composed", text: "e\u0301#", canonical: "é#", space: "31"},
		{name: "Wide", text: "#####", alphabet: "жщ", canonical: "#####", space: "32"},
		{name: "Largest", text: strings.Repeat("#", 25), canonical: strings.Repeat("#", 25), space: new(big.Int).Exp(big.NewInt(31), big.NewInt(25), nil).String()},
		{name: "LargestOfTwo", text: strings.Repeat("#", 126), alphabet: "01", canonical: strings.Repeat("#", 126), space: new(big.Int).Lsh(big.NewInt(1), 126).String()},
		{name: "LongLiteral", text: strings.Repeat("x", 199) + "9", canonical: strings.Repeat("x", 199) + "9", space: "10"},

		{name: "Empty", text: "", says: "empty"},
		{name: "TooLarge", text: strings.Repeat("#", 26), says: "fewer random characters"},
		{name: "TooLong", text: strings.Repeat("x", 201), says: "201 bytes"},
		{name: "TooLongWide", text: strings.Repeat("é", 101), says: "202 bytes"},
		{name: "TooLongByFar", text: strings.Repeat("x", 1<<20), says: "at most"},
		{name: "OpenEscape", text: `#\`, says: `\`},
		{name: "LeadingBlank", text: " #", says: "blank"},
		{name: "TrailingBlank", text: `#\ `, says: "blank"},
		{name: "Control", text: "#\n#", says: "U+000A"},
		{name: "Combining", text: "#\u0301", says: "U+0301"},
		{name: "EscapedCombining", text: "e\\\u0301", says: "U+0301"},
		{name: "Invisible", text: "#\u200b#", says: "U+200B"},
		{name: "NotUTF8", text: "#\xff", says: "UTF-8"},
		{name: "AlphabetOfOne", text: "#", alphabet: "a", says: "2 to 64"},
		{name: "AlphabetTooLarge", text: "#", alphabet: digits + letters + "abcdefghijklmnopqrstuvwxyz-_+", says: "2 to 64"},
		{name: "AlphabetTwice", text: "#", alphabet: "abca", says: "twice"},
		{name: "AlphabetTwiceComposed", text: "#", alphabet: "ée\u0301", says: "twice"},
		{name: "AlphabetBlank", text: "#", alphabet: "ab ", says: "blank"},
		{name: "AlphabetCombining", text: "#", alphabet: "\u0301ab", says: "U+0301"},
		{name: "AlphabetNotUTF8", text: "#", alphabet: "a\xff", says: "UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParsePattern(c.text, c.alphabet)
			if c.canonical == "" {
				if !errors.As(err, new(*Invalid)) || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v, want a refusal about %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.String() != c.canonical || p.Space().String() != c.space {
				t.Errorf("got %s of %s texts, want %s of %s", p, p.Space(), c.canonical, c.space)
			}
		})
	}
}

// TestPlain: the alphabet is what its comment says.
func TestPlain(t *testing.T) {
	var want []rune
	for r := range rune(128) {
		if strings.ContainsRune(digits+letters, r) && !strings.ContainsRune("01ILO", r) {
			want = append(want, r)
		}
	}
	if diff := cmp.Diff(string(want), Plain); diff != "" || len(Plain) != 31 {
		t.Error(diff)
	}
}

func TestPrefixed(t *testing.T) {
	p, err := ParsePattern(Prefixed(`A9#\x-`, 3, "-9"), "xyz")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(p.appendText(nil, uint128{})), `A9#\x-xxx-9`; got != want || p.Space().Int64() != 27 {
		t.Errorf("got %q of %d, want %q of 27", got, p.Space(), want)
	}
}

func TestPatternSame(t *testing.T) {
	for _, c := range []struct {
		a, alphabetA, b, alphabetB string
		same, meets                bool
	}{
		{"##", "", "##", "", true, true},
		{"##", "ab", "##", "ba", true, true},
		{"#", "0123456789", "9", "", true, true},
		{`\S-9`, "", "S-9", "", true, true},
		{"##", "", "###", "", false, false},
		{"S-##", "", "T-##", "", false, false},
		{"S-##", "", "AA##", "", false, false},
		{"S###", "", "AA##", "", false, true},
		{"99", "", "##", "", false, true},
		{"99", "", "AA", "", false, false},
		{"9A", "", "A9", "", false, false},
		{"1#", "", "9L", "", false, false}, // # has no L
		{"1#", "", "9K", "", false, true},
		{"é#", "", "e#", "", false, false},
	} {
		a, err1 := ParsePattern(c.a, c.alphabetA)
		b, err2 := ParsePattern(c.b, c.alphabetB)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if a.Same(b) != c.same || b.Same(a) != c.same || a.Meets(b) != c.meets || b.Meets(a) != c.meets {
			t.Errorf("%s and %s: got same %t, meets %t, want %t, %t", a, b, a.Same(b), a.Meets(b), c.same, c.meets)
		}
	}
}

// anyPattern draws patterns of few texts.
func anyPattern(t *rapid.T, label string) *Pattern {
	alphabet := rapid.SampledFrom([]string{"", "01", "abc", "éжz"}).Draw(t, label+" alphabet")
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"#", "9", "A", `\#`, `\9`, `\A`, `\\`, "x", "0", "é", "a", "B"}), 1, 3).Draw(t, label)
	p, err := ParsePattern(strings.Join(parts, ""), alphabet)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// all are the texts of a pattern, in order.
func all(p *Pattern) []string {
	texts := make([]string, p.Space().Int64())
	for i := range texts {
		texts[i] = string(p.appendText(nil, uint128{lo: uint64(i)}))
	}
	return texts
}

// TestPatternTexts: every text is a code as it is, numbers and texts are one to
// one, and two patterns meet where they have a text in common.
func TestPatternTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPattern(t, "p"), anyPattern(t, "q")
		texts := all(p)
		if !slices.IsSorted(texts) || len(slices.Compact(slices.Clone(texts))) != len(texts) {
			t.Fatal("the texts are not distinct and in order")
		}
		for i, text := range texts {
			if code, reason := CleanCode(text); reason != "" || code != text {
				t.Fatalf("%q is no code as it is: %q %s", text, code, reason)
			}
			if n, ok := p.number(text); !ok || n != (uint128{lo: uint64(i)}) {
				t.Fatalf("%q, number %d, is read as %v %t", text, i, n, ok)
			}
		}
		others := all(q)
		meets := slices.ContainsFunc(others, func(s string) bool { _, ok := slices.BinarySearch(texts, s); return ok })
		if p.Meets(q) != meets {
			t.Fatalf("%s and %s: meets %t, by their texts %t", p, q, p.Meets(q), meets)
		}
		if same := slices.Equal(texts, others); p.Same(q) != same {
			t.Fatalf("%s and %s: same %t, by their texts %t", p, q, p.Same(q), same)
		}
		again, err := ParsePattern(p.String(), p.Alphabet())
		if err != nil || !again.Same(p) || again.String() != p.String() {
			t.Fatalf("%s is not what it says: %v", p, err)
		}
	})
}

// TestMost: one more than Most has worse odds than asked for.
func TestMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := ParsePattern(strings.Repeat("#", rapid.IntRange(1, 25).Draw(t, "length")), "")
		if err != nil {
			t.Fatal(err)
		}
		odds := rapid.SampledFrom([]float64{1e-12, 1e-9, 1e-6, 1e-3, 0.1, 0.3, 1}).Draw(t, "odds")
		most := p.Most(odds)
		if !p.Holds(most) || p.Odds(most) > odds {
			t.Fatalf("%d are too many", most)
		}
		if most < 1<<mostBits && p.Holds(most+1) && p.Odds(most+1) <= odds {
			t.Fatalf("%d are too few", most)
		}
	})
}

// FuzzParsePattern: whatever is accepted spells codes, and reads them back.
func FuzzParsePattern(f *testing.F) {
	for _, seed := range [][2]string{{"SUMMER-####-####", ""}, {`\#\9\A\\`, ""}, {"99-AA-##", "01"}, {"é ж#", "éж"}, {"e\u0301#", "a\u0301b"}, {"#\xff", "\xff\xfe"}} {
		f.Add(seed[0], seed[1], uint64(1), uint64(2))
	}
	f.Fuzz(func(t *testing.T, text, alphabet string, hi, lo uint64) {
		p, err := ParsePattern(text, alphabet)
		if err != nil {
			if !errors.As(err, new(*Invalid)) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		n := new(big.Int).Mod(new(big.Int).Or(new(big.Int).Lsh(new(big.Int).SetUint64(hi), 64), new(big.Int).SetUint64(lo)), p.Space())
		spelled := string(p.appendText(nil, uint128Of(n)))
		if !utf8.ValidString(spelled) || !norm.NFC.IsNormalString(spelled) || len(spelled) > MaxCode {
			t.Fatalf("%q of %q is no code", spelled, text)
		}
		if code, reason := CleanCode(spelled); reason != "" || code != spelled {
			t.Fatalf("%q of %q is no code as it is: %s", spelled, text, reason)
		}
		if back, ok := p.number(spelled); !ok || back != uint128Of(n) {
			t.Fatalf("%q of %q is not read back", spelled, text)
		}
		again, err := ParsePattern(p.String(), p.Alphabet())
		if err != nil || !again.Same(p) {
			t.Fatalf("%q does not parse to itself: %v", p.String(), err)
		}
	})
}
