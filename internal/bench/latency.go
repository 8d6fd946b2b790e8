package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/producer"
)

const (
	// warming is how long a load runs before it is measured.
	warming   = 2 * time.Second
	measuring = 4 * time.Second
	// firstTime is how long the first load runs, for nothing: until a broker has
	// compiled what it does for small requests, it takes the processor to itself.
	firstTime = 25 * time.Second
)

// load sends requests when they are due, whatever becomes of those before, and
// looks for their outcomes. What is due at one time goes to each partition as one
// batch, as a producer sends it that lingers.
type load struct {
	w     *world
	start time.Time
	base  []int64 // where the requests of each partition begin
	total int     // of the requests
	tails *consumer.Fetcher
	ticks []moment
	parts [partitions]struct {
		records []producer.Record
		tick    []int // by record
	}

	mu        sync.Mutex
	latencies []float64 // guarded by mu; milliseconds, of those due after warming
	gaps      []gap     // guarded by mu
}

// gap is a time in which no outcome of a partition came, after start.
type gap struct{ from, to time.Duration }

// moment is a time at which requests are due.
type moment struct {
	fired time.Duration // after start; written before come is closed
	come  chan struct{}
}

// latency measures what passes between the time at which a request is to be
// published and the time at which its outcome has been read.
func (w *world) latency(ctx context.Context, rate float64, measuring time.Duration) (Latency, error) {
	l, err := w.newLoad(ctx, rate, measuring)
	if err != nil {
		return Latency{}, err
	}
	if err := l.run(ctx); err != nil {
		return Latency{}, err
	}
	return summary(rate, time.Since(l.start), l.total, l.latencies), nil
}

// newLoad makes the requests of a load that is measured for so long, and the
// codes for them.
func (w *world) newLoad(ctx context.Context, rate float64, measuring time.Duration) (*load, error) {
	l := &load{w: w, tails: consumer.NewFetcher(w.client, w.names.Outcomes, 1<<20)}
	for range int((warming + measuring) / w.Linger) {
		l.ticks = append(l.ticks, moment{come: make(chan struct{})})
	}
	perTick := rate * w.Linger.Seconds() / partitions
	for p := range l.parts {
		part := &l.parts[p]
		for tick := range l.ticks {
			for float64(len(part.records)) < math.Round(float64(tick+1)*perTick) {
				part.records = append(part.records, w.requests.record())
				part.tick = append(part.tick, tick)
			}
		}
		l.total += len(part.records)
	}
	if err := w.ensure(ctx, l.total); err != nil {
		return nil, err
	}
	return l, w.settle(ctx)
}

// run sends the requests and returns when all are answered.
func (l *load) run(ctx context.Context) (err error) {
	w := l.w
	if l.base, err = w.ends(ctx, w.names.Requests); err != nil {
		return err
	}
	from, err := w.ends(ctx, w.names.Outcomes)
	if err != nil {
		return err
	}
	giveUp, cancel := context.WithTimeout(ctx, time.Duration(len(l.ticks))*w.Linger+patience)
	defer cancel()
	all, ctx := errgroup.WithContext(giveUp)
	l.start = time.Now().Add(20 * time.Millisecond)
	go l.tick()
	for p := range l.parts {
		all.Go(func() error { return l.send(ctx, p) })
		all.Go(func() error { return l.read(ctx, p, from[p]) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	w.took(l.total)
	return nil
}

// settle lets servers of our own clean up and write out what was done at full
// speed before, so that it is not the load measured next that waits for it.
func (w *world) settle(ctx context.Context) error {
	if w.DatabaseURL != "" {
		return nil
	}
	for _, statement := range []string{"VACUUM (ANALYZE)", "CHECKPOINT"} {
		if _, err := w.db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(statement), err)
		}
	}
	syscall.Sync()
	return nil
}

// tick lets everything that is due at one time go at once. A late timer makes
// it due later: it is the clock's fault, not the service's.
func (l *load) tick() {
	for n := range l.ticks {
		time.Sleep(time.Until(l.start.Add(time.Duration(n) * l.w.Linger)))
		l.ticks[n].fired = time.Since(l.start)
		close(l.ticks[n].come)
	}
}

func (l *load) send(ctx context.Context, p int) error {
	part := &l.parts[p]
	for next := 0; next < len(part.records); {
		<-l.ticks[part.tick[next]].come
		// When the last publish took long, all that has come due meanwhile.
		end := next
		for end < len(part.records) && l.due(part.tick[end]) {
			part.records[end].Time = time.Now()
			end++
		}
		if err := l.w.producer.Publish(ctx, l.w.names.Requests, p, part.records[next:end]); err != nil {
			return err
		}
		next = end
	}
	return ctx.Err()
}

func (l *load) due(tick int) bool {
	select {
	case <-l.ticks[tick].come:
		return true
	default:
		return false
	}
}

// read finds each outcome's request by the offset that it names.
func (l *load) read(ctx context.Context, p int, at int64) error {
	part := &l.parts[p]
	var latencies []float64
	var gaps []gap
	var last time.Duration
	for missing := len(part.records); missing > 0; {
		got, err := l.tails.Fetch(ctx, p, at)
		if ctx.Err() != nil {
			return fmt.Errorf("%d outcomes of partition %d are missing: %w", missing, p, err)
		}
		if err != nil {
			// The embedded broker leaves partitions out where an answer for several
			// would be too long, as after a pause.
			time.Sleep(time.Millisecond)
			continue
		}
		now := time.Since(l.start)
		if len(got.Records) > 0 {
			gaps, last = append(gaps, gap{last, now}), now
		}
		for i := range got.Records {
			r := &got.Records[i]
			if kind := string(consumer.Header(r, "ce_type")); kind != domain.TypeCodeIssued {
				return fmt.Errorf("an outcome is %s: %s", kind, r.Value)
			}
			offset, err := strconv.ParseInt(string(consumer.Header(r, "ce_requestoffset")), 10, 64)
			if err != nil {
				return err
			}
			if offset < l.base[p] {
				continue // told again: the offset behind it was not committed
			}
			due := l.ticks[part.tick[offset-l.base[p]]].fired
			if missing--; due >= warming {
				latencies = append(latencies, float64(now-due)/1e6)
			}
		}
		at = got.Next
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies = append(l.latencies, latencies...)
	l.gaps = append(l.gaps, gaps...)
	return nil
}

// stoodStill is the longest time without an outcome of a partition that begins
// in a phase of the load.
func (l *load) stoodStill(from, to time.Duration) time.Duration {
	var worst time.Duration
	for _, g := range l.gaps {
		if g.from >= from && g.from < to {
			worst = max(worst, g.to-g.from)
		}
	}
	return worst
}

func summary(rate float64, took time.Duration, sent int, latencies []float64) Latency {
	slices.Sort(latencies)
	at := func(q float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[int(q*float64(len(latencies)-1))]
	}
	return Latency{Rate: rate, Achieved: float64(sent) / took.Seconds(), P50: at(0.5), P99: at(0.99), Max: at(1), Measured: len(latencies)}
}
