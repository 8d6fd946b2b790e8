package domain

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindow(t *testing.T) {
	const past, future = -1, 1
	for _, c := range []struct {
		name   string
		window Window
		want   CodeState
	}{
		{"Open", Window{}, CodeAvailable},
		{"Started", Window{IssueStart: noon.Add(past)}, CodeAvailable},
		{"StartsNow", Window{IssueStart: noon}, CodeAvailable},
		{"StartsLater", Window{IssueStart: noon.Add(future)}, CodeScheduled},
		{"EndsLater", Window{IssueEnd: noon.Add(future)}, CodeAvailable},
		{"EndsNow", Window{IssueEnd: noon}, CodeExpired},
		{"Ended", Window{IssueEnd: noon.Add(past)}, CodeExpired},
		{"UsableLater", Window{AvailableFrom: noon.Add(future)}, CodeAvailable},
		{"UsableTillNow", Window{AvailableTill: noon}, CodeExpired},
		{"UsableTillLater", Window{AvailableTill: noon.Add(future)}, CodeAvailable},
		{"NeverOpen", Window{IssueStart: noon.Add(future), IssueEnd: noon.Add(past)}, CodeExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.window
			if got := w.Unissued(noon); got != c.want {
				t.Errorf("state %s, want %s", got, c.want)
			}
			if got, want := w.Expired(noon), c.want == CodeExpired; got != want {
				t.Errorf("expired %v, want %v", got, want)
			}
			if got, want := w.Fits(noon), c.want == CodeAvailable; got != want {
				t.Errorf("fits %v, want %v", got, want)
			}
		})
	}
}

// TestWindowLapse: what has expired stays so.
func TestWindowLapse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindow(t)
		later := noon.Add(time.Duration(rapid.Int64Range(0, 5e13).Draw(t, "later")))
		if w.Expired(noon) && !w.Expired(later) {
			t.Fatalf("%+v has expired at noon, and not at %v", w, later)
		}
	})
}

func TestWindowSooner(t *testing.T) {
	end := func(issue, available int) Window {
		var w Window
		if issue != 0 {
			w.IssueEnd = noon.Add(time.Duration(issue))
		}
		if available != 0 {
			w.AvailableTill = noon.Add(time.Duration(available)).In(time.FixedZone("", 3600))
		}
		return w
	}
	inOrder := []Window{end(1, 1), end(1, 2), end(1, 0), end(2, 1), end(2, 0), end(0, 1), end(0, 2), end(0, 0)}
	for i := range inOrder {
		for j := range inOrder {
			if got, want := inOrder[i].Sooner(&inOrder[j]), i < j; got != want {
				t.Errorf("%d sooner than %d: %v, want %v", i, j, got, want)
			}
		}
	}
}

func TestLotBlocked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Lot{Size: rapid.Int64Range(1, 6).Draw(t, "size")}
		l.Blocked = rapid.SliceOfNDistinct(rapid.Int64Range(0, l.Size-1), 0, int(l.Size), rapid.ID[int64]).Draw(t, "blocked")
		slices.Sort(l.Blocked)
		from := rapid.Int64Range(0, 20).Draw(t, "from")
		till := from + rapid.Int64Range(0, 20).Draw(t, "length")
		next, usable := till, int64(0)
		for n := till - 1; n >= from; n-- {
			if !slices.Contains(l.Blocked, n%l.Size) {
				next, usable = n, usable+1
			}
		}
		if got := l.Next(from, till); got != next {
			t.Errorf("the first of %d…%d is %d, want %d", from, till, got, next)
		}
		if got := l.Usable(from, till); got != usable {
			t.Errorf("%d of %d…%d can be issued, want %d", got, from, till, usable)
		}
	})
}

func TestRunLeft(t *testing.T) {
	if got := (&Run{Lo: 3, Next: 5, Hi: 9}).Left(); got != 4 {
		t.Errorf("left %d, want 4", got)
	}
}
