package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// PoolsConfig says what pools are measured on.
type PoolsConfig struct {
	Config
	// Hot is how many pools are asked for, each as often as any other, in no
	// order. Each has some 10,000 codes, so that all of them are ample.
	Hot int
	// All is how many pools there are where most of them are not asked for.
	All int
	// Subscriptions is how many of staff there are to pools then.
	Subscriptions int
}

// Pools measures issuing from one hot pool, from many, and from many among far
// more.
func Pools(ctx context.Context, c PoolsConfig) (*Figures, error) {
	if c.Hot < 1 || c.All < c.Hot {
		return nil, fmt.Errorf("%d hot pools of %d", c.Hot, c.All)
	}
	return in(ctx, c.Config, func(ctx context.Context, w *world) (*Figures, error) { return w.manyPools(ctx, c) })
}

func (w *world) manyPools(ctx context.Context, c PoolsConfig) (_ *Figures, err error) {
	crowd, err := w.beside(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, crowd.close()) }()
	w.say("make %d hot pools", c.Hot)
	if err := w.createCampaign(ctx); err != nil {
		return nil, err
	}
	if err := w.createPool(ctx, poolID, w.Requests*(w.Rounds+3)); err != nil {
		return nil, err
	}
	hot, err := w.hotPools(ctx, c, 0)
	if err != nil {
		return nil, err
	}
	w.say("make %d hot pools among %d, %d subscriptions", c.Hot, c.All, c.Subscriptions)
	if err := crowd.createCampaign(ctx); err != nil {
		return nil, err
	}
	if crowd.requests.pools, err = crowd.hotPools(ctx, c, c.All-c.Hot); err != nil {
		return nil, err
	}
	if err := crowd.subscribe(ctx, c.Subscriptions); err != nil {
		return nil, err
	}
	if err := w.warmUpDrain(ctx); err != nil {
		return nil, err
	}
	f := &Figures{Settings: w.settings}
	if err := w.poolsRound(ctx, &Figures{}, crowd, hot); err != nil {
		return nil, err
	}
	for i := range w.Rounds {
		w.say("round %d of %d", i+1, w.Rounds)
		if err := w.poolsRound(ctx, f, crowd, hot); err != nil {
			return nil, err
		}
	}
	return f, errors.Join(w.verify(ctx), crowd.verify(ctx))
}

// poolsRound measures everything once.
func (w *world) poolsRound(ctx context.Context, f *Figures, crowd *world, hot []string) error {
	var one float64
	for _, m := range []struct {
		what  string
		world *world
		pools []string
	}{
		{"1 hot pool", w, nil},
		{fmt.Sprintf("%d hot pools", len(hot)), w, hot},
		{fmt.Sprintf("%d hot pools among very many", len(hot)), crowd, crowd.requests.pools},
	} {
		m.world.requests.pools = m.pools
		if _, err := m.world.backlog(ctx, w.Requests); err != nil {
			return err
		}
		var rate Rate
		var first time.Duration
		err := m.world.withService(ctx, func(s *served, ends []int64) (err error) {
			rate, err = m.world.drain(ctx, s, ends)
			first = s.first
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		w.say("  %-34s %v; the first after %.1f s", m.what, rate, first.Seconds())
		f.add(m.what, "requests/s", rate.PerSecond)
		f.add(m.what+": from start to the first outcome", "s", first.Seconds())
		if one == 0 {
			one = rate.PerSecond
			continue
		}
		f.add(m.what+" / 1 hot pool", "", rate.PerSecond/one)
	}
	return nil
}

// hotPools makes ample pools with the codes for all rounds, and cold ones with a
// few codes each, and returns the ids of the hot ones.
func (w *world) hotPools(ctx context.Context, c PoolsConfig, cold int) ([]string, error) {
	// Twice the mark of scarce pools, and what is asked for: half as much again,
	// since it comes at random.
	codes := 2*2*200*partitions + 3*(w.Rounds+2)*w.Requests/c.Hot/2 + 100
	err := w.inBulk(ctx, []string{"codes"}, func() error {
		if err := w.addPools(ctx, "hot", c.Hot, codes); err != nil {
			return err
		}
		return w.addPools(ctx, "cold", cold, 10)
	})
	if err != nil {
		return nil, fmt.Errorf("pools: %w", err)
	}
	rows, err := w.db.Query(ctx, "SELECT id FROM pools WHERE id LIKE 'hot-%' AND mode = 'ample' ORDER BY pool")
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(ids) != c.Hot {
		err = fmt.Errorf("%d pools are ample, want %d", len(ids), c.Hot)
	}
	return ids, err
}

// addPools makes n pools, PREFIX-1…, and launches them.
func (w *world) addPools(ctx context.Context, prefix string, n, codes int) error {
	if n == 0 {
		return nil
	}
	if _, err := w.db.Exec(ctx, `INSERT INTO pools (id, campaign, name, description, parameter_name, notify_below, notify, multi_use, check_issued, processing, created_at)
		SELECT $1::text || '-' || n, campaign, 'Pool', 'for a measurement', 'promo_code', 1, false, false, false, 'internal', now()
		  FROM campaigns, generate_series(1, $2::int) n`, prefix, n); err != nil {
		return err
	}
	for _, sql := range []string{
		`CREATE TEMPORARY TABLE fresh AS SELECT pool, nextval('lot_numbers')::int AS lot FROM pools WHERE id LIKE $1 || '-%' AND $2::int > 0`,
		`INSERT INTO codes (pool, lot, seq, code) SELECT pool, lot, s, 'BENCH-' || lot || '-' || lpad(s::text, 8, '0')
		   FROM fresh, generate_series(0, $2::bigint - 1) s WHERE $1 <> ''`,
		`SELECT count(add_lot(pool, lot, $2::bigint, NULL, NULL, NULL, NULL, NULL)) FROM fresh WHERE $1 <> ''`,
		`UPDATE pools SET state = 'active', launched_at = now() WHERE id LIKE $1 || '-%' AND $2::int > 0`,
		`DROP TABLE fresh`,
	} {
		args := []any{prefix, codes}
		if sql == `DROP TABLE fresh` {
			args = nil
		}
		if _, err := w.db.Exec(ctx, sql, args...); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// subscribe makes staff with up to 100 subscriptions each, and switches the
// notices of the pools on that they are to, of which none comes true.
func (w *world) subscribe(ctx context.Context, n int) error {
	for _, sql := range []string{
		`INSERT INTO staff (id, name, email, created_at, active_since)
		 SELECT 'staff-' || s, 'Staff', 'staff@example.com', now(), now() FROM generate_series(0, ($1::int - 1) / 100) s`,
		`INSERT INTO subscriptions (staff, pool, created_at)
		 SELECT s.staff, p.pool, now() FROM staff s JOIN (SELECT pool, row_number() OVER (ORDER BY id LIKE 'hot-%' DESC, pool) - 1 AS n FROM pools) p
		     ON s.id = 'staff-' || p.n / 100 WHERE p.n < $1`,
		`UPDATE pools SET notify = true WHERE pool IN (SELECT pool FROM subscriptions) AND $1::int > 0`,
		`UPDATE service SET staff_no = staff_no + 1 WHERE $1::int > 0`,
	} {
		if _, err := w.db.Exec(ctx, sql, n); err != nil {
			return fmt.Errorf("subscriptions: %w", err)
		}
	}
	_, err := w.db.Exec(ctx, "VACUUM (ANALYZE)")
	return err
}
