package watching

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"promopool/internal/domain"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// simulation looks at pools as a watcher does, second by second.
type simulation struct {
	rota   *rota
	now    time.Time
	marks  []Mark
	runs   map[int32]int64
	left   map[int32]int64
	looked map[int32][]int // at which seconds
	second int
}

func newSimulation(runs ...int64) *simulation {
	s := &simulation{rota: newRota(), now: start, runs: map[int32]int64{}, left: map[int32]int64{}, looked: map[int32][]int{}}
	for i, n := range runs {
		key := int32(i + 1)
		s.marks, s.runs[key] = append(s.marks, Mark{Pool: key, Revision: 1, Version: 1}), n
	}
	s.rota.list(s.marks)
	return s
}

// Round looks once, and returns how many runs it read.
func (s *simulation) Round(used ...int32) (read int64) {
	for _, keys := range s.rota.due(s.now, used) {
		for _, key := range keys {
			s.looked[key] = append(s.looked[key], s.second)
			read += s.runs[key]
			s.rota.saw(s.now, &Sight{Pool: &domain.Pool{Key: key, ID: fmt.Sprint(key)}, Left: s.left[key], Runs: s.runs[key]})
		}
	}
	s.now, s.second = s.now.Add(every), s.second+1
	return read
}

// TestRotaSmall: pools of few runs are looked at every second, in use or not.
func TestRotaSmall(t *testing.T) {
	runs := make([]int64, 1000)
	for i := range runs {
		runs[i] = 3
	}
	s := newSimulation(runs...)
	for range 10 {
		if read := s.Round(); read != 3000 {
			t.Fatalf("second %d: %d runs were read", s.second, read)
		}
	}
}

// TestRotaLarge: one of many runs is looked at less and less often while it is as
// it was, and every second in use; at once when it was changed.
func TestRotaLarge(t *testing.T) {
	s := newSimulation(200_000)
	for range 90 {
		s.Round()
	}
	if want := []int{0, 1, 3, 7, 15, 31, 61}; !slices.Equal(s.looked[1], want) {
		t.Errorf("looked at in seconds %v, want %v", s.looked[1], want)
	}
	for range 5 {
		s.Round(1)
	}
	s.Round()
	s.marks[0].Revision++
	s.rota.list(s.marks)
	s.Round()
	if got, want := s.looked[1][7:], []int{90, 91, 92, 93, 94, 96}; !slices.Equal(got, want) {
		t.Errorf("looked at in seconds %v, want %v", got, want)
	}
	s.left[1] = 5 // seen in the next second, and then as often as at first
	for range 10 {
		s.Round()
	}
	if got, want := s.looked[1][13:], []int{97, 98, 100, 104}; !slices.Equal(got, want) {
		t.Errorf("looked at in seconds %v, want %v", got, want)
	}
}

// TestRota: whatever pools there are, those in use are looked at every second and
// all others within a minute, and a round does not read much more than a thirtieth
// of what is to be read.
func TestRota(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var runs []int64
		var all int64
		for range rapid.IntRange(1, 400).Draw(t, "pools") {
			n := rapid.SampledFrom([]int64{0, 1, 3, 50, 5000, large, 30_000}).Draw(t, "runs")
			runs, all = append(runs, n), all+n
		}
		s := newSimulation(runs...)
		var used []int32
		for _, m := range s.marks {
			if rapid.IntRange(0, 9).Draw(t, "used") == 0 && s.runs[m.Pool] < large {
				used = append(used, m.Pool)
			}
		}
		s.Round(used...)
		var read int64
		for range 120 {
			read += s.Round(used...)
		}
		for _, m := range s.marks {
			most := 60
			if slices.Contains(used, m.Pool) {
				most = 1
			}
			seconds := append(s.looked[m.Pool], s.second)
			for i, second := range seconds[1:] {
				if second-seconds[i] > most {
					t.Fatalf("pool of %d runs was looked at in seconds %v", s.runs[m.Pool], seconds)
				}
			}
		}
		var inUse int64
		for _, key := range used {
			inUse += s.runs[key]
		}
		// What backs off is read five times on the way to twice a minute.
		if most := 120*(max(share+large, all/30+large)+inUse) + 8*all; read > most {
			t.Fatalf("%d runs were read of %d in two minutes, want at most %d", read, all, most)
		}
	})
}

// TestRotaList: pools come and go.
func TestRotaList(t *testing.T) {
	s := newSimulation(1, 1)
	s.Round()
	if !s.rota.knows([]int32{1, 2}) || s.rota.knows([]int32{2, 3}) {
		t.Error("knows others than it should")
	}
	s.marks = []Mark{{Pool: 2, Revision: 1, Version: 1}, {Pool: 3}}
	s.rota.list(s.marks)
	s.Round()
	if s.rota.knows([]int32{1}) || len(s.looked[1]) != 1 || len(s.looked[2]) != 2 || len(s.looked[3]) != 1 {
		t.Errorf("looked at %v", s.looked)
	}
}
