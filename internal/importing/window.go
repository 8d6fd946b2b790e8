package importing

import (
	"strings"
	"time"

	"promopool/internal/domain"
)

// timeForms are tried in turn, the first localForms of which name no zone; a
// fraction of the second may follow in all.
var timeForms = []string{
	"2006-01-02", // the only day without a time
	"2006-01-02 15:04:05",
	"2006-01-02 15:04",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04",
	time.RFC3339,
	"2006-01-02 15:04:05Z07:00",
}

const localForms = 5

// parseTime reads a date, in the given zone unless it names one; "" is no bound.
// A time that the zone's clocks skip is none; of one that they show twice the
// first is meant. A day begins where its midnight is, or would be.
func parseTime(s string, zone *time.Location) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	for i, form := range timeForms {
		t, err := time.Parse(form, s)
		if err != nil {
			continue
		}
		if i < localForms {
			var ok bool
			if t, ok = local(t, zone); !ok && i > 0 {
				return time.Time{}, false
			}
		}
		t = t.UTC().Truncate(time.Microsecond)
		return t, t.Year() > 0 && t.Year() <= 9999 // as RFC 3339 can tell them
	}
	return time.Time{}, false
}

// local is the moment at which clocks in the zone first show what t does in
// UTC, or the one that they skip to.
func local(t time.Time, zone *time.Location) (_ time.Time, shown bool) {
	if zone == time.UTC {
		return t, true
	}
	const far = 26 * time.Hour // beyond any distance from UTC
	_, before := t.Add(-far).In(zone).Zone()
	_, after := t.Add(far).In(zone).Zone()
	for _, offset := range []int{max(before, after), min(before, after)} {
		moment := t.Add(-time.Duration(offset) * time.Second)
		if _, is := moment.In(zone).Zone(); is == offset {
			return moment, true
		}
	}
	skipped, _ := t.Add(-time.Duration(before) * time.Second).In(zone).ZoneBounds()
	return skipped, false
}

// windowOf is what the dates of a row mean, or why it is refused.
type windowOf struct {
	window domain.Window
	reason domain.RefusalReason
	value  string
}

// parseWindow reads dates in the order of domain.Columns, without the code.
func parseWindow(dates [4]string, zone *time.Location) (w windowOf) {
	into := [4]*time.Time{&w.window.IssueStart, &w.window.IssueEnd, &w.window.AvailableFrom, &w.window.AvailableTill}
	for i, s := range dates {
		s = strings.TrimSpace(s)
		t, ok := parseTime(s, zone)
		// The lowest date bounds nothing from below; who ends with it means something
		// that can't be known.
		if ends := i == 1 || i == 3; !ok || ends && s != "" && t.IsZero() {
			return windowOf{reason: domain.BadDate, value: s}
		}
		*into[i] = t
	}
	v := w.window
	for _, ends := range [][3]int{{0, 1}, {2, 3}, {0, 3}} {
		start, end := *into[ends[0]], *into[ends[1]]
		if !end.IsZero() && !start.Before(end) {
			return windowOf{reason: domain.EndBeforeStart, value: dates[ends[0]] + " – " + dates[ends[1]]}
		}
	}
	return windowOf{window: v}
}
