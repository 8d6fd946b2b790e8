package domain

import (
	"errors"
	"time"
)

// Stock is what a pool has and what became of it, all at one moment. Total is
// Issued + Available + Scheduled + Expired + Withdrawn in a single-use pool. A
// multi-use pool uses nothing up: there Total, Available, Scheduled, Expired and
// Withdrawn count codes, and Issued counts issuances.
type Stock struct {
	Total     int64
	Available int64 // may be issued now
	Scheduled int64 // may be issued later
	Held      int64 // of Available: taken ahead by partitions
	Issued    int64
	Redeemed  int64
	Expired   int64 // never issued, and too late now
	Withdrawn int64 // blocked, or redeemed without having been issued

	PerMinute   float64   // issued of late (Samples.PerMinute)
	ExhaustedAt time.Time // when the last is gone at that rate; zero: there is no telling
}

// CodeState is where a code is in its life.
type CodeState string

// The states of a code.
const (
	CodeAvailable CodeState = "available"
	CodeScheduled CodeState = "scheduled"
	CodeIssued    CodeState = "issued"
	CodeExpired   CodeState = "expired"  // never issued, and too late now
	CodeBlocked   CodeState = "blocked"  // whether issued or not
	CodeRedeemed  CodeState = "redeemed" // whether issued or not
	// Redeemed without having been issued, and rolled back: someone has it, so it is
	// out of the stock.
	CodeWithdrawn CodeState = "withdrawn"
)

// CodeStates are all of them.
var CodeStates = []CodeState{CodeAvailable, CodeScheduled, CodeIssued, CodeExpired, CodeBlocked, CodeRedeemed, CodeWithdrawn}

// CodeStory is one code of a pool: where it is and how it came there.
type CodeStory struct {
	Code    string
	State   CodeState
	Window  Window
	Issue   *Issuance    // nil: not issued, or a code that many may use
	History []CodeMoment // in the order of what happened; of long ones the end
	// Redeemed is how often it was, not counting what was rolled back, and Redemptions
	// the last of them, those that were rolled back too.
	Redeemed    int64
	Redemptions []Redemption
}

// CodeRow is one code in a list of a pool's codes.
type CodeRow struct {
	Place
	Code   string
	State  CodeState
	Window Window
	Times  int64     // that it was issued; above 1 where many may use it
	Issue  *Issuance // nil: not issued, or a code that many may use
}

// Unissued is the state at the given time of a code that nobody has.
func (w *Window) Unissued(now time.Time) CodeState {
	switch {
	case w.Expired(now):
		return CodeExpired
	case !w.Fits(now):
		return CodeScheduled
	}
	return CodeAvailable
}

// Errors of asking the store, not of what is asked. After ErrAway nothing has
// changed and the same may be asked again; after ErrUnsure the change may have
// been made: look before asking again.
var (
	ErrAway   = errors.New("the database is busy or away, try again")
	ErrUnsure = errors.New("the database did not say whether the change was made, look before trying again")
)
