package postgres

import (
	"github.com/cespare/xxhash/v2"

	"promopool/internal/domain"
)

// A sketch is a Bloom filter over the customers of a transaction's issuances: one
// who is not among them is not taken for one but in less than a hundredth of all
// cases. So whoever looks for a customer among codes that are not listed yet need
// not read them all. What it means is may_hold's to say in SQL too: it stays.
const (
	sketchBits   = 12 // for a customer
	sketchLeast  = 64 // bits
	sketchHashes = 4
)

// sketchOf makes the sketch of the customers of issues; nil: there are none.
func sketchOf(issues []domain.NewIssue) []byte {
	if len(issues) == 0 {
		return nil
	}
	sketch := make([]byte, (max(len(issues)*sketchBits, sketchLeast)+7)/8)
	bits := uint64(len(sketch)) * 8
	for _, i := range issues {
		a, b := sketchHash(i.Issuance.CustomerID)
		for n := range uint64(sketchHashes) {
			bit := (a + n*b) % bits
			sketch[bit/8] |= 1 << (bit % 8)
		}
	}
	return sketch
}

// sketchHash are the two hashes that number a customer's bits.
func sketchHash(customer string) (a, b uint64) {
	h := xxhash.Sum64String(customer)
	return h & 0xffffffff, h>>32 | 1
}
