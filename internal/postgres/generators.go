package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// generators are those that were needed of late. A generator never changes, and
// its id never means another one, so what is remembered stays right whatever
// becomes of the database.
type generators struct {
	mu    sync.Mutex
	known map[pgtype.UUID]*domain.Generator // guarded by mu
}

// mostGenerators bounds what is remembered, about a kilobyte each.
const mostGenerators = 10_000

func (g *generators) find(id pgtype.UUID) *domain.Generator {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[id]
}

func (g *generators) keep(id pgtype.UUID, made *domain.Generator) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil || len(g.known) >= mostGenerators {
		g.known = map[pgtype.UUID]*domain.Generator{}
	}
	g.known[id] = made
}

// of returns a generator of a pool; nil where id is null.
func (g *generators) of(ctx context.Context, q *db.Queries, pool int32, id pgtype.UUID) (*domain.Generator, error) {
	if !id.Valid {
		return nil, nil
	}
	if made := g.find(id); made != nil {
		return made, nil
	}
	row, err := q.GeneratorByID(ctx, db.GeneratorByIDParams{Pool: pool, Generator: id})
	if err != nil {
		return nil, fmt.Errorf("generator of pool %d: %w", pool, err)
	}
	pattern, err := domain.ParsePattern(row.Pattern, row.Alphabet)
	if err != nil {
		return nil, fmt.Errorf("generator of pool %d: %w: %w", pool, issuing.ErrCorrupt, err)
	}
	made, err := domain.NewGenerator(pattern, row.Key)
	if err != nil {
		return nil, fmt.Errorf("generator of pool %d: %w: %w", pool, issuing.ErrCorrupt, err)
	}
	g.keep(id, made)
	return made, nil
}

// lots makes runs of one lot share it.
type lots struct {
	generators *generators
	q          *db.Queries
	known      map[[2]int32]*domain.Lot
}

func (s *Store) lots(q *db.Queries) lots {
	return lots{&s.generators, q, map[[2]int32]*domain.Lot{}}
}

func (l lots) of(ctx context.Context, row db.Lot) (*domain.Lot, error) {
	key := [2]int32{row.Pool, row.Lot}
	if lot := l.known[key]; lot != nil {
		return lot, nil
	}
	lot := &domain.Lot{Pool: row.Pool, No: row.Lot, Size: row.Size, Window: windowOf(row)}
	if row.GenFrom != nil {
		lot.First = *row.GenFrom
	}
	var err error
	if lot.Generator, err = l.generators.of(ctx, l.q, row.Pool, row.Generator); err != nil {
		return nil, err
	}
	if row.Blocked > 0 {
		// Read after what the lot's runs were: who blocks a code later hands them back.
		lot.Blocked, err = l.q.BlockedOf(ctx, db.BlockedOfParams{Pool: row.Pool, Lot: row.Lot})
	}
	l.known[key] = lot
	return lot, err
}

// issued is the text of an issued code: as it is stored, else made.
func (g *generators) issued(ctx context.Context, q *db.Queries, pool int32, r db.LookUpRow) (string, error) {
	generator, err := g.of(ctx, q, pool, r.Generator)
	switch {
	case err != nil:
		return "", err
	case generator != nil:
		return generator.Codes(r.Number, 1)[0], nil
	case r.Code == "":
		return "", fmt.Errorf("lot %d of pool %d, code %d: %w: it is issued and has no text", r.Lot, pool, r.Seq, issuing.ErrCorrupt)
	}
	return r.Code, nil
}
