package domain

import (
	"slices"
	"time"
)

// Window bounds when codes may be issued and when they may be used. A zero
// time leaves that side open. Ends are exclusive.
type Window struct {
	IssueStart    time.Time
	IssueEnd      time.Time
	AvailableFrom time.Time
	AvailableTill time.Time
}

// Expired reports whether nothing within the window may be issued any more.
func (w *Window) Expired(now time.Time) bool {
	return !w.IssueEnd.IsZero() && !now.Before(w.IssueEnd) ||
		!w.AvailableTill.IsZero() && !now.Before(w.AvailableTill)
}

// Fits reports whether a code within the window may be issued now.
func (w *Window) Fits(now time.Time) bool {
	return !w.Expired(now) && !now.Before(w.IssueStart)
}

// Sooner orders windows first-expiring-first: by the end of issue, then by the
// end of availability; an open end comes last.
func (w *Window) Sooner(v *Window) bool {
	if !w.IssueEnd.Equal(v.IssueEnd) {
		return endsBefore(w.IssueEnd, v.IssueEnd)
	}
	return !w.AvailableTill.Equal(v.AvailableTill) && endsBefore(w.AvailableTill, v.AvailableTill)
}

func endsBefore(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// Lot is codes of one pool that share a window, numbered 0…Size−1 by seq. In a
// multi-use pool ordinals go on past Size; ordinal n is code n mod Size.
type Lot struct {
	Pool int32
	No   int32
	Size int64
	Window

	Generator *Generator // makes the codes; nil: they are stored
	First     int64      // the generator's number of code 0

	// Blocked are, in order, the numbers of a multi-use lot's codes whose ordinals
	// are passed over; nil: none. (Of a single-use lot blocked codes are in no run.)
	Blocked []int64
}

// MostBlocked bounds the blocked codes of a multi-use lot: between two ordinals
// that can be issued lie as many that are passed over.
const MostBlocked = 100_000

// Next is the first of the ordinals from…till−1 that can be issued, till when
// none can.
func (l *Lot) Next(from, till int64) int64 {
	if len(l.Blocked) == 0 {
		return from
	}
	if int64(len(l.Blocked)) == l.Size {
		return till
	}
	seq := from % l.Size
	i, _ := slices.BinarySearch(l.Blocked, seq)
	for from < till && i < len(l.Blocked) && l.Blocked[i] == seq {
		from, seq, i = from+1, seq+1, i+1
		if seq == l.Size {
			seq, i = 0, 0
		}
	}
	return from
}

// Usable is how many of the ordinals from…till−1 can be issued.
func (l *Lot) Usable(from, till int64) int64 {
	if len(l.Blocked) == 0 {
		return till - from
	}
	return till - from - l.blockedBelow(till) + l.blockedBelow(from)
}

// blockedBelow is how many ordinals below n are of blocked codes.
func (l *Lot) blockedBelow(n int64) int64 {
	i, _ := slices.BinarySearch(l.Blocked, n%l.Size)
	return int64(len(l.Blocked))*(n/l.Size) + int64(i)
}

// Codes makes those of ordinals from…till−1 of a generated lot.
func (l *Lot) Codes(from, till int64) []string {
	all := make([]string, 0, till-from)
	for from < till {
		seq := from % l.Size
		n := min(till-from, l.Size-seq)
		all = append(all, l.Generator.Codes(l.First+seq, int(n))...)
		from += n
	}
	return all
}

// Run is a stretch of a lot that one holder takes from: Lo ≤ Next ≤ Hi, of
// which Lo…Next−1 are issued and Next…Hi−1 are not.
type Run struct {
	Lot     *Lot
	Lo      int64 // with the lot the run's key
	Next    int64
	Hi      int64
	GrantNo int64    // stamp of the last movement of these codes
	Holder  int32    // the partition's number; 0: free
	Texts   []string // the codes of Next…Hi−1, where they are at hand
}

// Left is how many ordinals of the run are not used up.
func (r *Run) Left() int64 { return r.Hi - r.Next }

// Usable is how many of them can be issued.
func (r *Run) Usable() int64 { return r.Lot.Usable(r.Next, r.Hi) }
