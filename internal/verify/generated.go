package verify

import (
	"context"
	"crypto/md5"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
)

// loadGenerated makes the texts of issued codes that are stored nowhere, each
// from its number and the key of its pattern. It reads beside the snapshot, after
// it: issuances only come in addition, and these say nothing new of others.
func (a *audit) loadGenerated(ctx context.Context) error {
	_, err := a.load(ctx, "audit_generated", func(ctx context.Context, newRows func() *rows) error {
		generators, err := a.generators(ctx)
		if err != nil {
			return err
		}
		res, err := a.aside.Query(ctx, //nolint:rowserrcheck // ForEachRow does
			`SELECT i.pool, i.lot, i.seq, l.generator, l.gen_from + i.seq % l.size
			FROM issuances i JOIN lots l ON l.pool = i.pool AND l.lot = i.lot WHERE l.generator IS NOT NULL
			UNION ALL
			SELECT r.pool, r.lot, r.seq, l.generator, l.gen_from + r.seq % l.size
			FROM (SELECT DISTINCT pool, lot, seq FROM redemptions WHERE reason = 0 AND lot IS NOT NULL) r
			JOIN lots l ON l.pool = r.pool AND l.lot = r.lot AND l.generator IS NOT NULL
			WHERE NOT EXISTS (SELECT FROM issuances i WHERE i.pool = r.pool AND i.lot = r.lot AND i.seq = r.seq)`)
		if err != nil {
			return err
		}
		w := newRows()
		var pool, lot int
		var seq, number int64
		var id [16]byte
		if _, err := pgx.ForEachRow(res, []any{&pool, &lot, &seq, &id, &number}, func() error {
			w.begin(4).int32(pool).int32(lot).int64(seq)
			if g := generators[id]; g != nil && g.Pattern().Holds(number+1) {
				w.uuid(md5.Sum([]byte(g.Codes(number, 1)[0])))
			} else {
				w.null()
			}
			return w.done()
		}); err != nil {
			return err
		}
		return w.flush()
	})
	return err
}

// generators are those that can be read.
func (a *audit) generators(ctx context.Context) (map[[16]byte]*domain.Generator, error) {
	all := map[[16]byte]*domain.Generator{}
	res, err := a.aside.Query(ctx, "SELECT generator, pattern, alphabet, key FROM generators") //nolint:rowserrcheck // ForEachRow does
	if err != nil {
		return nil, err
	}
	var id [16]byte
	var text, alphabet string
	var key []byte
	_, err = pgx.ForEachRow(res, []any{&id, &text, &alphabet, &key}, func() error {
		if p, err := domain.ParsePattern(text, alphabet); err == nil {
			if g, err := domain.NewGenerator(p, key); err == nil {
				all[id] = g
			}
		}
		return nil
	})
	return all, err
}
