package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// loop is what the loops of all partitions have in common: they repeat what fails
// until it succeeds, and tell of it.
type loop struct {
	a       Assignment
	name    string // in health
	health  *Health
	metrics *Metrics
	log     zerolog.Logger
}

// end forgets the partition.
func (l *loop) end() {
	l.health.Report(l.name, "")
	l.metrics.forget(l.a.Partition)
}

// read fetches what lies at the position, and moves that to where the log begins
// when it no longer reaches so far back.
func (l *loop) read(ctx context.Context, f *Fetcher, position *int64) (got Fetched, err error) {
	start := time.Now()
	err = l.retry(ctx, stepFetch, func() (err error) {
		l.a.Progress()
		got, err = f.Fetch(ctx, l.a.Partition, *position)
		var gap *OutOfRangeError
		if errors.As(err, &gap) {
			l.log.Error().Err(err).Int64("offset", gap.LogStart).Msg("the log no longer has the offset, going on at its start")
			*position, err = gap.LogStart, nil
		}
		return err
	})
	if err == nil {
		l.metrics.lag(l.a.Partition, got.HighWater-got.Next)
		if got.Next > *position {
			l.metrics.step(stepFetch, start)
		}
	}
	return got, err
}

// retry repeats a step, with pauses, until it succeeds, cannot, or ctx ends.
// It says so once when it begins to wait, and once when it goes on.
func (l *loop) retry(ctx context.Context, step string, do func() error) error {
	err := do()
	if err == nil || final(err) || ctx.Err() != nil {
		return err
	}
	who := l.name + ", " + step
	defer l.health.Report(who, "")
	l.log.Warn().Err(err).Str("step", step).Msg("waiting, will try again")
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		l.metrics.retried(step)
		l.health.Report(who, err.Error())
		l.a.Progress()
		pause(ctx, wait)
		if err = do(); err == nil || final(err) || ctx.Err() != nil {
			if err == nil {
				l.log.Info().Str("step", step).Msg("going on")
			}
			return err
		}
	}
}

// final reports whether trying again would not help.
func final(err error) bool {
	return errors.Is(err, ErrRecreated) || errors.Is(err, issuing.ErrFenced) || errors.Is(err, issuing.ErrCorrupt) || errors.Is(err, domain.ErrLogChanged)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
