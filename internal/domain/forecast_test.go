package domain

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(d time.Duration) time.Time { return noon.Add(d) }

func TestPerMinute(t *testing.T) {
	const s, min = time.Second, time.Minute
	steady := Samples{{at(0), 0}} // 10 a second
	for d := 10 * s; d <= 10*min; d += 10 * s {
		steady = append(steady, Sample{at(d), int64(d / s * 10)})
	}
	for _, c := range []struct {
		name    string
		samples Samples
		now     time.Duration
		issued  int64
		want    float64
	}{
		{"Never", nil, min, 0, 0},
		{"Nothing", Samples{{at(0), 0}}, min, 0, 0},
		{"Steady", steady, 10 * min, 6000, 600},
		{"SteadyBetweenSamples", steady, 10*min + 5*s, 6050, 600},
		{"StoppedFourMinutesAgo", steady, 14 * min, 6000, 120},
		{"StoppedFiveMinutesAgo", steady, 15 * min, 6000, 0},
		// From the launch on, which was less than five minutes ago.
		{"JustLaunched", Samples{{at(0), 0}}, s, 5, 30},
		{"LaunchedAMinuteAgo", Samples{{at(0), 0}}, min, 30, 30},
		{"LaunchedInAFlood", Samples{{at(0), 0}}, 20 * s, 1000, 3000},
		// In a quiet pool the first codes for an hour.
		{"WokenUp", Samples{{at(0), 0}, {at(min), 500}}, 61 * min, 510, 2},
		{"WokenUpInAFlood", Samples{{at(0), 0}, {at(min), 500}}, 61 * min, 1100, 600},
		{"FewOfLate", Samples{{at(0), 0}, {at(9 * min), 100}}, 10 * min, 159, 31.8},
		{"ManyOfLate", Samples{{at(0), 0}, {at(9 * min), 100}}, 10 * min, 160, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.samples.PerMinute(at(c.now), c.issued); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestSamples: kept as the watcher keeps them, samples tell nearly the true rate, and
// they stay few.
func TestSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := Samples{{at(0), 0}}
		issued := []int64{0} // by second
		for range rapid.IntRange(1, 30).Draw(t, "phases") {
			rate := rapid.SampledFrom([]int64{0, 0, 1, 7, 100}).Draw(t, "rate")
			for range rapid.IntRange(1, 120).Draw(t, "seconds") {
				n := issued[len(issued)-1] + rate
				issued = append(issued, n)
				samples = samples.With(at(time.Duration(len(issued)-1)*time.Second), n)
			}
		}
		if len(samples) > 62 {
			t.Fatalf("%d samples", len(samples))
		}
		now := len(issued) - 1
		truth := func(seconds int) float64 {
			from := max(0, now-seconds)
			return float64(issued[now]-issued[from]) / max(float64(now-from), 10) * 60
		}
		got, short, long := samples.PerMinute(at(time.Duration(now)*time.Second), issued[now]), truth(60), truth(300)
		// A sample may be ten seconds off, at most at 100 a second.
		near := func(want, stretch float64) bool { return math.Abs(got-want) <= 1000/max(stretch, 10)*60+0.01 }
		if !near(short, min(float64(now), 60)) && !near(long, min(float64(now), 300)) {
			t.Fatalf("%v a minute, in truth %v in the last minute and %v in five; %v", got, short, long, samples)
		}
		if issued[now] == issued[max(0, now-320)] && got != 0 {
			t.Fatalf("nothing was issued for five minutes, and that are %v a minute", got)
		}
	})
}

func TestExhaustedAt(t *testing.T) {
	for _, c := range []struct {
		left int64
		rate float64
		want time.Time
	}{
		{100, 10, at(10 * time.Minute)},
		{100, 0, time.Time{}},
		{0, 10, time.Time{}},
		{1, 0.2, at(5 * time.Minute)},
		{7, 60, at(7 * time.Second)},
		{1, 7, at(8 * time.Second)}, // whole seconds
		{1_000_000_000, 0.2, time.Time{}},
		{math.MaxInt64, math.SmallestNonzeroFloat64, time.Time{}},
	} {
		if got := ExhaustedAt(noon, c.left, c.rate); !got.Equal(c.want) {
			t.Errorf("%d left at %v: %v, want %v", c.left, c.rate, got, c.want)
		}
	}
}
