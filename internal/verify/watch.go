package verify

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Watch audits again and again, and tells and counts each violation once. Every
// round is a whole audit: whether a promise holds depends on what was said long
// ago as much as on what was said since, so a round that read only the new would
// not be one.
type Watch struct {
	config Config
	each   func(Round)

	found map[string]*finds // by invariant and rule; owned by Run

	violations *prometheus.CounterVec
	rounds     *prometheus.CounterVec
	at, took   prometheus.Gauge
	success    prometheus.Gauge
	completed  prometheus.Gauge
}

// Round is one audit of a watch.
type Round struct {
	At     time.Time `json:"at"`
	Report Report    `json:"report"`
	New    []Check   `json:"new"` // with the violations that no round before had found
	Err    error     `json:"-"`   // it could not audit; the next round tries again
}

// finds are the violations of a rule that were found.
type finds struct {
	seen   map[uint64]bool
	beyond int64 // the most that there were beyond those told apart
}

// NewWatch calls each after every round.
func NewWatch(c Config, each func(Round), registry prometheus.Registerer) *Watch {
	c.distinct = true
	w := &Watch{
		config: c, each: each, found: map[string]*finds{},
		violations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_invariant_violations_total",
			Help: "Distinct violations of an invariant that were found since the start. A violation that is found in every round counts once.",
		}, []string{"invariant"}),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_verify_rounds_total", Help: "Audits that were completed, or failed because Kafka or the database was away.",
		}, []string{"result"}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_verify_last_round_timestamp_seconds", Help: "When the last audit ended, whether it was completed or failed.",
		}),
		completed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_verify_last_success_timestamp_seconds", Help: "When an audit was completed last, whatever it found.",
		}),
		took: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_verify_last_round_duration_seconds", Help: "How long the last audit took.",
		}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_verify_last_round_success", Help: "1 when the last audit was completed, 0 when it failed.",
		}),
	}
	for _, inv := range invariants {
		w.violations.WithLabelValues(strconv.Itoa(inv.number))
	}
	for _, result := range []string{"completed", "failed"} {
		w.rounds.WithLabelValues(result)
	}
	registry.MustRegister(w.violations, w.rounds, w.at, w.completed, w.took, w.success)
	return w
}

// Run audits at once, and then every interval or as soon as the round before is
// over, until ctx is done. It returns whether anything was ever found.
func (w *Watch) Run(ctx context.Context, interval time.Duration) (broken bool) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		start := time.Now()
		report, err := Run(ctx, w.config)
		if ctx.Err() != nil {
			return broken
		}
		r := Round{At: time.Now(), Report: report, Err: err}
		w.took.Set(r.At.Sub(start).Seconds())
		w.at.Set(float64(r.At.UnixMilli()) / 1000)
		if err != nil {
			w.rounds.WithLabelValues("failed").Inc()
			w.success.Set(0)
		} else {
			w.rounds.WithLabelValues("completed").Inc()
			w.success.Set(1)
			w.completed.Set(float64(r.At.UnixMilli()) / 1000)
			r.New = w.take(&r.Report)
			broken = broken || len(r.New) > 0
		}
		w.each(r)
		select {
		case <-ctx.Done():
			return broken
		case <-tick.C:
		}
	}
}

// take counts the violations that are new and returns them, and leaves the report
// as one of a single audit is.
func (w *Watch) take(r *Report) []Check {
	var all []Check
	for i := range r.Checks {
		c := &r.Checks[i]
		fresh := Check{Number: c.Number, Name: c.Name, Checked: c.Checked}
		for j := range c.Findings {
			f := &c.Findings[j]
			if n := w.fresh(c.Number, *f); n.Count > 0 {
				fresh.add(n)
			}
			f.Samples = f.Samples[:min(len(f.Samples), maxSamples)]
		}
		if fresh.Violations > 0 {
			w.violations.WithLabelValues(strconv.Itoa(c.Number)).Add(float64(fresh.Violations))
			all = append(all, fresh)
		}
	}
	return all
}

// fresh is of a finding what was not found before.
func (w *Watch) fresh(invariant int, f Finding) Finding {
	key := fmt.Sprintf("%d %s %s", invariant, f.Rule, f.What)
	before := w.found[key]
	if before == nil {
		before = &finds{seen: map[uint64]bool{}}
		w.found[key] = before
	}
	beyond := f.Count - int64(len(f.Samples))
	f.Count = max(beyond-before.beyond, 0)
	before.beyond = max(before.beyond, beyond)
	var samples []Sample
	for _, s := range f.Samples {
		if id := s.identity(); !before.seen[id] {
			before.seen[id] = true
			samples = append(samples, s)
		}
	}
	f.Count += int64(len(samples))
	f.Samples = samples[:min(len(samples), maxSamples)]
	return f
}

// identities are the fields by which a violation is the same in the next round.
// Others, such as figures and times, move while the service goes on.
var identities = []string{
	"pool", "lot", "seq", "lo", "places", "request", "other_request", "requests", "redemption", "customer", "crossing", "kind", "staff",
	"partition", "offset", "first_offset", "topic", "id", "field", "entry",
}

func (s Sample) identity() uint64 {
	h := fnv.New64a()
	for _, f := range s {
		if slices.Contains(identities, f.Name) {
			_, _ = fmt.Fprintf(h, "%s=%v\x00", f.Name, f.Value)
		}
	}
	return h.Sum64()
}

// WriteText writes a line, and what is new.
func (r *Round) WriteText(w io.Writer) error {
	at := r.At.UTC().Format("2006-01-02T15:04:05Z")
	if r.Err != nil {
		_, err := fmt.Fprintf(w, "%s  could not check: %v\n", at, r.Err)
		return err
	}
	in := r.Report.InFlight
	found, fresh := int64(0), int64(0)
	for _, c := range r.Report.Checks {
		found += c.Violations
	}
	for _, c := range r.New {
		fresh += c.Violations
	}
	verdict := "all hold"
	if found > 0 {
		verdict = fmt.Sprintf("%s, %s new", number(found, "violation"), group(fresh))
	}
	if _, err := fmt.Fprintf(w, "%s  %s  requests %s, events %s, in flight %s  %.1f s\n", at, verdict,
		group(r.Report.Read.Requests), group(r.Report.Read.Events), group(in.Undecided+in.Unanswered+in.Redemptions), r.Report.Seconds); err != nil {
		return err
	}
	return writeFindings(w, r.New)
}
