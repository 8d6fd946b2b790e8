package domain

import (
	"time"

	"github.com/cespare/xxhash/v2"
)

// Request asks for one code of a pool (event code.requested).
type Request struct {
	Offset     int64 // of the delivery, in its partition
	PoolID     string
	RequestID  string
	CustomerID string
	ExpiresAt  time.Time // rather reject than issue at or after it; zero: never
	Context    []byte    // a JSON object, handed back byte for byte; nil: null
}

// Hash is what a batch remembers of a delivery that it rejected: enough to see
// that the log holds another message there than it did.
func (r *Request) Hash() uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, s := range [...]string{r.PoolID, r.RequestID, r.CustomerID} {
		_, _ = d.WriteString(s)
		_, _ = d.Write([]byte{0}) // no field can hold a NUL
	}
	_, _ = d.Write(r.Context)
	return d.Sum64()
}

// Reason says why a request was rejected. The numbers are stored; they never
// change their meaning.
type Reason uint8

// The reasons of code.rejected. Poison is none of them: it marks a delivery
// that the database refused to store and that went to the dead letters.
const (
	PoolNotFound    Reason = 1
	PoolNotActive   Reason = 2
	PoolExhausted   Reason = 3 // no unissued code that is not expired is left
	NoCodeInWindow  Reason = 4 // some are left, none may be issued now
	RequestExpired  Reason = 5
	RequestConflict Reason = 6 // the request_id was issued to another customer
	Poison          Reason = 7
)

// Reasons lists every reason that code.rejected can give.
var Reasons = []Reason{PoolNotFound, PoolNotActive, PoolExhausted, NoCodeInWindow, RequestExpired, RequestConflict}

// String is the reason's name in events.
func (r Reason) String() string {
	switch r {
	case PoolNotFound:
		return "pool_not_found"
	case PoolNotActive:
		return "pool_not_active"
	case PoolExhausted:
		return "pool_exhausted"
	case NoCodeInWindow:
		return "no_code_in_window"
	case RequestExpired:
		return "request_expired"
	case RequestConflict:
		return "request_conflict"
	case Poison:
		return "poison"
	}
	return "unknown"
}

// Detail is the reason in a sentence. It depends on nothing but the reason, so
// that a rejection repeated after a crash has the same bytes.
func (r Reason) Detail() string {
	switch r {
	case PoolNotFound:
		return "There is no pool with this id."
	case PoolNotActive:
		return "The pool is not active: not launched yet, or archived."
	case PoolExhausted:
		return "The pool has no code left."
	case NoCodeInWindow:
		return "The pool has codes left, but none whose issue window is open now."
	case RequestExpired:
		return "The request expired before it could be answered."
	case RequestConflict:
		return "This request_id of the pool was issued to another customer."
	}
	return ""
}

// Place is where a code lies.
type Place struct {
	Lot int32
	Seq int64
}

// Issuance is the fact that a request has a code. It is written once and never
// changed, but for the erasing of its customer.
type Issuance struct {
	Pool *Pool
	Place
	Code       string
	RequestID  string
	CustomerID string // or their pseudonym
	Context    []byte
	IssuedAt   time.Time
	ValidFrom  time.Time
	ValidUntil time.Time // zero: no end

	Pseudonyms *Pseudonyms // nil: CustomerID is no pseudonym
}

// IssuedTo reports whether a customer has it, be it under a pseudonym.
func (i *Issuance) IssuedTo(customer string) bool { return i.Pseudonyms.names(i.CustomerID, customer) }

// Key names a request: a request_id belongs to its pool.
type Key struct {
	Pool      int32
	RequestID string
}
