package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Pseudonyms names customers who were erased: by a keyed hash of their id, so that
// a repeat of what they asked for is still known to be theirs, and nobody without
// the key can tell whose it is.
type Pseudonyms struct{ key []byte }

// NewPseudonyms returns those of a key, which is random and stays the same.
func NewPseudonyms(key []byte) *Pseudonyms { return &Pseudonyms{key} }

const (
	pseudonymPrefix = "erased:"
	pseudonymBytes  = 16
)

// Customer is the pseudonym of a customer.
func (p *Pseudonyms) Customer(id string) string { return pseudonym(p.Sum([]byte(id))) }

// Order is the pseudonym of an order. No id holds a NUL: it is nobody's.
func (p *Pseudonyms) Order(id string) string { return pseudonym(p.Sum([]byte("order\x00" + id))) }

// Sum is 128 bits of HMAC-SHA256.
func (p *Pseudonyms) Sum(text []byte) (sum [pseudonymBytes]byte) {
	h := hmac.New(sha256.New, p.key)
	_, _ = h.Write(text)
	copy(sum[:], h.Sum(nil))
	return sum
}

func pseudonym(sum [pseudonymBytes]byte) string {
	return pseudonymPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// IsPseudonym reports whether a text has the form of a pseudonym. A customer who
// has such an id was not erased, and is as good as nobody.
func IsPseudonym(s string) bool {
	hash, ok := strings.CutPrefix(s, pseudonymPrefix)
	if !ok {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(hash)
	return err == nil && len(b) == pseudonymBytes
}

// names reports whether a stored name is that of the customer, erased or not. With
// nil there are no pseudonyms.
func (p *Pseudonyms) names(stored, customer string) bool {
	return stored == customer || p != nil && IsPseudonym(stored) && stored == p.Customer(customer)
}
