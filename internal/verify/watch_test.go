package verify

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A violation is told and counted once, however many rounds find it, and a round
// that could not check is followed by one that can.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good()
	registry := prometheus.NewRegistry()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	round := 0
	steps := []struct {
		do     func()
		failed bool
		news   int64 // violations
		says   string
	}{
		{func() {}, false, 0, "all hold"},
		{func() { w.exec("UPDATE runs SET next = next + 1 WHERE pool = $1", w.later.Key) }, false, 1, "1 violation, 1 new"},
		{func() {}, false, 0, "1 violation, 0 new"},
		{func() { w.exec("ALTER TABLE runs RENAME TO gone") }, true, 0, "could not check"},
		{func() { w.exec("ALTER TABLE gone RENAME TO runs") }, false, 0, "1 violation, 0 new"},
		{func() { w.exec("UPDATE runs SET next = next + 1 WHERE pool = $1", w.hand.Key) }, false, 1, "2 violations, 1 new"},
		{func() { w.exec("UPDATE runs SET next = next - 1 WHERE pool = $1", w.later.Key) }, false, 0, "1 violation, 0 new"},
	}
	steps[0].do()
	watch := NewWatch(Config{Client: w.client, Prefix: w.prefix, DatabaseURL: w.url}, func(r Round) {
		s := steps[round]
		var text bytes.Buffer
		w.must(r.WriteText(&text))
		found := int64(0)
		for _, c := range r.New {
			found += c.Violations
		}
		if (r.Err != nil) != s.failed || found != s.news || !strings.Contains(text.String(), s.says) || strings.Contains(text.String(), "To do:") != (s.news > 0) {
			t.Errorf("round %d: got %d new, %v:\n%s", round+1, found, r.Err, text.String())
		}
		if round++; round == len(steps) {
			cancel()
			return
		}
		steps[round].do()
	}, registry)
	if !watch.Run(ctx, time.Millisecond) {
		t.Error("the watch says that nothing was ever found")
	}
	if round != len(steps) {
		t.Fatalf("%d rounds, want %d", round, len(steps))
	}
	got := gathered(t, registry)
	for metric, want := range map[string]float64{
		"promopool_invariant_violations_total 6": 2, "promopool_invariant_violations_total 1": 0,
		"promopool_verify_rounds_total completed": 6, "promopool_verify_rounds_total failed": 1, "promopool_verify_last_round_success": 1,
	} {
		if value, ok := got[metric]; !ok || value != want {
			t.Errorf("%s: got %v, want %v", metric, value, want)
		}
	}
}

// gathered is the value of every metric by its name and label.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

// What is beyond those that are told apart is counted by how many there were.
func TestWatchCountsBeyond(t *testing.T) {
	t.Parallel()
	w := NewWatch(Config{}, nil, prometheus.NewRegistry())
	samples := func(from, to int) (s []Sample) {
		for i := from; i < to; i++ {
			s = append(s, Sample{{"pool", "p"}, {"seq", int64(i)}, {"finding", fmt.Sprint(i, " changes")}})
		}
		return s
	}
	for i, c := range []struct {
		count   int64
		samples []Sample
		want    int64
		shown   int
	}{
		{30, samples(0, 20), 30, 10}, {30, samples(0, 20), 0, 0}, {33, samples(0, 20), 3, 0}, {21, samples(1, 22), 2, 2}, {33, samples(0, 20), 0, 0},
	} {
		f := w.fresh(6, Finding{Rule: "sum", Count: c.count, Samples: c.samples})
		if f.Count != c.want || len(f.Samples) != c.shown {
			t.Errorf("round %d: got %d and %d samples, want %d and %d", i, f.Count, len(f.Samples), c.want, c.shown)
		}
	}
}

// The table of what is broken is as wide as a terminal.
func TestReportWidth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good()
	long := *w.r1
	long.RequestID, long.Code = strings.Repeat("long-", 40), "FORGED"
	w.tell(w.ask(request("summer", long.RequestID, "c-1")), &long)
	w.exec("UPDATE runs SET next = next + 1 WHERE pool = $1", w.later.Key)
	r := w.want("4 phantom", "6 count")
	var text bytes.Buffer
	w.must(r.WriteText(&text))
	for line := range strings.Lines(text.String()) {
		if n := len([]rune(strings.TrimSpace(line))); n > 120 && !strings.Contains(line, "long-long") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"pool   lot", "request=long-", "Shown: partition and offset of " + w.names.Outcomes} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
