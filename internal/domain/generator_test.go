package domain

import (
	"bytes"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func generatorOf(t interface{ Fatal(...any) }, text, alphabet string, key byte) *Generator {
	p, err := ParsePattern(text, alphabet)
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGenerator(p, bytes.Repeat([]byte{key}, GeneratorKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGeneratorPermutes: on small spaces of every size each text comes once, and
// leads back to its number.
func TestGeneratorPermutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := (digits + letters)[:rapid.IntRange(2, 36).Draw(t, "alphabet")]
		text := strings.Repeat("#", rapid.IntRange(0, 2).Draw(t, "length")) + "x" + strings.Repeat("9", rapid.IntRange(0, 1).Draw(t, "digits"))
		g := generatorOf(t, text, alphabet, rapid.Byte().Draw(t, "key"))
		n := g.pattern.Space().Int64()
		codes := g.Codes(0, int(n))
		for i, code := range codes {
			if back, ok := g.Number(code); !ok || back != int64(i) {
				t.Fatalf("code %d is read back as %d, %t", i, back, ok)
			}
		}
		slices.Sort(codes)
		if got := len(slices.Compact(codes)); int64(got) != n {
			t.Fatalf("%d distinct codes of %d", got, n)
		}
	})
}

// TestGeneratorInverse: on large spaces, up to the largest.
func TestGeneratorInverse(t *testing.T) {
	generators := map[int]*Generator{}
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.IntRange(1, 127).Draw(t, "bits")
		g := generators[length]
		if g == nil {
			alphabet := "01"
			text := strings.Repeat("#", length)
			if length == 127 { // not a power of two
				text, alphabet = strings.Repeat("#", 25), ""
			}
			g = generatorOf(t, text, alphabet, byte(length))
			generators[length] = g
		}
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "number")
		n := uint128Of(new(big.Int).Mod(new(big.Int).SetBytes(b), g.pattern.Space()))
		w := walk{g: g}
		made := w.forth(n)
		if g.pattern.last.less(made) {
			t.Fatalf("%v leads to %v, beyond the space", n, made)
		}
		if back := w.back(made); back != n {
			t.Fatalf("%v leads to %v and back to %v", n, made, back)
		}
	})
}

func TestGeneratorNumber(t *testing.T) {
	g := generatorOf(t, "S-####", "", 1)
	for _, code := range []string{"", "S-", "S-222", "S-22222", "T-2222", "S-2L22", "s-2222", "S-22é", "S-222\xff"} {
		if n, ok := g.Number(code); ok {
			t.Errorf("%q has number %d", code, n)
		}
	}
	if _, err := NewGenerator(g.pattern, make([]byte, 16)); err == nil {
		t.Error("a short key is taken")
	}
}

// TestGeneratorKeys: another key, or another pattern under the same, is another
// order. What a key makes is kept for ever, so it must not change either.
func TestGeneratorKeys(t *testing.T) {
	a, b := generatorOf(t, "#############", "", 1).Codes(0, 100), generatorOf(t, "#############", "", 2).Codes(0, 100)
	for i := range a {
		if a[i] == b[i] {
			t.Errorf("code %d is the same under two keys", i)
		}
	}
	for _, c := range []struct {
		pattern, alphabet string
		number            int64
		want              string
	}{
		{"#############", "", 0, "TGAWMZWAS5MJ5"},
		{"#############", "", 1_000_000_000, "KCKVCHE24SKGX"},
		{"SUMMER-####-####", "", 1, "SUMMER-4GFW-2FMQ"},
		{"9999", "", 7, "3127"},
		{strings.Repeat("#", 25), "", 5, "248SMGEQJ2GDHD5GDS9R6JQRE"},
		{"####", "éжab", 3, "baжé"},
	} {
		if got := generatorOf(t, c.pattern, c.alphabet, 7).Codes(c.number, 1)[0]; got != c.want {
			t.Errorf("%s, number %d: got %s, want %s", c.pattern, c.number, got, c.want)
		}
	}
}

func TestLotCodes(t *testing.T) {
	l := Lot{Size: 3, Generator: generatorOf(t, "9999", "", 3), First: 5}
	want := l.Generator.Codes(5, 3)
	got := l.Codes(2, 8)
	if diff := slices.Compare(got, []string{want[2], want[0], want[1], want[2], want[0], want[1]}); diff != 0 {
		t.Errorf("got %q of %q", got, want)
	}
}

// TestGeneratorRandom looks for order between a number and its text in 200,000
// codes: at each place, between places, between neighbours. Each figure is
// normal around 0 if there is none, and the key is fixed, so this does not fail
// by chance.
func TestGeneratorRandom(t *testing.T) {
	const n = 200_000
	for _, pattern := range []string{"#############", "9999999999", "AAAAA99"} {
		g := generatorOf(t, pattern, "", 42)
		codes := g.Codes(1_000, n)
		places := len(g.pattern.places)
		digit := func(i, at int) int {
			d, _ := slices.BinarySearch(g.pattern.places[at].runes, rune(codes[i][at]))
			return d
		}
		sizes := make([]int, places)
		for at := range sizes {
			sizes[at] = len(g.pattern.places[at].runes)
		}
		near := func(what string, sigmas float64) {
			t.Helper()
			if math.Abs(sigmas) > 5 {
				t.Errorf("%s: %s is %.1f standard deviations off", pattern, what, sigmas)
			}
		}
		for at, size := range sizes {
			near("frequency at a place", chiSquare(counts(n, size, func(i int) int { return digit(i, at) })))
			near("step from one code to the next", chiSquare(counts(n-1, size, func(i int) int { return (digit(i+1, at) - digit(i, at) + size) % size })))
			near("digit against number", chiSquare(counts(n, size*size, func(i int) int { return i%size*size + digit(i, at) })))
			if at > 0 {
				near("two places", chiSquare(counts(n, size*sizes[at-1], func(i int) int { return digit(i, at-1)*size + digit(i, at) })))
			}
		}
		texts := make([]float64, n)
		space, _ := new(big.Float).SetInt(g.pattern.Space()).Float64()
		for i, code := range codes {
			m, _ := g.pattern.number(code)
			texts[i] = (math.Ldexp(float64(m.hi), 64) + float64(m.lo)) / space
		}
		for _, lag := range []int{1, 2, 31, 1000} {
			near("serial correlation", correlation(texts[:n-lag], texts[lag:])*math.Sqrt(float64(n-lag)))
		}
		numbers := make([]float64, n)
		for i := range numbers {
			numbers[i] = float64(i)
		}
		near("correlation of number and text", correlation(numbers, texts)*math.Sqrt(n))
		// Of neighbours the first is smaller as often as not, and how often that
		// changes from one pair to the next has mean 2(n−2)/3, variance (16n−29)/90.
		turns := 0
		for i := 1; i < n-1; i++ {
			if (texts[i-1] < texts[i]) != (texts[i] < texts[i+1]) {
				turns++
			}
		}
		near("runs up and down", (float64(turns)-2*(n-2)/3.0)/math.Sqrt((16*n-29)/90.0))
	}
}

func counts(n, cells int, cell func(i int) int) []int {
	c := make([]int, cells)
	for i := range n {
		c[cell(i)]++
	}
	return c
}

// chiSquare is the statistic of counts that should be equal, made normal.
func chiSquare(counts []int) float64 {
	total := 0
	for _, c := range counts {
		total += c
	}
	want, sum := float64(total)/float64(len(counts)), 0.0
	for _, c := range counts {
		sum += (float64(c) - want) * (float64(c) - want) / want
	}
	free := float64(len(counts) - 1)
	return (sum - free) / math.Sqrt(2*free)
}

func correlation(x, y []float64) float64 {
	var mx, my float64
	for i := range x {
		mx += x[i] / float64(len(x))
		my += y[i] / float64(len(y))
	}
	var xy, xx, yy float64
	for i := range x {
		xy += (x[i] - mx) * (y[i] - my)
		xx += (x[i] - mx) * (x[i] - mx)
		yy += (y[i] - my) * (y[i] - my)
	}
	return xy / math.Sqrt(xx*yy)
}

func BenchmarkGenerator(b *testing.B) {
	const n = 10_000
	for _, pattern := range []string{"#############", "SUMMER-####-####"} {
		b.Run(pattern, func(b *testing.B) {
			g := generatorOf(b, pattern, "", 1)
			b.ReportAllocs()
			for b.Loop() {
				g.Codes(0, n)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "codes/s")
		})
	}
}
