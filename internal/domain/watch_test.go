package domain

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// watched is an active pool with its notice below n; 0: off.
func watched(n int64) *Pool {
	p := &Pool{State: Active}
	if n > 0 {
		p.Notify, p.NotifyBelow = true, &n
	}
	return p
}

func toldOf(crossed []Crossing) []CrossingKind {
	var all []CrossingKind
	for _, c := range crossed {
		all = append(all, c.Kind)
	}
	return all
}

func TestWatchJudge(t *testing.T) {
	type look struct {
		below, left int64
		want        []CrossingKind
		state       StockState
	}
	for name, looks := range map[string][]look{
		"Falls":           {{10, 10, nil, StockOK}, {10, 9, []CrossingKind{WentLow}, StockLow}, {10, 3, nil, StockLow}, {10, 0, []CrossingKind{Exhausted}, StockExhausted}},
		"Rises":           {{10, 5, []CrossingKind{WentLow}, StockLow}, {10, 10, []CrossingKind{Replenished}, StockOK}, {10, 9, []CrossingKind{WentLow}, StockLow}},
		"FallsAtOnce":     {{10, 0, []CrossingKind{WentLow, Exhausted}, StockExhausted}, {10, 0, nil, StockExhausted}},
		"RisesALittle":    {{10, 0, []CrossingKind{WentLow, Exhausted}, StockExhausted}, {10, 5, []CrossingKind{Quiet}, StockLow}, {10, 0, []CrossingKind{Exhausted}, StockExhausted}, {10, 12, []CrossingKind{Replenished}, StockOK}},
		"NoticeOff":       {{0, 3, nil, StockOK}, {0, 0, []CrossingKind{Exhausted}, StockExhausted}, {0, 1, []CrossingKind{Replenished}, StockOK}},
		"SwitchedOff":     {{10, 5, []CrossingKind{WentLow}, StockLow}, {0, 5, []CrossingKind{Quiet}, StockOK}, {10, 5, []CrossingKind{WentLow}, StockLow}},
		"SwitchedOffLate": {{10, 0, []CrossingKind{WentLow, Exhausted}, StockExhausted}, {0, 0, nil, StockExhausted}, {0, 5, []CrossingKind{Replenished}, StockOK}},
		// Nobody was told of low yet.
		"SwitchedOnLate":    {{0, 0, []CrossingKind{Exhausted}, StockExhausted}, {10, 0, nil, StockExhausted}, {10, 5, []CrossingKind{WentLow}, StockLow}},
		"ThresholdRaised":   {{10, 50, nil, StockOK}, {100, 50, []CrossingKind{WentLow}, StockLow}, {200, 50, nil, StockLow}},
		"ThresholdLowered":  {{100, 50, []CrossingKind{WentLow}, StockLow}, {50, 50, []CrossingKind{Replenished}, StockOK}},
		"OffAndGoneAtOnce":  {{10, 5, []CrossingKind{WentLow}, StockLow}, {0, 0, []CrossingKind{Exhausted}, StockExhausted}},
		"AtTheThreshold":    {{1, 1, nil, StockOK}, {1, 0, []CrossingKind{WentLow, Exhausted}, StockExhausted}},
		"RefilledExactly":   {{10, 9, []CrossingKind{WentLow}, StockLow}, {10, 10, []CrossingKind{Replenished}, StockOK}},
		"ExhaustedToBarely": {{10, 0, []CrossingKind{WentLow, Exhausted}, StockExhausted}, {10, 10, []CrossingKind{Replenished}, StockOK}},
	} {
		t.Run(name, func(t *testing.T) {
			w := Watch{State: StockOK}
			for i, l := range looks {
				var crossed []Crossing
				w, crossed = w.Judge(watched(l.below), l.left)
				if got := toldOf(crossed); !slices.Equal(got, l.want) || w.State != l.state {
					t.Errorf("look %d, %d left of %d: %v and %s, want %v and %s", i, l.left, l.below, got, w.State, l.want, l.state)
				}
			}
		})
	}
}

// TestJudgeNobody: of drafts, archived pools and those whose codes many may use
// nothing is told.
func TestJudgeNobody(t *testing.T) {
	for _, edit := range []func(*Pool){
		func(p *Pool) { p.State = Draft }, func(p *Pool) { p.State = Archived }, func(p *Pool) { p.MultiUse, p.Notify = true, false },
	} {
		p := watched(10)
		edit(p)
		before := Watch{State: StockLow, No: 3, ToldLow: 3}
		if after, crossed := before.Judge(p, 0); after != before || crossed != nil {
			t.Errorf("%+v: %v", p, crossed)
		}
	}
}

// plainWatch is a slow model: it keeps every look, and finds what is told by going
// back through them.
type plainWatch []struct {
	below, left int64
	told        []CrossingKind
}

// look says what is to be told of so much left.
func (m *plainWatch) look(below, left int64) []CrossingKind {
	low := below > 0 && left < below
	var told []CrossingKind
	bad, heard, empty := m.trouble()
	switch {
	case !bad && low && left == 0:
		told = []CrossingKind{WentLow, Exhausted}
	case left == 0 && !empty:
		told = []CrossingKind{Exhausted}
	case low && left > 0 && !heard:
		told = []CrossingKind{WentLow}
	case bad && !low && left > 0 && (empty || below > 0):
		told = []CrossingKind{Replenished}
	}
	*m = append(*m, struct {
		below, left int64
		told        []CrossingKind
	}{below, left, told})
	return told
}

// trouble reports whether the last look found too little, whether low was told
// since the stock was in order last, and whether nothing was left.
func (m *plainWatch) trouble() (bad, heard, empty bool) {
	for i := len(*m) - 1; i >= 0; i-- {
		l := (*m)[i]
		low := l.below > 0 && l.left < l.below
		if l.left > 0 && !low {
			break
		}
		if i == len(*m)-1 {
			bad, empty = true, l.left == 0
		}
		heard = heard || slices.Contains(l.told, WentLow)
	}
	return bad, heard, empty
}

// TestJudgeModel: whatever the stock, the threshold and the switch do, the watch
// tells what the model does; every crossing begins where the last one ended, and
// founds on what is there.
func TestJudgeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, m := Watch{State: StockOK}, plainWatch{}
		for range rapid.IntRange(1, 40).Draw(t, "looks") {
			below := rapid.SampledFrom([]int64{0, 1, 2, 5}).Draw(t, "below")
			left := rapid.Int64Range(0, 6).Draw(t, "left")
			p := watched(below)
			before := w
			var crossed []Crossing
			w, crossed = w.Judge(p, left)
			told := slices.DeleteFunc(toldOf(crossed), func(k CrossingKind) bool { return k == Quiet })
			if want := m.look(below, left); !slices.Equal(told, want) {
				t.Fatalf("from %+v with %d left of %d: told %v, want %v", before, left, below, told, want)
			}
			for i, c := range crossed {
				if c.From != before.State || c.No != before.No+int64(i)+1 || c.From == c.To {
					t.Fatalf("crossing %+v after %+v", c, before)
				}
				before.State = c.To
			}
			if want := map[bool]StockState{true: StockExhausted, false: StockOK}[left == 0]; w.State != want && (left == 0 || w.State != StockLow) {
				t.Fatalf("%d left, and the state is %s", left, w.State)
			}
			no, kind := w.Current()
			if inOrder := w.State == StockOK; inOrder != (no == 0) || no > w.No {
				t.Fatalf("current is %d %s in %+v", no, kind, w)
			}
			if again, more := w.Judge(p, left); again != w || more != nil {
				t.Fatalf("judged twice: %v", more)
			}
		}
	})
}

// TestCrossingIDs: no two events have one id.
func TestCrossingIDs(t *testing.T) {
	seen := map[string]string{}
	add := func(id, what string) {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have the id %s", what, other, id)
		}
		seen[id] = what
	}
	for _, pool := range []string{"a", "b", "a-1"} {
		p := &Pool{ID: pool}
		add(LaunchedEvent(p).ID, pool+" launched")
		add(ArchivedEvent(p).ID, pool+" archived")
		for no := range int64(12) {
			for _, kind := range CrossingKinds {
				add(CrossingEventID(pool, Crossing{No: no, Kind: kind}), fmt.Sprint(pool, no, kind))
				for staff := range int32(12) {
					if k := NoticeKind(kind); k != "" {
						add(NoticeID(pool, k, no, staff, ByEmail), fmt.Sprint(pool, no, kind, staff))
					}
				}
			}
		}
	}
}
