package domain

import (
	"math/big"
	"math/bits"
)

// uint128 is an unsigned integer of 128 bits.
type uint128 struct{ hi, lo uint64 }

// uint128Of converts an integer of at most 128 bits.
func uint128Of(i *big.Int) uint128 {
	return uint128{hi: new(big.Int).Rsh(i, 64).Uint64(), lo: new(big.Int).And(i, new(big.Int).SetUint64(1<<64-1)).Uint64()}
}

func (n uint128) less(m uint128) bool { return n.hi < m.hi || n.hi == m.hi && n.lo < m.lo }

// div divides by d and returns the rest too.
func (n uint128) div(d uint64) (uint128, uint64) {
	if n.hi == 0 {
		return uint128{lo: n.lo / d}, n.lo % d
	}
	lo, rest := bits.Div64(n.hi%d, n.lo, d)
	return uint128{n.hi / d, lo}, rest
}

// mul multiplies; the caller knows that the product fits.
func (n uint128) mul(m uint64) uint128 {
	hi, lo := bits.Mul64(n.lo, m)
	return uint128{hi + n.hi*m, lo}
}

// add adds; the caller knows that the sum fits.
func (n uint128) add(m uint64) uint128 {
	lo, carry := bits.Add64(n.lo, m, 0)
	return uint128{n.hi + carry, lo}
}
