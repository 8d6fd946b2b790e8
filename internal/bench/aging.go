package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Ids of requests of the past, by s, the number among them, from 1, and $3, when
// the last of a lifetime of them was made: as maker makes them.
const (
	// One a millisecond.
	orderedIDs = `(SELECT substr(t, 1, 8) || '-' || substr(t, 9) || '-7' || substr(r, 1, 3) || '-a' || substr(r, 4, 3) || '-' || substr(r, 7, 12)
	                 FROM (SELECT lpad(to_hex($3::bigint + s), 12, '0') AS t, md5(s::text) AS r) x)`
	shuffledIDs = `gen_random_uuid()::text`
)

// lotOfOld is how many old issuances share a lot.
const lotOfOld = 1_000_000

// past are issuances of a pool from before the measures.
type past struct {
	pool string
	ids  string
	size int // so far
}

// age adds old issuances to the pasts until each has n. The store is then as if
// all of them had been issued, but for what is told of it elsewhere: the topics
// have no outcomes of them, and customers' codes are not listed.
func (w *world) age(ctx context.Context, pasts []*past, n int, before time.Time) error {
	var mu sync.Mutex
	err := w.inBulk(ctx, []string{"issuances", "codes"}, func() error {
		var all errgroup.Group
		all.SetLimit(cores())
		for _, p := range pasts {
			for ; p.size < n; p.size += min(lotOfOld, n-p.size) {
				first, last := p.size+1, min(p.size+lotOfOld, n)
				all.Go(func() error {
					lot, err := w.addOld(ctx, p, first, last, before)
					mu.Lock()
					defer mu.Unlock()
					w.old = append(w.old, lot)
					return err
				})
			}
		}
		return all.Wait()
	})
	if err != nil {
		return fmt.Errorf("old issuances: %w", err)
	}
	return nil
}

// addOld makes a lot whose codes have all been issued.
func (w *world) addOld(ctx context.Context, p *past, first, last int, before time.Time) (lot int32, err error) {
	db, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return 0, err
	}
	defer db.Close(ctx)
	return lot, pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var pool int32
		if err := tx.QueryRow(ctx, `
			WITH p AS (UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE id = $1 RETURNING pool, revision)
			INSERT INTO lots (pool, lot, size, done, revision, created_at)
			SELECT pool, nextval('lot_numbers'), $2, $2, revision, $3 FROM p RETURNING pool, lot`, p.pool, last-first+1, before).Scan(&pool, &lot); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO codes (pool, lot, seq, code)
			SELECT $1, $2::int, s, 'OLD-' || $2::int || '-' || lpad(s::text, 8, '0') FROM generate_series(0, $3::bigint - 1) s`, pool, lot, last-first+1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT $1::int, $2::int, s - $4, $6::timestamptz, $6, `+p.ids+`, 'customer-' || 1000000 + s % 1000000
			  FROM generate_series($4::bigint, $5::bigint) s WHERE $3::bigint > 0`, pool, lot, before.Add(-lifetime).UnixMilli(), first, last, before)
		return err
	})
}

// lifetime is the time in which ids of old requests were made, one a
// millisecond: enough for 80 million.
const lifetime = 24 * time.Hour

// inBulk runs f, which fills tables, while they have no keys, and makes the keys
// again: by a sort, not by a search for each row. Their indexes are then as full
// as can be.
func (w *world) inBulk(ctx context.Context, tables []string, f func() error) error {
	var keys []string // how to make them again
	for _, table := range tables {
		rows, err := w.db.Query(ctx, `SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', $1::text, conname),
			format('ALTER TABLE %I ADD CONSTRAINT %I %s', $1::text, conname, pg_get_constraintdef(oid))
			FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('p', 'u')`, table)
		if err != nil {
			return err
		}
		drops, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Drop, Add string }])
		if err != nil {
			return err
		}
		for _, k := range drops {
			if _, err := w.db.Exec(ctx, k.Drop); err != nil {
				return err
			}
			keys = append(keys, k.Add)
		}
	}
	if err := f(); err != nil {
		return err
	}
	w.say("  make the indexes")
	for _, sql := range append(append([]string{"SET maintenance_work_mem = '512MB'"}, keys...),
		// What this leaves to be done would be done during the measures.
		"VACUUM (FREEZE, ANALYZE)", "CHECKPOINT", "RESET maintenance_work_mem") {
		if _, err := w.db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
