package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Settings are what the figures were measured with.
type Settings struct {
	Kafka          string  `json:"kafka"`
	PostgreSQL     string  `json:"postgresql"`
	Go             string  `json:"go"`
	System         string  `json:"system"`
	Cores          int     `json:"cores"`
	Partitions     int     `json:"partitions"`
	Requests       int     `json:"requests"` // of a round's backlog
	EventBytes     int     `json:"event_bytes"`
	Headers        int     `json:"event_headers"`
	BatchBytes     int     `json:"request_batch_bytes"`
	FetchBytes     int     `json:"fetch_bytes"`
	LingerMS       float64 `json:"load_linger_ms"`
	Workers        int     `json:"baseline_workers"`
	TunedWorkers   int     `json:"tuned_baseline_workers"`
	BatchedWorkers int     `json:"batched_baseline_workers"`
}

// Rate is how many requests a second a measure did, and what each cost.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	Cost      Cost    `json:"cpu_per_request"`
}

func (r Rate) String() string {
	return fmt.Sprintf("%9.0f/s, µs of CPU a request: ours %.1f, broker %.1f, PostgreSQL %.1f", r.PerSecond, r.Cost.Service, r.Cost.Broker, r.Cost.PostgreSQL)
}

// Round is what one round measured.
type Round struct {
	A       Rate    `json:"topic_to_topic"`
	B       Rate    `json:"commit_only"`
	C       Rate    `json:"baseline"`
	Tuned   Rate    `json:"tuned_baseline"`
	Batched Rate    `json:"batched_baseline"`
	Stream  Rate    `json:"stream_processor"`
	D       Rate    `json:"promopool"`
	E       Rate    `json:"promopool_scarce"`
	Lone    Latency `json:"latency_of_lone_requests"`
	Tenth   Latency `json:"latency_at_tenth"`
	Half    Latency `json:"latency_at_half"`
	Full    Latency `json:"latency_at_full"`
	// Others is the part of the machine's CPU that other processes took.
	Others float64 `json:"cpu_taken_by_others"`
}

// bound is the rate of both limits one after the other, which is what can be
// had where they share the cores. 0 when one is not known.
func (r *Round) bound() float64 {
	if r.A.PerSecond == 0 || r.B.PerSecond == 0 {
		return 0
	}
	return 1 / (1/r.A.PerSecond + 1/r.B.PerSecond)
}

// Latency is in milliseconds, from when a request was to be published until
// its outcome was read, under an open load.
type Latency struct {
	Rate     float64 `json:"offered_per_second"`
	Achieved float64 `json:"answered_per_second"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	Measured int     `json:"measured"`
}

// Spread is a median over the rounds, with the least and the most.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// Report is the outcome of a run.
type Report struct {
	Settings Settings `json:"settings"`
	Summary  Summary  `json:"summary"`
	Rounds   []Round  `json:"rounds"`
}

// Summary is over all rounds. Ratios are of figures of the same round.
type Summary struct {
	A          RateSpread               `json:"topic_to_topic"`
	B          RateSpread               `json:"commit_only"`
	Bound      Spread                   `json:"bound"`
	C          RateSpread               `json:"baseline"`
	Tuned      RateSpread               `json:"tuned_baseline"`
	Batched    RateSpread               `json:"batched_baseline"`
	Stream     RateSpread               `json:"stream_processor"`
	D          RateSpread               `json:"promopool"`
	E          RateSpread               `json:"promopool_scarce"`
	OfBound    Spread                   `json:"promopool_to_bound"`
	OfBaseline Spread                   `json:"promopool_to_baseline"`
	OfTuned    Spread                   `json:"promopool_to_tuned_baseline"`
	OfBatched  Spread                   `json:"promopool_to_batched_baseline"`
	OfStream   Spread                   `json:"promopool_to_stream_processor"`
	OfAmple    Spread                   `json:"promopool_scarce_to_promopool"`
	Others     Spread                   `json:"cpu_taken_by_others"`
	Latency    map[string]LatencySpread `json:"latency"`
}

// RateSpread sums a measure up; Cost is of medians.
type RateSpread struct {
	PerSecond Spread `json:"per_second"`
	Cost      Cost   `json:"cpu_per_request"`
}

// LatencySpread sums the latencies at one load up.
type LatencySpread struct {
	Rate     Spread `json:"offered_per_second"`
	Achieved Spread `json:"answered_per_second"`
	P50      Spread `json:"p50_ms"`
	P99      Spread `json:"p99_ms"`
	Max      Spread `json:"max_ms"`
}

// The loads at which latency is measured.
var loads = []struct {
	name, what string
	of         func(*Round) *Latency
}{
	{"lone", "one request at a time", func(r *Round) *Latency { return &r.Lone }},
	{"tenth", "at a tenth of d", func(r *Round) *Latency { return &r.Tenth }},
	{"half", "at half of d", func(r *Round) *Latency { return &r.Half }},
	{"full", "at the full rate of d", func(r *Round) *Latency { return &r.Full }},
}

func (r *Report) summarise() {
	over := func(f func(*Round) float64) Spread { return spread(r.Rounds, f) }
	rate := func(f func(*Round) *Rate) RateSpread {
		return RateSpread{
			PerSecond: over(func(r *Round) float64 { return f(r).PerSecond }),
			Cost: Cost{
				Service:    over(func(r *Round) float64 { return f(r).Cost.Service }).Median,
				Broker:     over(func(r *Round) float64 { return f(r).Cost.Broker }).Median,
				PostgreSQL: over(func(r *Round) float64 { return f(r).Cost.PostgreSQL }).Median,
			},
		}
	}
	r.Summary = Summary{
		A:          rate(func(r *Round) *Rate { return &r.A }),
		B:          rate(func(r *Round) *Rate { return &r.B }),
		Bound:      over((*Round).bound),
		C:          rate(func(r *Round) *Rate { return &r.C }),
		Tuned:      rate(func(r *Round) *Rate { return &r.Tuned }),
		Batched:    rate(func(r *Round) *Rate { return &r.Batched }),
		Stream:     rate(func(r *Round) *Rate { return &r.Stream }),
		D:          rate(func(r *Round) *Rate { return &r.D }),
		E:          rate(func(r *Round) *Rate { return &r.E }),
		OfBound:    over(func(r *Round) float64 { return ratio(r.D.PerSecond, r.bound()) }),
		OfBaseline: over(func(r *Round) float64 { return ratio(r.D.PerSecond, r.C.PerSecond) }),
		OfTuned:    over(func(r *Round) float64 { return ratio(r.D.PerSecond, r.Tuned.PerSecond) }),
		OfBatched:  over(func(r *Round) float64 { return ratio(r.D.PerSecond, r.Batched.PerSecond) }),
		OfStream:   over(func(r *Round) float64 { return ratio(r.D.PerSecond, r.Stream.PerSecond) }),
		OfAmple:    over(func(r *Round) float64 { return ratio(r.E.PerSecond, r.D.PerSecond) }),
		Others:     over(func(r *Round) float64 { return r.Others }),
		Latency:    map[string]LatencySpread{},
	}
	for _, l := range loads {
		r.Summary.Latency[l.name] = LatencySpread{
			Rate:     over(func(r *Round) float64 { return l.of(r).Rate }),
			Achieved: over(func(r *Round) float64 { return l.of(r).Achieved }),
			P50:      over(func(r *Round) float64 { return l.of(r).P50 }),
			P99:      over(func(r *Round) float64 { return l.of(r).P99 }),
			Max:      over(func(r *Round) float64 { return l.of(r).Max }),
		}
	}
}

// ratio is 0 where something was not measured.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func spread(rounds []Round, f func(*Round) float64) Spread {
	values := make([]float64, len(rounds))
	for i := range rounds {
		values[i] = f(&rounds[i])
	}
	return spreadOf(values)
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(out io.Writer) error {
	s, m := r.Settings, r.Summary
	fmt.Fprintf(out, "%d rounds of %d requests, %d partitions, one hot pool\n", len(r.Rounds), s.Requests, s.Partitions)
	fmt.Fprintf(out, "Kafka: %s; PostgreSQL %s; %s, %s; %d cores for everything, of which other processes took %.0f %% (%.0f … %.0f)\n",
		s.Kafka, s.PostgreSQL, s.Go, s.System, s.Cores, 100*m.Others.Median, 100*m.Others.Least, 100*m.Others.Most)
	fmt.Fprintf(out, "event: %d bytes with %d headers, in batches of %d KiB; fetches of %d KiB\n\n", s.EventBytes, s.Headers, s.BatchBytes>>10, s.FetchBytes>>10)

	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\t\trequests/s\tleast … most\tµs of CPU a request: ours\tbroker\tPostgreSQL\t")
	for _, row := range []struct {
		mark, what string
		r          RateSpread
	}{
		{"a", "limit: topic to topic, no database", m.A},
		{"b", "limit: look-up and commit, no Kafka", m.B},
		{"", "both, one after the other: 1/(1/a + 1/b)", RateSpread{PerSecond: m.Bound}},
		{"c", fmt.Sprintf("UPDATE … SKIP LOCKED a message, %d workers", s.Workers), m.C},
		{"c'", fmt.Sprintf("the same tuned, %d workers", s.TunedWorkers), m.Tuned},
		{"c''", fmt.Sprintf("tuned, and 500 codes a statement, %d workers", s.BatchedWorkers), m.Batched},
		{"s", fmt.Sprintf("Benthos with its SQL processor, %d threads", streamThreads), m.Stream},
		{"d", "promopool", m.D},
		{"e", "promopool, from a scarce pool", m.E},
	} {
		if row.r.PerSecond.Median == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f … %.0f\t", row.mark, row.what, row.r.PerSecond.Median, row.r.PerSecond.Least, row.r.PerSecond.Most)
		if c := row.r.Cost; c != (Cost{}) {
			fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t", c.Service, c.Broker, c.PostgreSQL)
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t)
	for _, row := range []struct {
		what string
		s    Spread
	}{{"d / bound", m.OfBound}, {"d / c", m.OfBaseline}, {"d / c'", m.OfTuned}, {"d / c''", m.OfBatched}, {"d / s", m.OfStream}, {"e / d", m.OfAmple}} {
		if row.s.Median > 0 {
			fmt.Fprintf(t, "\t%s\t%.2f\t%.2f … %.2f\t\n", row.what, row.s.Median, row.s.Least, row.s.Most)
		}
	}
	if err := t.Flush(); err != nil || m.Latency["tenth"].Rate.Median == 0 {
		return err
	}

	fmt.Fprintf(out, "\nlatency in ms, from when a request is to be published until its outcome is read;\nopen load, sent to all partitions every %g ms\n\n", s.LingerMS)
	t = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\toffered/s\tanswered/s\tp50\tleast … most\tp99\tleast … most\tmax\t")
	for _, l := range loads {
		v := m.Latency[l.name]
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.1f\t%.1f … %.1f\t%.1f\t%.1f … %.1f\t%.0f\t\n", l.what, v.Rate.Median, v.Achieved.Median,
			v.P50.Median, v.P50.Least, v.P50.Most, v.P99.Median, v.P99.Least, v.P99.Most, v.Max.Most)
	}
	return t.Flush()
}
