package domain

import (
	"crypto/sha256"
	"errors"
	"time"
)

// ErrNotRedeemed is returned to who rolls a rejected redemption back.
var ErrNotRedeemed = errors.New("the redemption was rejected: there is nothing to roll back")

// RedemptionRequest asks to redeem a code (event redemption.requested). A
// redemption_id belongs to its pool.
type RedemptionRequest struct {
	PoolID       string
	RedemptionID string
	Code         string    // as it came
	CustomerID   string    // "": none is named
	OrderID      string    // "": none is named
	OccurredAt   time.Time // zero: nothing is said
	Context      []byte    // a JSON object, handed back byte for byte; nil: null
}

// CleanCode is the code that is meant, "" where the text can be no code.
func (r *RedemptionRequest) CleanCode() string {
	code, _ := CleanCode(r.Code)
	return code
}

// offlineFor is how long after the fact a shop that was offline may report it
// and have it judged by when it was.
const offlineFor = 24 * time.Hour

// Moment is the time by which windows are judged.
func (r *RedemptionRequest) Moment(now time.Time) time.Time {
	if r.OccurredAt.IsZero() || r.OccurredAt.After(now) || now.Sub(r.OccurredAt) > offlineFor {
		return now
	}
	return r.OccurredAt
}

// same reports whether a request asks for what the first did: the same code for the
// same customer and order, which may be erased by now.
func (p *Pseudonyms) same(first, r *RedemptionRequest) bool {
	return first.cleanOrAny() == r.cleanOrAny() && p.names(first.CustomerID, r.CustomerID) &&
		(first.OrderID == r.OrderID || p != nil && IsPseudonym(first.OrderID) && first.OrderID == p.Order(r.OrderID))
}

// Content tells requests with one redemption_id apart that do not ask for the
// same.
type Content [16]byte

// Content is that of the request.
func (r *RedemptionRequest) Content() (c Content) {
	sum := sha256.Sum256([]byte(r.sum()))
	copy(c[:], sum[:])
	return c
}

func (r *RedemptionRequest) sum() string {
	return r.cleanOrAny() + "\x00" + r.CustomerID + "\x00" + r.OrderID // no field can hold a NUL
}

func (r *RedemptionRequest) cleanOrAny() string {
	if code := r.CleanCode(); code != "" {
		return code
	}
	return r.Code
}

// RedemptionReason says why a redemption was rejected. The numbers are stored;
// they never change their meaning.
type RedemptionReason uint8

// The reasons, in the order in which they are looked for. CustomerNeeded is a
// limit_reached with words of its own. Poison is none of them: it marks a
// delivery that the database refused to store and that went to the dead letters.
const (
	NotRejected         RedemptionReason = 0
	NoSuchPool          RedemptionReason = 1
	PoolInactive        RedemptionReason = 2
	RedemptionConflict  RedemptionReason = 3
	NoSuchCode          RedemptionReason = 4
	BlockedCode         RedemptionReason = 5
	NotIssued           RedemptionReason = 6
	NotIssuedToCustomer RedemptionReason = 7
	RedeemedBefore      RedemptionReason = 8
	NotYetValid         RedemptionReason = 9
	NoLongerValid       RedemptionReason = 10
	LimitReached        RedemptionReason = 11
	CustomerNeeded      RedemptionReason = 12
	RedemptionPoison    RedemptionReason = 13
)

// RedemptionReasons lists every reason with which redemption.rejected is said.
var RedemptionReasons = []RedemptionReason{
	NoSuchPool, PoolInactive, RedemptionConflict, NoSuchCode, BlockedCode, NotIssued, NotIssuedToCustomer,
	RedeemedBefore, NotYetValid, NoLongerValid, LimitReached, CustomerNeeded,
}

// redemptionReasons are their names in events, and themselves in a sentence,
// which depends on nothing else, so that a repeat has the same bytes.
var redemptionReasons = [...]struct{ name, detail string }{
	NotRejected:         {"", ""},
	NoSuchPool:          {"pool_not_found", "There is no pool with this id."},
	PoolInactive:        {"pool_not_active", "The pool is not launched yet, or it is archived and the code was never issued."},
	RedemptionConflict:  {"redemption_conflict", "This redemption_id of the pool was used for another code, customer or order."},
	NoSuchCode:          {"code_not_found", "The pool has no such code."},
	BlockedCode:         {"blocked", "The code is blocked."},
	NotIssued:           {"not_issued", "The code was not issued to anybody."},
	NotIssuedToCustomer: {"not_issued_to_customer", "The code was issued to another customer, or no customer is named."},
	RedeemedBefore:      {"already_redeemed", "The code is redeemed already."},
	NotYetValid:         {"not_yet_valid", "The code is not valid yet."},
	NoLongerValid:       {"expired", "The code is no longer valid."},
	LimitReached:        {"limit_reached", "The code was redeemed as often as the pool allows."},
	CustomerNeeded:      {"limit_reached", "The pool limits how often each customer may redeem the code: name the customer."},
	RedemptionPoison:    {"poison", "The database refuses a value in this event."},
}

// String is the reason's name in events.
func (r RedemptionReason) String() string {
	if int(r) >= len(redemptionReasons) {
		return "unknown"
	}
	return redemptionReasons[r].name
}

// Detail is the reason in a sentence.
func (r RedemptionReason) Detail() string {
	if int(r) >= len(redemptionReasons) {
		return ""
	}
	return redemptionReasons[r].detail
}

// Redemption is the answer to a request: that the code is redeemed, or why not.
// It is written once; only that it was rolled back comes later.
type Redemption struct {
	RedemptionRequest
	Pool         *Pool // nil: there is none
	Place        Place // of the code
	Known        bool  // whether the pool has the code: Place means something
	IssuedTo     string
	DecidedAt    time.Time
	Reason       RedemptionReason // NotRejected: the code is redeemed
	Processing   Processing       // who judged
	Checked      bool             // the issue check was on
	RolledBackAt time.Time        // zero: it stands
	Erased       Content          // of a conflict's request, whose words are erased; zero: they are not
}

// Redeemed reports whether the code was redeemed by it, be it rolled back since.
func (r *Redemption) Redeemed() bool { return r.Reason == NotRejected }
