package importing

import (
	"strings"
	"time"

	"promopool/internal/domain"
)

// timeForms are tried in turn; a fraction of the second may follow in all.
var timeForms = []string{
	"2006-01-02",
	"2006-01-02 15:04:05",
	"2006-01-02 15:04",
	time.RFC3339,
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04",
}

// parseTime reads a date, in UTC unless it says otherwise; "" is no bound.
func parseTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC().Truncate(time.Microsecond), true
		}
	}
	return time.Time{}, false
}

// windowOf is what the dates of a row mean, or why it is refused.
type windowOf struct {
	window domain.Window
	reason domain.RefusalReason
	value  string
}

// parseWindow reads dates in the order of domain.Columns, without the code.
func parseWindow(dates [4]string) (w windowOf) {
	into := [4]*time.Time{&w.window.IssueStart, &w.window.IssueEnd, &w.window.AvailableFrom, &w.window.AvailableTill}
	for i, s := range dates {
		t, ok := parseTime(strings.TrimSpace(s))
		if !ok {
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
