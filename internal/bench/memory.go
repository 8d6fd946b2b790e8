package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"promopool/internal/domain"
	"promopool/internal/postgres"
)

// MemoryConfig says how memory is measured.
type MemoryConfig struct {
	Config
	// Duration of the load. The slope is known from three minutes on.
	Duration time.Duration
	// DiskGB is what the database may have. Beyond it, what was issued so far is
	// thrown away: the service never looks at it again.
	DiskGB int64
}

// Memory measures the memory that a service takes which never runs out of
// requests. There is one round. Config.Requests is the backlog that is kept.
func Memory(ctx context.Context, c MemoryConfig) (*Figures, error) {
	c.Rounds = 1
	return in(ctx, c.Config, func(ctx context.Context, w *world) (*Figures, error) { return w.memory(ctx, c) })
}

func (w *world) memory(ctx context.Context, c MemoryConfig) (*Figures, error) {
	if err := w.generatedPool(ctx); err != nil {
		return nil, err
	}
	if err := w.forget(ctx); err != nil {
		return nil, err
	}
	if _, err := w.backlog(ctx, w.Requests); err != nil {
		return nil, err
	}
	r := &resident{world: w, disk: c.DiskGB * 1e9}
	err := w.withService(ctx, func(s *served, ends []int64) error {
		r.end = time.Now().Add(c.Duration)
		all, ctx := errgroup.WithContext(ctx)
		all.Go(func() error { return r.feed(ctx, sum(ends)) })
		all.Go(func() error { return r.sample(ctx, s.process.Pid()) })
		return all.Wait()
	})
	if err != nil {
		return nil, err
	}
	f := &Figures{Settings: w.settings}
	if err := r.report(f, c.Duration); err != nil {
		return nil, err
	}
	return f, r.check(ctx)
}

// generatedPool makes a pool that has codes enough for any duration, and that
// take no disk.
func (w *world) generatedPool(ctx context.Context) error {
	if err := w.createCampaign(ctx); err != nil {
		return err
	}
	store, err := postgres.Open(ctx, w.database, "promopool bench", 2)
	if err != nil {
		return err
	}
	defer store.Close()
	pool, err := createDraft(ctx, store, poolID, poolID)
	if err != nil {
		return err
	}
	pattern, err := domain.ParsePattern("BENCH-####-####-####", "")
	if err != nil {
		return err
	}
	if _, err := store.Generate(ctx, "bench", poolID, domain.Generation{Pattern: pattern, Count: 1_000_000_000, MaxGuessOdds: 1e-6}); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	_, err = store.LaunchPool(ctx, "bench", poolID, pool.Version)
	return err
}

// forget has the brokers drop what is older than about the last 100 MB of each
// partition. They look for it now and then: a broker of our own every few seconds,
// others every 5 minutes unless they were told otherwise.
func (w *world) forget(ctx context.Context) error {
	set := func(name, value string) kafka.IncrementalAlterConfigsRequestConfig {
		return kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}
	}
	req := &kafka.IncrementalAlterConfigsRequest{}
	for _, topic := range []string{w.names.Requests, w.names.Outcomes} {
		req.Resources = append(req.Resources, kafka.IncrementalAlterConfigsRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{set("retention.bytes", "100000000"), set("segment.bytes", "25000000"), set("file.delete.delay.ms", "1000")},
		})
	}
	res, err := w.client.IncrementalAlterConfigs(ctx, req)
	if err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return fmt.Errorf("retention of %s: %w", r.ResourceName, r.Error)
		}
	}
	return nil
}

// resident is a service under a load that does not end, and what it takes.
type resident struct {
	*world
	disk  int64
	end   time.Time
	sizes []float64 // MiB resident, by second
	done  []float64 // outcomes, by second
	at    []time.Time
	dry   int // how often there was no backlog
}

// feed keeps a backlog before the service. base is where the outcomes began.
func (r *resident) feed(ctx context.Context, base int64) error {
	published, more := int64(r.Requests), r.Requests/4
	for time.Now().Before(r.end) {
		ends, err := r.ends(ctx, r.names.Outcomes)
		if err != nil {
			return err
		}
		waiting := published - (sum(ends) - base)
		if waiting <= 0 {
			r.dry++
		}
		if waiting > int64(r.Requests-more) {
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if _, err := r.backlog(ctx, more); err != nil {
			return err
		}
		published += int64(more)
	}
	return nil
}

// sample looks at the process every second.
func (r *resident) sample(ctx context.Context, pid int) error {
	for next := time.Now().Add(time.Second); next.Before(r.end); next = next.Add(time.Second) {
		if err := pause(ctx, time.Until(next)); err != nil {
			return err
		}
		size, err := memoryMiB(pid, "VmRSS")
		if err != nil {
			return err
		}
		ends, err := r.ends(ctx, r.names.Outcomes)
		if err != nil {
			return err
		}
		r.sizes, r.done, r.at = append(r.sizes, size), append(r.done, float64(sum(ends))), append(r.at, time.Now())
		if n := len(r.sizes); n%10 == 0 {
			r.say("  after %3d s: %.0f MiB, %.0f outcomes/s", n, size, r.rate(n-10, n-1))
			if err := r.keepSmall(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *resident) rate(from, to int) float64 {
	return (r.done[to] - r.done[from]) / r.at[to].Sub(r.at[from]).Seconds()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// keepSmall throws away what was issued when the database has become too large.
func (r *resident) keepSmall(ctx context.Context) error {
	var size int64
	if err := r.db.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&size); err != nil || size < r.disk {
		return err
	}
	r.say("  the database has %d MB: away with what was issued", size>>20)
	_, err := r.db.Exec(ctx, "TRUNCATE issuances, customer_codes")
	return err
}

func (r *resident) report(f *Figures, duration time.Duration) error {
	n := len(r.sizes)
	if n < 2 {
		return errors.New("nothing was seen of the process")
	}
	if r.dry > 0 {
		return fmt.Errorf("%d times there was no backlog: take a larger one", r.dry)
	}
	peak := 0.0
	for _, size := range r.sizes {
		peak = max(peak, size)
	}
	f.add("peak", "MiB", peak)
	f.add("at the end", "MiB", r.sizes[n-1])
	f.add("rate", "requests/s", r.rate(0, n-1))
	if steady := r.sizes[min(60, n):]; duration >= 3*time.Minute && len(steady) > 60 {
		f.add("slope from the second minute on", "MiB/min", 60*slope(steady))
	}
	return nil
}

// slope is that of the line through values at equal distances, by least squares.
func slope(values []float64) float64 {
	middle := float64(len(values)-1) / 2
	var above, below float64
	for i, v := range values {
		above += (float64(i) - middle) * v
		below += (float64(i) - middle) * (float64(i) - middle)
	}
	return above / below
}

// check makes sure that there was a code for each outcome, as the stock has it:
// rows may have been thrown away.
func (r *resident) check(ctx context.Context) error {
	var issued int64
	if err := r.db.QueryRow(ctx, "SELECT codes_issued(pool) FROM pools WHERE id = $1", poolID).Scan(&issued); err != nil {
		return err
	}
	ends, err := r.ends(ctx, r.names.Outcomes)
	if err != nil {
		return err
	}
	if told := sum(ends); issued != told {
		return fmt.Errorf("%d codes are issued and %d outcomes told: the figures are worth nothing", issued, told)
	}
	return nil
}
