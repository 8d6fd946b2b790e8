// Package watching looks after stock that runs low. A Watcher, of which one
// process at a time has one at work, sums what is left of every active pool,
// compares it with what was told, and has the store tell what has changed. What it
// remembers between two looks saves work and decides nothing: the store judges
// again under the lock of the pool's watch, so that a second watcher, or one that
// died in the middle, costs nobody a notice and gives nobody two.
package watching

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
)

// Store is what a watcher needs of the store.
type Store interface {
	// WatchState tells the number of the last change of staff and subscriptions, and
	// whether the gate is closed: then nothing is told.
	WatchState(ctx context.Context) (staffNo int64, closed bool, err error)
	// Watched are the active pools.
	Watched(ctx context.Context) ([]Mark, error)
	// WatchUnwatched begins to watch active pools that nobody watches.
	WatchUnwatched(ctx context.Context) error
	// UsedPools are those that were reported within the time.
	UsedPools(ctx context.Context, within time.Duration) ([]int32, error)
	// LookAt sums what is left of pools, without a lock. Those that are no longer
	// active are absent.
	LookAt(ctx context.Context, pools []int32) ([]Sight, error)
	// JudgeStock makes true and tells what a pool's stock asks for now: crossings,
	// and notices to whoever has not heard of the one that lasts.
	JudgeStock(ctx context.Context, pool int32) (Judged, error)
	// Crossings counts those of a kind that this process has told.
	Crossings(kind domain.CrossingKind) int64
}

// Mark is a pool with what moves when it is changed.
type Mark struct {
	Pool              int32
	Revision, Version int64
}

// Sight is a pool as a look found it.
type Sight struct {
	Pool    *domain.Pool
	Left    int64 // codes that may be issued now or later
	Runs    int64 // that they lie in: what the look cost
	Watch   domain.Watch
	Samples domain.Samples
	Seen    *int64 // what was left when the store looked under its lock last; nil: never
	At      time.Time
}

// Judged is what came of judging a pool.
type Judged struct {
	Busy    bool // another has it in hand: nothing was done
	Left    int64
	Crossed []domain.Crossing
	Notices int
}

const (
	// every is how often the watcher looks.
	every = time.Second
	// usedFor is for how long after a report a pool is in use.
	usedFor = 3 * every
	// relist is how often the list of pools is read at least; marks in it tell of
	// changes of pools that would not be looked at yet.
	relist = 2 * every
	// adopt is how often pools are looked for that nobody watches.
	adopt = time.Minute
)

// Watcher looks at all pools.
type Watcher struct {
	store Store
	wake  func()
	log   zerolog.Logger
	rota  *rota
	gauges

	// owned by Run
	staffNo         int64
	listed, adopted time.Time
}

// New returns a watcher that registers its metrics at reg. It calls wake when it
// has told something.
func New(store Store, wake func(), log zerolog.Logger, reg prometheus.Registerer) *Watcher {
	return &Watcher{store: store, wake: wake, log: log.With().Str("component", "watching").Logger(), gauges: newGauges(store, reg)}
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	w.rota, w.listed, w.adopted = newRota(), time.Time{}, time.Time{}
	defer w.clear()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failing := false; ; {
		err := w.round(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			failing = true
			w.log.Warn().Err(err).Msg("watch stock, retrying")
		case err == nil && failing:
			failing = false
			w.log.Info().Msg("stock is watched again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round looks once at the pools whose turn it is.
func (w *Watcher) round(ctx context.Context, now time.Time) (failed error) {
	staffNo, closed, err := w.store.WatchState(ctx)
	if err != nil || closed {
		return err
	}
	w.staffNo = staffNo
	used, err := w.store.UsedPools(ctx, usedFor)
	if err != nil {
		return err
	}
	if err := w.list(ctx, now, used); err != nil {
		return err
	}
	for _, pools := range w.rota.due(now, used) {
		sights, err := w.store.LookAt(ctx, pools)
		if err != nil {
			return err
		}
		for i := range sights { // one pool's trouble is not another's
			err = errors.Join(err, w.consider(ctx, now, &sights[i]))
		}
		failed = errors.Join(failed, err)
	}
	w.show(w.rota, now)
	return failed
}

// list reads anew which pools there are, where that was long ago or one is in use
// that was not there.
func (w *Watcher) list(ctx context.Context, now time.Time, used []int32) error {
	if now.Sub(w.adopted) >= adopt {
		if err := w.store.WatchUnwatched(ctx); err != nil {
			return err
		}
		w.adopted, w.listed = now, time.Time{}
	}
	if now.Sub(w.listed) < w.rota.relist() && w.rota.knows(used) {
		return nil
	}
	marks, err := w.store.Watched(ctx)
	if err == nil {
		w.rota.list(marks)
		w.listed = now
	}
	return err
}

// consider has a pool judged where a look at it shows that this would change
// something.
func (w *Watcher) consider(ctx context.Context, now time.Time, s *Sight) error {
	p := w.rota.saw(now, s)
	if p == nil || !w.calls(p, s) {
		return nil
	}
	judged, err := w.store.JudgeStock(ctx, s.Pool.Key)
	if err != nil {
		return fmt.Errorf("pool %s: %w", s.Pool.ID, err)
	}
	if judged.Busy {
		return nil
	}
	p.toldOf, p.staffNo = s.Watch.No+int64(len(judged.Crossed)), w.staffNo
	for _, c := range judged.Crossed {
		w.log.Info().Str("pool_id", s.Pool.ID).Str("kind", string(c.Kind)).Int64("crossing", c.No).Int64("codes", judged.Left).
			Int("notices", judged.Notices).Msg("a pool's stock crossed a mark")
	}
	if len(judged.Crossed) > 0 || judged.Notices > 0 {
		w.wake()
	}
	return nil
}

// calls reports whether there is something to be told or to be kept: a crossing, a
// sample, or a crossing that lasts and of which somebody may not have heard, since
// staff or subscriptions have changed.
func (w *Watcher) calls(p *pool, s *Sight) bool {
	if _, crossed := s.Watch.Judge(s.Pool, s.Left); len(crossed) > 0 {
		return true
	}
	if (s.Seen == nil || *s.Seen != s.Left) && s.Samples.Due(s.At) {
		return true
	}
	lasts, _ := s.Watch.Current()
	return lasts > 0 && s.Pool.Notify && (p.toldOf != s.Watch.No || p.staffNo != w.staffNo)
}
