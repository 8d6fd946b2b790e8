package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// HistoryConfig says what history is measured on.
type HistoryConfig struct {
	Config
	// Millions of old issuances, of each kind, by stage. They grow from stage to
	// stage; each stage has all rounds. A million takes some 400 MB of disk, and
	// where both kinds of ids are measured twice that.
	Millions []float64
}

// The pools of a store with old issuances.
const (
	noPast       = "bench-fresh" // where others have one
	orderedPast  = "bench-ordered"
	shuffledPast = "bench-shuffled"
)

// memory is a measure on a store with old issuances.
type memory struct {
	name, what, pool string
	shuffled         bool
}

var memories = []memory{
	{"other", "in other pools", noPast, false},
	{"ordered", "in the same pool, ids in the order of time", orderedPast, false},
	{"random", "in the same pool, random ids", shuffledPast, true},
}

// History measures issuing on a store without a past, made for each round, and
// on one with many old issuances. Config.Only are the memories wanted: other,
// ordered, random.
func History(ctx context.Context, c HistoryConfig) (*Figures, error) {
	for _, name := range c.Only {
		if !slices.ContainsFunc(memories, func(m memory) bool { return m.name == name }) {
			return nil, fmt.Errorf("no such measure: %s", name)
		}
	}
	if !slices.IsSorted(c.Millions) || len(c.Millions) == 0 || c.Millions[0] <= 0 {
		return nil, fmt.Errorf("millions are to be given from few to many: %v", c.Millions)
	}
	return in(ctx, c.Config, func(ctx context.Context, w *world) (*Figures, error) { return w.history(ctx, c.Millions) })
}

func (w *world) history(ctx context.Context, millions []float64) (*Figures, error) {
	f := &Figures{Settings: w.settings}
	if err := w.createCampaign(ctx); err != nil {
		return nil, err
	}
	// Codes for all rounds at once: a checkpoint before each measure would have
	// each of them write most pages of the indexes as a whole.
	codes := w.Requests * (3 + w.Rounds*len(millions))
	for _, m := range memories {
		if w.wants(m.name) {
			if err := w.createPool(ctx, m.pool, codes); err != nil {
				return nil, err
			}
		}
	}
	var pasts []*past
	if w.wants("other") || w.wants("ordered") {
		if !w.wants("ordered") {
			if err := w.createPool(ctx, orderedPast, 0); err != nil {
				return nil, err
			}
		}
		pasts = append(pasts, &past{pool: orderedPast, ids: orderedIDs})
	}
	if w.wants("random") {
		pasts = append(pasts, &past{pool: shuffledPast, ids: shuffledIDs})
	}
	before := time.Now().Add(-time.Hour)
	for stage, n := range millions {
		start := time.Now()
		w.say("make old issuances: %g million in each of %d pools", n, len(pasts))
		if err := w.age(ctx, pasts, int(n*1e6), before); err != nil {
			return nil, err
		}
		w.say("  in %v", time.Since(start).Round(time.Second))
		if err := w.remember(ctx, f, n, stage == 0); err != nil {
			return nil, err
		}
	}
	return f, w.verify(ctx)
}

// remember has the rounds of a stage.
func (w *world) remember(ctx context.Context, f *Figures, millions float64, first bool) error {
	var size float64
	if err := w.db.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&size); err != nil {
		return err
	}
	f.add(fmt.Sprintf("%g million: the database", millions), "GB", size/1e9)
	if first {
		if err := w.warmUpDrain(ctx); err != nil {
			return err
		}
		if err := w.memories(ctx, &Figures{}, millions); err != nil {
			return err
		}
	}
	for i := range w.Rounds {
		w.say("%g million, round %d of %d", millions, i+1, w.Rounds)
		if err := w.memories(ctx, f, millions); err != nil {
			return err
		}
	}
	return nil
}

// memories is a round.
func (w *world) memories(ctx context.Context, f *Figures, millions float64) error {
	empty, err := w.empty(ctx)
	if err != nil {
		return fmt.Errorf("empty store: %w", err)
	}
	f.add(fmt.Sprintf("%g million: empty store", millions), "requests/s", empty)
	for _, m := range memories {
		if !w.wants(m.name) {
			continue
		}
		w.requests.pool, w.requests.shuffled = m.pool, m.shuffled
		rate, err := w.prepareAndDrain(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		w.say("  %-10s %v", m.name, rate)
		f.add(fmt.Sprintf("%g million %s", millions, m.what), "requests/s", rate.PerSecond)
		f.add(fmt.Sprintf("%g million %s / empty store", millions, m.what), "", rate.PerSecond/empty)
	}
	return nil
}

// empty is the rate on a store that has just been made.
func (w *world) empty(ctx context.Context) (_ float64, err error) {
	e, err := w.beside(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.createCampaign(ctx); err != nil {
		return 0, err
	}
	if err := e.createPool(ctx, poolID, e.Requests); err != nil {
		return 0, err
	}
	rate, err := e.prepareAndDrain(ctx)
	if err != nil {
		return 0, err
	}
	w.say("  %-10s %v", "empty", rate)
	return rate.PerSecond, e.verify(ctx)
}

// prepareAndDrain publishes a backlog for the pool that requests are for, and has
// a service of its own answer it.
func (w *world) prepareAndDrain(ctx context.Context) (rate Rate, err error) {
	if err := w.ensure(ctx, w.Requests); err != nil {
		return Rate{}, err
	}
	if _, err := w.backlog(ctx, w.Requests); err != nil {
		return Rate{}, fmt.Errorf("publish the backlog: %w", err)
	}
	return w.drainAlone(ctx)
}

// warmUpDrain runs things once for nothing, a service included.
func (w *world) warmUpDrain(ctx context.Context) error {
	if err := w.warmUpRelay(ctx); err != nil {
		return err
	}
	_, err := w.drainAlone(ctx)
	return err
}
