package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// Generate adds codes to a pool's stock, however many in the same time, and
// returns the task that tells of it. Repeated with the same key it returns the
// same task. domain.ErrNotFound, domain.ErrState where the pool is archived,
// domain.ErrUploaded, domain.ErrGuessable, domain.ErrPatternMeets,
// domain.ErrKeyReused; an *domain.Invalid names the field.
func (s *Store) Generate(ctx context.Context, who domain.Actor, poolID string, g domain.Generation) (domain.Import, error) {
	if g.Key == "" {
		g.Key = rand.Text() // a COMMIT without an answer is found by it
	}
	var done domain.Import
	err := s.change(ctx, crashpoint.Generate, func(q *db.Queries, _ bool) error {
		var task int64
		p, err := lockPool(ctx, q, poolID, 0)
		if err != nil {
			return err
		}
		made, err := q.GenerationByKey(ctx, db.GenerationByKeyParams{Pool: p.Key, IdempotencyKey: g.Key})
		switch {
		case err == nil:
			task, err = made.Task, sameGeneration(g, made)
		case errors.Is(err, pgx.ErrNoRows):
			task, err = generate(ctx, q, who, p, g, domain.FromGeneration)
		}
		if err != nil {
			return err
		}
		row, err := q.ImportByTask(ctx, task)
		if err != nil {
			return err
		}
		done, err = importOf(row)
		return err
	})
	return done, err
}

// sameGeneration refuses a key that was used for something else.
func sameGeneration(g domain.Generation, made db.GenerationByKeyRow) error {
	before, err := domain.ParsePattern(made.Pattern, made.Alphabet)
	if err != nil {
		return err
	}
	if !before.Same(g.Pattern) || made.Added != g.Count || windowOf(made.Lot) != storedWindow(g.Window) {
		return domain.ErrKeyReused
	}
	return nil
}

// storedWindow is the window as the database keeps it: UTC, microseconds.
func storedWindow(w domain.Window) domain.Window {
	for _, t := range []*time.Time{&w.IssueStart, &w.IssueEnd, &w.AvailableFrom, &w.AvailableTill} {
		if !t.IsZero() {
			*t = t.UTC().Truncate(time.Microsecond)
		}
	}
	return w
}

// generate makes the codes of a locked pool.
func generate(ctx context.Context, q *db.Queries, who domain.Actor, p domain.Pool, g domain.Generation, kind domain.ImportKind) (int64, error) {
	if p.State == domain.Archived {
		return 0, fmt.Errorf("%w: an archived pool takes no codes", domain.ErrState)
	}
	now, err := q.Now(ctx)
	if err != nil {
		return 0, err
	}
	if err := g.Check(fromStamp(now)); err != nil {
		return 0, err
	}
	uploaded, err := q.IsUploaded(ctx, p.Key)
	if err != nil {
		return 0, err
	}
	if uploaded {
		return 0, domain.ErrUploaded
	}
	all, err := generatorsOf(ctx, q, p.Key)
	if err != nil {
		return 0, err
	}
	room := domain.RoomFor(g.Pattern, all.made)
	if err := room.Check(g.Count, g.MaxGuessOdds); err != nil {
		return 0, err
	}
	params := db.GenerateLotParams{
		Pool: p.Key, Pattern: g.Pattern.String(), Alphabet: g.Pattern.Alphabet(), GenFrom: room.Made, Count: g.Count,
		IssueStart: stamp(g.Window.IssueStart), IssueEnd: stamp(g.Window.IssueEnd),
		AvailableFrom: stamp(g.Window.AvailableFrom), AvailableTill: stamp(g.Window.AvailableTill), Kind: string(kind),
		Actor: string(cmp.Or(who, domain.Anonymous)),
	}
	if g.Key != "" {
		params.IdempotencyKey = &g.Key
	}
	if at := all.of(g.Pattern); at >= 0 {
		// Its row stays; key, pattern and alphabet are for a new one.
		params.Generator = all.ids[at]
		params.Key = make([]byte, domain.GeneratorKeySize)
	} else {
		params.Generator, params.Key = newGenerator()
	}
	task, err := q.GenerateLot(ctx, params)
	if err != nil {
		return 0, err
	}
	after, err := poolByID(ctx, q, p.ID)
	if err != nil {
		return 0, err
	}
	return task, rememberPool(ctx, q, after, entry{now, domain.Actor(params.Actor), domain.PoolGenerated, domain.Changes{
		"task": {To: task}, "count": {To: g.Count}, "pattern": {To: params.Pattern}, "alphabet": {To: params.Alphabet},
	}})
}

// newGenerator is an id and a key that nobody else has.
func newGenerator() (id pgtype.UUID, key []byte) {
	id.Valid = true
	_, _ = rand.Read(id.Bytes[:]) // never fails
	key = make([]byte, domain.GeneratorKeySize)
	_, _ = rand.Read(key)
	return id, key
}

// poolGenerators are those of a pool.
type poolGenerators struct {
	ids  []pgtype.UUID
	made []domain.Made
}

func generatorsOf(ctx context.Context, q *db.Queries, pool int32) (poolGenerators, error) {
	var all poolGenerators
	rows, err := q.GeneratorsOf(ctx, pool)
	if err != nil {
		return all, err
	}
	for _, r := range rows {
		pattern, err := domain.ParsePattern(r.Pattern, r.Alphabet)
		if err != nil {
			return all, fmt.Errorf("generator of pool %d: %w", pool, err)
		}
		all.ids = append(all.ids, r.Generator)
		all.made = append(all.made, domain.Made{Pattern: pattern, Count: r.Made})
	}
	return all, nil
}

// of is the place of the generator of a pattern; -1: there is none.
func (g poolGenerators) of(p *domain.Pattern) int {
	return slices.IndexFunc(g.made, func(m domain.Made) bool { return m.Pattern.Same(p) })
}

// samples is how many texts show what a pattern spells.
const samples = 3

// Space tells what room a pattern has in a pool, with texts of it that are no
// codes there, and domain.ErrUploaded or domain.ErrState as refused where the
// pool takes no generated codes.
func (s *Store) Space(ctx context.Context, poolID string, p *domain.Pattern) (room domain.Room, texts []string, refused, err error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return room, nil, nil, err
	}
	all, err := generatorsOf(ctx, s.q, pool.Key)
	if err != nil {
		return room, nil, nil, asked(err)
	}
	room = domain.RoomFor(p, all.made)
	uploaded, err := s.q.IsUploaded(ctx, pool.Key)
	switch {
	case err != nil:
		return room, nil, nil, asked(err)
	case pool.State == domain.Archived:
		return room, nil, fmt.Errorf("%w: an archived pool takes no codes", domain.ErrState), nil
	case uploaded:
		return room, nil, domain.ErrUploaded, nil
	}
	var generator *domain.Generator
	if at := all.of(p); at >= 0 {
		if generator, err = s.generators.of(ctx, s.q, pool.Key, all.ids[at]); err != nil {
			return room, nil, nil, asked(err)
		}
	}
	return room, room.Sample(generator, samples, randomBelow), nil, nil
}

func randomBelow(limit *big.Int) *big.Int {
	n, _ := rand.Int(rand.Reader, limit) // never fails
	return n
}

// Replenished is what became of a pool that had too few codes left.
type Replenished struct {
	PoolID  string
	Task    int64  // 0: none were made
	Count   int64  // made
	Stopped string // why none were made, nor will be
}

// Replenish has codes generated in every pool that is set so and has too few
// left. However many processes ask, a shortage is answered once.
func (s *Store) Replenish(ctx context.Context) ([]Replenished, error) {
	ids, err := s.q.PoolsToReplenish(ctx)
	if err != nil {
		return nil, asked(err)
	}
	var done []Replenished
	var failed error // one pool's trouble is not another's
	for _, id := range ids {
		r, err := s.replenish(ctx, id)
		switch {
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("pool %s: %w", id, err))
		case r.Task != 0 || r.Stopped != "":
			done = append(done, r)
		}
	}
	return done, failed
}

func (s *Store) replenish(ctx context.Context, id string) (Replenished, error) {
	var done Replenished
	err := s.change(ctx, crashpoint.Replenish, func(q *db.Queries, _ bool) error {
		done = Replenished{PoolID: id}
		p, err := lockPool(ctx, q, id, 0)
		if errors.Is(err, domain.ErrNotFound) {
			return nil // it was renamed or deleted meanwhile
		}
		if err != nil || p.Replenish == nil || p.Replenish.Stopped != "" || p.State == domain.Archived {
			return err
		}
		// Under the lock, so that nobody else finds the same shortage. After a COMMIT
		// without an answer there is none any more, or it was not made.
		due, err := q.ReplenishmentDue(ctx, db.ReplenishmentDueParams{Pool: p.Key, Below: p.Replenish.Below})
		if err != nil || !due {
			return err
		}
		g, err := p.Replenish.Generation()
		if err == nil {
			done.Task, err = generate(ctx, q, domain.Ourselves, p, g, domain.FromReplenishment)
		}
		if impossible(err) {
			done.Stopped = err.Error()
			return q.StopReplenishment(ctx, db.StopReplenishmentParams{Pool: p.Key, Stopped: done.Stopped})
		}
		done.Count = g.Count
		return err
	})
	return done, err
}

// impossible reports whether trying again will not help.
func impossible(err error) bool {
	return errors.As(err, new(*domain.Invalid)) || errors.Is(err, domain.ErrUploaded)
}

// setReplenish stores the setting of a locked pool, if it could work.
func setReplenish(ctx context.Context, q *db.Queries, pool int32, r *domain.Replenish) error {
	if r == nil {
		return q.DropReplenishment(ctx, pool)
	}
	refuse := func(detail string) error {
		return &domain.Invalid{Problems: []domain.Problem{{Field: "replenish", Detail: detail}}}
	}
	g, err := r.Generation()
	if err != nil {
		return refuse(err.Error())
	}
	uploaded, err := q.IsUploaded(ctx, pool)
	if err != nil {
		return err
	}
	if uploaded {
		return refuse(domain.ErrUploaded.Error())
	}
	all, err := generatorsOf(ctx, q, pool)
	if err != nil {
		return err
	}
	if err := domain.RoomFor(g.Pattern, all.made).Check(g.Count, g.MaxGuessOdds); err != nil {
		return refuse(err.Error())
	}
	return q.SetReplenishment(ctx, db.SetReplenishmentParams{
		Pool: pool, Below: r.Below, Count: r.Count, Pattern: g.Pattern.String(), Alphabet: g.Pattern.Alphabet(), MaxGuessOdds: r.MaxGuessOdds,
	})
}

func replenishOf(stored []byte) (*domain.Replenish, error) {
	if stored == nil {
		return nil, nil
	}
	var r domain.Replenish
	if err := json.Unmarshal(stored, &r); err != nil {
		return nil, fmt.Errorf("replenishment of a pool: %w", err)
	}
	return &r, nil
}

// sameReplenish: one that has stopped differs from the same set anew.
func sameReplenish(a, b *domain.Replenish) bool {
	return a == b || a != nil && b != nil && *a == *b
}
