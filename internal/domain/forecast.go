package domain

import (
	"math"
	"slices"
	"time"
)

const (
	// SampleEvery is how often the number of issued codes is kept while it grows.
	SampleEvery = 10 * time.Second
	// samplesKept is for how long.
	samplesKept = 10 * time.Minute
	// enough codes in the last minute make its rate one that chance matters little
	// for; fewer are counted over the longer stretch.
	enough       = 60
	shortStretch = time.Minute
	longStretch  = 5 * time.Minute
	// shortestStretch keeps the first codes of a pool from looking like a flood.
	shortestStretch = 10 * time.Second
	// horizon is beyond what a rate of minutes can tell of.
	horizon = 10 * 365 * 24 * time.Hour
)

// Sample is how many codes of a pool were issued by a time.
type Sample struct {
	At     time.Time
	Issued int64
}

// Samples are those of the last minutes, the oldest first. While nothing is issued
// there are none; the first is of the launch, or of when the watch began.
type Samples []Sample

// Due reports whether the number of issued codes, which has changed, is to be kept
// again.
func (s Samples) Due(now time.Time) bool {
	return len(s) == 0 || now.Sub(s[len(s)-1].At) >= SampleEvery
}

// With are the samples with another behind them, where it is due and says
// something new, and without those that nothing is asked of any more.
func (s Samples) With(now time.Time, issued int64) Samples {
	if !s.Due(now) || len(s) > 0 && s[len(s)-1].Issued == issued {
		return s
	}
	// The last of those that are too old tells where the others begin.
	for len(s) > 1 && now.Sub(s[1].At) > samplesKept {
		s = s[1:]
	}
	return append(slices.Clone(s), Sample{At: now, Issued: issued})
}

// PerMinute is how fast codes are issued, when so many are by now: those of the
// last minute, where they are 60 or more, else those of the last five minutes,
// by the minute. Of a pool that was launched later only the time since then
// counts, ten seconds at least.
func (s Samples) PerMinute(now time.Time, issued int64) float64 {
	codes, took := s.since(now.Add(-shortStretch), now, issued)
	if codes < enough {
		codes, took = s.since(now.Add(-longStretch), now, issued)
	}
	return math.Round(100*codes/took.Minutes()) / 100
}

// since counts the codes that were issued from a time on, and for how long.
func (s Samples) since(from, now time.Time, issued int64) (codes float64, took time.Duration) {
	if len(s) == 0 {
		return 0, longStretch
	}
	if s[0].At.After(from) {
		from = s[0].At
	}
	return max(0, float64(issued)-s.at(from, Sample{now, issued})), max(now.Sub(from), shortestStretch)
}

// at is how many codes were issued by a time, as far as samples tell. Between two
// of them it grew in the ten seconds before the later one; longer before it stood
// still, or there would be another.
func (s Samples) at(t time.Time, last Sample) float64 {
	before := s[0]
	for _, next := range append(slices.Clone(s[1:]), last) {
		if !next.At.After(t) {
			before = next
			continue
		}
		grew := next.At.Add(-SampleEvery)
		if grew.Before(before.At) {
			grew = before.At
		}
		if !t.After(grew) {
			break
		}
		part := float64(t.Sub(grew)) / float64(next.At.Sub(grew))
		return float64(before.Issued) + part*float64(next.Issued-before.Issued)
	}
	return float64(before.Issued)
}

// ExhaustedAt is when so many codes will be gone at that rate; zero where there is
// no telling, or none is left.
func ExhaustedAt(now time.Time, left int64, perMinute float64) time.Time {
	minutes := float64(left) / perMinute
	if left == 0 || perMinute <= 0 || minutes > horizon.Minutes() {
		return time.Time{}
	}
	return now.Add(time.Duration(minutes * float64(time.Minute))).Truncate(time.Second)
}
