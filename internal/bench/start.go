package bench

import (
	"context"
	"fmt"
	"time"
)

// StartConfig says how starting is measured.
type StartConfig struct {
	Config
	// Pools is how many active pools the database has at most. Starts are measured
	// with 1, with 1,000 and with so many.
	Pools int
}

// Start measures how long promopool serve takes from its first instruction until it
// says that it is ready.
func Start(ctx context.Context, c StartConfig) (*Figures, error) {
	return inRounds(ctx, c.Config, func(ctx context.Context, w *world, f *Figures, _ int) error {
		for _, n := range startSizes(c.Pools) {
			if err := w.havePools(ctx, n); err != nil {
				return fmt.Errorf("%d pools: %w", n, err)
			}
			if err := w.settle(ctx); err != nil {
				return err
			}
			if err := w.with(ctx, func(s *served, _ string) error {
				took := time.Since(s.started).Seconds()
				f.add(fmt.Sprintf("ready, %d pools", n), "s", took)
				w.say("  ready after %.3f s with %d pools", took, n)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

func startSizes(most int) []int {
	sizes := []int{1}
	for _, n := range []int{1000, most} {
		if n > sizes[len(sizes)-1] && n <= most {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// havePools makes the database have so many active pools, each with ten codes. Those
// behind the first are copies of it, launched as any.
func (w *world) havePools(ctx context.Context, n int) error {
	if n == 1 {
		return w.haveOnePool(ctx)
	}
	var have int
	if err := w.db.QueryRow(ctx, "SELECT count(*) FROM pools").Scan(&have); err != nil {
		return err
	}
	w.say("  make %d pools", n-have)
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at)
			SELECT id || '-' || n, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at
			  FROM pools, generate_series(%d, %d) n WHERE id = '%s'`, have, n-1, poolID),
		"INSERT INTO codes (pool, lot, seq, code) SELECT p.pool, c.lot, c.seq, c.code FROM pools p, codes c WHERE p.state = 'draft' AND c.pool = (SELECT min(pool) FROM pools)",
		"INSERT INTO lots (pool, lot, size, revision, created_at) SELECT p.pool, l.lot, l.size, l.revision, l.created_at FROM pools p, lots l WHERE p.state = 'draft' AND l.pool = (SELECT min(pool) FROM pools)",
		"INSERT INTO runs (pool, lot, lo, next, hi, grant_no) SELECT pool, lot, 0, 0, size, 0 FROM lots WHERE pool IN (SELECT pool FROM pools WHERE state = 'draft')",
		"UPDATE pools SET state = 'active', launched_at = now() WHERE state = 'draft'",
	} {
		if _, err := w.db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// haveOnePool makes the first pool, or takes all others away.
func (w *world) haveOnePool(ctx context.Context) error {
	const others = " WHERE pool IN (SELECT pool FROM pools WHERE id <> '" + poolID + "')"
	for _, table := range []string{"codes", "lots", "runs", "stock_watch", "pools"} {
		if _, err := w.db.Exec(ctx, "DELETE FROM "+table+others); err != nil {
			return err
		}
	}
	var have bool
	if err := w.db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pools)").Scan(&have); err != nil || have {
		return err
	}
	if err := w.activePool(ctx, poolID); err != nil {
		return err
	}
	return w.addLot(ctx, poolID, 10)
}
