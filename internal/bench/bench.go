// Package bench measures issuing, beside what bounds it and beside what it
// replaces: the same events passed from topic to topic with no database (a),
// the same issuances inserted with no Kafka (b), the consumer that everybody
// writes (c, tuned c′, and in batches c″), a stream processor (s), and the service
// itself as a child process (d), from a scarce pool too (e). All are measured in
// the same run, on the same Kafka and PostgreSQL, in
// interleaved rounds, so that a machine that drifts drifts for all of them.
//
// What it makes, topics and a database, has names of its own and is removed.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"promopool/internal/child"
)

const (
	partitions = 12
	// fetchBytes is what the service's fetches bring at most.
	fetchBytes = 560 << 10
	// concurrent is how many transactions the service runs at a time.
	concurrent = 4
)

// Config says what is measured, and on what.
type Config struct {
	// Kafka is host:port of brokers. Empty: a broker of the bench's own.
	Kafka []string
	// DatabaseURL is a PostgreSQL's, whose user may create databases. Empty: a
	// server of the bench's own.
	DatabaseURL string
	// RealKafka makes the bench's own broker an Apache Kafka instead of the
	// embedded one.
	RealKafka bool
	// Rounds is how often everything is measured. More make medians steadier.
	Rounds int
	// Requests is the backlog of a round. Below some 100,000 there is no steady
	// part to measure.
	Requests int
	// Linger is how long the load generator gathers what it sends to one
	// partition, as a producer's linger.ms. Shorter: more and smaller produce
	// requests, whose cost is then measured.
	Linger time.Duration
	// Only are the measures wanted, of a, b, c, c', c'', s, d, e and latency; the
	// last two with d. Empty: all.
	Only []string
	// StreamProcessor is the path of a Benthos 4, which is (s). Empty: there is no (s).
	StreamProcessor string
	// MetricsDir keeps what the service says of itself after each round. Empty:
	// nowhere.
	MetricsDir string
	// Progress is told what is under way.
	Progress io.Writer
}

// Run measures and reports.
func Run(ctx context.Context, c Config) (*Report, error) {
	w, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	report, err := w.measure(ctx)
	return report, errors.Join(err, w.close())
}

func (w *world) measure(ctx context.Context) (*Report, error) {
	c := w.Config
	r := &Report{Settings: w.settings, Rounds: make([]Round, c.Rounds)}
	if err := w.fill(ctx); err != nil {
		return nil, err
	}
	if err := w.warmUp(ctx, &r.Settings); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	for i := range r.Rounds {
		base, err := w.prepare(ctx, fmt.Sprintf("round %d of %d", i+1, c.Rounds))
		if err != nil {
			return nil, err
		}
		before := spendAll()
		if err := w.round(ctx, &r.Rounds[i], base); err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		r.Rounds[i].Others = spendAll().others(before)
	}
	r.summarise()
	return r, w.verify(ctx)
}

// warmUp runs things once for nothing, and then chooses workers.
func (w *world) warmUp(ctx context.Context, s *Settings) error {
	if err := w.warmUpRelay(ctx); err != nil {
		return err
	}
	if w.wants("d") {
		if err := w.service(ctx, &Round{}); err != nil {
			return err
		}
	}
	return w.chooseWorkers(ctx, s)
}

// warmUpRelay has the brokers do what they will do: one that has just been
// started compiles itself for half a minute. It leaves a backlog behind.
func (w *world) warmUpRelay(ctx context.Context) error {
	base, err := w.prepare(ctx, "warm up")
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := w.relay(ctx, base); err != nil {
			return err
		}
	}
	return nil
}

// prepare publishes the requests of a round, fills the pool up for it, and
// returns where they begin.
func (w *world) prepare(ctx context.Context, what string) ([]int64, error) {
	w.say("%s: publish %d requests", what, w.Requests)
	base, err := w.backlog(ctx, w.Requests)
	if err != nil {
		return nil, fmt.Errorf("publish the backlog: %w", err)
	}
	need := 2 * w.Requests // of (b) and (d)
	if w.wants("latency") {
		need += w.lastLoad
	}
	return base, w.ensure(ctx, need)
}

func (w *world) wants(measure string) bool {
	if measure == "s" && w.StreamProcessor == "" {
		return false
	}
	return len(w.Only) == 0 || slices.Contains(w.Only, measure)
}

// round measures everything once. base is where its requests begin.
func (w *world) round(ctx context.Context, r *Round, base []int64) error {
	steps := []struct {
		name string
		into *Rate
		run  func(context.Context) (Rate, error)
	}{
		{"a", &r.A, func(ctx context.Context) (Rate, error) { return w.relay(ctx, base) }},
		{"b", &r.B, w.insert},
		{"c", &r.C, func(ctx context.Context) (Rate, error) { return w.baseline(ctx, plain, w.settings.Workers, window) }},
		{"c'", &r.Tuned, func(ctx context.Context) (Rate, error) {
			return w.baseline(ctx, tuned, w.settings.TunedWorkers, window)
		}},
		{"c''", &r.Batched, func(ctx context.Context) (Rate, error) {
			return w.baseline(ctx, batched, w.settings.BatchedWorkers, window)
		}},
		{"s", &r.Stream, w.stream},
	}
	for _, s := range steps {
		if !w.wants(s.name) {
			continue
		}
		rate, err := s.run(ctx)
		if err != nil {
			return fmt.Errorf("(%s): %w", s.name, err)
		}
		*s.into = rate
		w.say("  %-2s %v", s.name, rate)
	}
	if !w.wants("d") { // the others want its rate
		return nil
	}
	if err := w.service(ctx, r); err != nil {
		return fmt.Errorf("(d): %w", err)
	}
	if !w.wants("e") {
		return nil
	}
	if err := w.scarce(ctx, r); err != nil {
		return fmt.Errorf("(e): %w", err)
	}
	return nil
}

// say tells about progress.
func (w *world) say(format string, args ...any) { fmt.Fprintf(w.Progress, format+"\n", args...) }

// environment is this process's without promopool's own variables, which are
// meant for this process.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PROMOPOOL_") })
}

func cores() int { return runtime.GOMAXPROCS(0) }

// stop ends a child in order, or after a while at once.
func stop(p *child.Process, within time.Duration) error {
	if err := p.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-p.Done():
		return nil
	case <-time.After(within):
	}
	if err := p.Signal(os.Kill); err != nil {
		return err
	}
	<-p.Done()
	return fmt.Errorf("process %d did not end in %v", p.Pid(), within)
}

func keep(dir, name string, content []byte) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), content, 0o644)
}
