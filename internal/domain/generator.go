package domain

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"
)

// GeneratorKeySize is the size of a generator's key in bytes.
const GeneratorKeySize = 32

// rounds of the network. With fewer than a million texts, which the odds of a
// guess rule out by default, no number of rounds makes a permutation hard to
// tell; FF1 takes as many.
const rounds = 10

// Generator puts the texts of a pattern into an order that nobody can tell who
// has not its key: code number n is text number E(n), where E is a permutation
// of 0…space−1. So no two numbers have the same code, and a code's number is
// found from its text. A generator may be used by several goroutines.
//
// E is the generalized Feistel cipher of Black and Rogaway ("Ciphers with
// Arbitrary Finite Domains", CT-RSA 2002) over a×b ≥ space, a and b close to
// its square root, walked until it ends below space. As in FF1 of NIST SP
// 800-38G ten rounds add, modulo a and b by turns, a function of the other half.
// Unlike there that function is AES-256 of one block, the round and the half,
// scaled to a or b, which favours none by more than 2^−64; halves are numbers
// and no strings of digits; and there is no tweak, since each pattern of
// each pool has a key of its own. So this is no FF1, and claims no conformance.
type Generator struct {
	pattern *Pattern
	block   cipher.Block
	a, b    uint64
}

// NewGenerator returns the generator of a pattern's codes under a key.
func NewGenerator(p *Pattern, key []byte) (*Generator, error) {
	if len(key) != GeneratorKeySize {
		return nil, fmt.Errorf("a generator's key has %d bytes, not %d", GeneratorKeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	// a = ⌈√space⌉ and b = ⌈space/a⌉ ≤ a; both are below 2^64.
	one := big.NewInt(1)
	last := new(big.Int).Sub(p.space, one)
	a := new(big.Int).Sqrt(last)
	a.Add(a, one)
	b := new(big.Int).Div(last, a)
	b.Add(b, one)
	return &Generator{pattern: p, block: block, a: a.Uint64(), b: b.Uint64()}, nil
}

// Pattern is that of the codes.
func (g *Generator) Pattern() *Pattern { return g.pattern }

// Codes are those of numbers first…first+n−1, which the pattern must hold.
func (g *Generator) Codes(first int64, n int) []string {
	w := walk{g: g}
	texts := make([]byte, 0, n*g.pattern.longest())
	ends := make([]int, n)
	for i := range ends {
		texts = g.pattern.appendText(texts, w.forth(uint128{lo: uint64(first) + uint64(i)}))
		ends[i] = len(texts)
	}
	all := string(texts)
	codes := make([]string, n)
	begin := 0
	for i, end := range ends {
		codes[i] = all[begin:end]
		begin = end
	}
	return codes
}

// Number is that of a code; false: it is no code of the pattern, or one whose
// number is 2^63 or more, which is never made.
func (g *Generator) Number(code string) (int64, bool) {
	n, ok := g.pattern.number(code)
	if !ok {
		return 0, false
	}
	w := walk{g: g}
	n = w.back(n)
	return int64(n.lo), n.hi == 0 && n.lo < 1<<63
}

// walk is room for one call at a time.
type walk struct {
	g       *Generator
	in, out [aes.BlockSize]byte
}

// forth is E. It ends: E's network permutes a×b, so whoever begins below space
// comes back there.
func (w *walk) forth(n uint128) uint128 {
	for {
		r, l := n.div(w.g.a)
		left, right := l, r.lo
		for i := range byte(rounds) {
			if i%2 == 0 {
				left = addMod(left, w.f(i, right, w.g.a), w.g.a)
			} else {
				right = addMod(right, w.f(i, left, w.g.b), w.g.b)
			}
		}
		if n = w.join(left, right); !w.g.pattern.last.less(n) {
			return n
		}
	}
}

// back is the inverse of forth.
func (w *walk) back(n uint128) uint128 {
	for {
		r, l := n.div(w.g.a)
		left, right := l, r.lo
		for i := byte(rounds); i > 0; i-- {
			if (i-1)%2 == 0 {
				left = addMod(left, w.g.a-w.f(i-1, right, w.g.a), w.g.a)
			} else {
				right = addMod(right, w.g.b-w.f(i-1, left, w.g.b), w.g.b)
			}
		}
		if n = w.join(left, right); !w.g.pattern.last.less(n) {
			return n
		}
	}
}

func (w *walk) join(left, right uint64) uint128 {
	return uint128{lo: right}.mul(w.g.a).add(left)
}

// f is the function of a round, below m.
func (w *walk) f(round byte, half, m uint64) uint64 {
	w.in[0] = round
	binary.BigEndian.PutUint64(w.in[8:], half)
	w.g.block.Encrypt(w.out[:], w.in[:])
	// ⌊out·m / 2^128⌋: as even as a remainder, for two multiplications.
	hi, carried := bits.Mul64(binary.BigEndian.Uint64(w.out[:8]), m)
	low, _ := bits.Mul64(binary.BigEndian.Uint64(w.out[8:]), m)
	_, carry := bits.Add64(carried, low, 0)
	return hi + carry
}

// addMod is (x + y) mod m for x < m and y ≤ m.
func addMod(x, y, m uint64) uint64 {
	sum, carry := bits.Add64(x, y, 0)
	if carry != 0 || sum >= m {
		sum -= m
	}
	return sum
}
