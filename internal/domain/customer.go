package domain

import (
	"errors"
	"time"
)

// ErrPseudonym is returned to who asks to erase a pseudonym: it would be known by no
// customer afterwards.
var ErrPseudonym = errors.New("this is what an erased customer is called: there is nothing to erase")

// CustomerCode is a code of a customer: what was issued, and what became of it.
type CustomerCode struct {
	Issuance
	State      CodeState // CodeIssued, CodeRedeemed or CodeBlocked
	RedeemedAt time.Time // zero: it is not, or was rolled back
}

// IssuePlace is a place in the order in which codes were issued.
type IssuePlace struct {
	At   time.Time
	Pool int32
	Place
}

// Erasure is the erasing of a customer.
type Erasure struct {
	No          int64
	CustomerID  string // while it goes on; "": it is done
	Actor       Actor
	BegunAt     time.Time
	DoneAt      time.Time // zero: it goes on
	Issuances   int64     // that were erased
	Redemptions int64
	ListedNo    int64         // of the last codes that have to be listed first
	Marks       *ErasureMarks // nil: rows are still being erased
}

// Held says until when a topic holds what is in it now.
type Held struct {
	Topic string
	Until time.Time // zero: as long as it is there
}

// ErasureMarks are where others have to get before nothing that was read before is
// told any more.
type ErasureMarks struct {
	Stream         string  // identity of the topic of code requests
	Ends           []int64 // of that topic, by partition
	RedemptionEnds []int64 // of the topic of redemption requests
}
