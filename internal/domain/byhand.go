package domain

import (
	"errors"
	"time"
)

// Denial says why a code was not issued by hand. Its text never changes its
// meaning.
type Denial string

// The denials. The first four are reasons of code.rejected too, and mean the same.
const (
	DeniedNotActive   Denial = "pool_not_active"
	DeniedExhausted   Denial = "pool_exhausted"
	DeniedNoneNow     Denial = "no_code_in_window"
	DeniedConflict    Denial = "request_conflict"
	DeniedIssued      Denial = "code_issued"
	DeniedBlocked     Denial = "code_blocked"
	DeniedRedeemed    Denial = "code_redeemed"
	DeniedOutOfWindow Denial = "code_not_in_window"
	DeniedExpired     Denial = "code_expired"
)

// Denials are all of them.
var Denials = []Denial{
	DeniedNotActive, DeniedExhausted, DeniedNoneNow, DeniedConflict, DeniedIssued, DeniedBlocked, DeniedRedeemed, DeniedOutOfWindow, DeniedExpired,
}

// Detail is the denial in a sentence, and what to do.
func (d Denial) Detail() string {
	switch d {
	case DeniedNotActive:
		return "the pool is not active: launch it, or ask a pool that is"
	case DeniedExhausted:
		return "the pool has no code left: add codes to it"
	case DeniedNoneNow:
		return "the pool has codes left, but none whose issue window is open now"
	case DeniedConflict:
		return "this request_id of the pool was given to another customer or for another code: choose a new one"
	case DeniedIssued:
		return "the code was issued to another request: look it up to see whose it is"
	case DeniedBlocked:
		return "the code is blocked: unblock it first, or choose another"
	case DeniedRedeemed:
		return "the code was redeemed without having been issued: choose another"
	case DeniedOutOfWindow:
		return "the issue window of the code or of its pool is not open now"
	case DeniedExpired:
		return "the code has expired: choose another"
	}
	return ""
}

// Denied is the error of a code that is not issued by hand. Nothing has changed.
type Denied struct{ Reason Denial }

// Error is the reason in a sentence.
func (d *Denied) Error() string { return d.Reason.Detail() }

// DeniedFor is the error that a rejection over Kafka is by hand.
func DeniedFor(r Reason) error {
	if r == PoolNotFound {
		return ErrNotFound
	}
	return &Denied{Denial(r.String())}
}

// Errors of blocking codes.
var (
	ErrDraft       = errors.New("the pool is a draft, and its codes are not in use yet: launch it first")
	ErrMostBlocked = errors.New("so many codes that many may use are blocked already that the others are hard to find: archive the pool and make another")
)

// ErrNote is returned for text that is no note.
var ErrNote = errors.New("must be at most 1000 bytes of text, or null")

// CheckNote returns ErrNote for text that staff cannot say of a change of a code.
func CheckNote(s string) error {
	if len(s) > 1000 || !isText(s) {
		return ErrNote
	}
	return nil
}

// CodeAction is what happened to a code, as its history tells it.
type CodeAction string

// The actions on codes.
const (
	CodeAddedTo      CodeAction = "added"
	CodeWasIssued    CodeAction = "issued"
	CodeWasBlocked   CodeAction = "blocked"
	CodeWasUnblocked CodeAction = "unblocked"
	CodeWasRedeemed  CodeAction = "redeemed"
	CodeRolledBack   CodeAction = "redemption_rolled_back"
)

// CodeMoment is one entry of a code's history.
type CodeMoment struct {
	At           time.Time
	Action       CodeAction
	Actor        Actor  // "": nobody in particular, as over Kafka
	Note         string // of who blocked or unblocked it
	RequestID    string // that it was issued to by hand
	RedemptionID string // that it was redeemed by
}

// Judge says why a code of the pool that nothing else stands against may not be
// issued at the given time; nil: it may.
func (p *Pool) Judge(w *Window, now time.Time) error {
	switch {
	case p.State != Active:
		return &Denied{DeniedNotActive}
	case w.Expired(now):
		return &Denied{DeniedExpired}
	case !w.Fits(now) || !p.Open(now):
		return &Denied{DeniedOutOfWindow}
	}
	return nil
}
