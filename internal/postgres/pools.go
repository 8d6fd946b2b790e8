package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// CreatePool stores a draft. Where its id is taken that is domain.ErrTaken, or,
// with numbered, a number is put behind it.
func (s *Store) CreatePool(ctx context.Context, who domain.Actor, p domain.Pool, numbered bool) (domain.Pool, error) {
	if err := p.Check(); err != nil {
		return domain.Pool{}, err
	}
	var made domain.Pool
	err := s.change(ctx, crashpoint.CreatePool, func(q *db.Queries, maybe bool) error {
		if maybe && isStored(ctx, q, made) {
			return nil
		}
		id, err := takeID(ctx, q, "pool:", p.ID, numbered, q.FreePoolNumber)
		if err != nil {
			return err
		}
		campaign, err := holdCampaign(ctx, q, p.CampaignID)
		if err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err := q.CreatePool(ctx, db.CreatePoolParams{
			ID: id, Campaign: campaign, Name: p.Name, Description: p.Description,
			ParameterName: p.ParameterName, NotifyBelow: p.NotifyBelow, Notify: p.Notify,
			MultiUse: p.MultiUse, CheckIssued: p.CheckIssued, Validity: validityText(p),
			Processing: string(p.Processing), IssueStart: stamp(p.IssueStart), IssueEnd: stamp(p.IssueEnd),
			RedemptionLimit: p.RedemptionLimit, RedemptionLimitPerCustomer: p.RedemptionLimitPerCustomer, CreatedAt: now,
		}); err != nil {
			return orAgain(err, numbered)
		}
		if made, err = poolByID(ctx, q, id); err != nil {
			return err
		}
		if p.Replenish != nil {
			if err := setReplenish(ctx, q, made.Key, p.Replenish); err != nil {
				return err
			}
			if made, err = poolByID(ctx, q, id); err != nil {
				return err
			}
		}
		return rememberPool(ctx, q, made, entry{now, who, domain.PoolCreated, made.Born()})
	})
	return made, err
}

// isStored reports whether the pool is stored exactly so.
func isStored(ctx context.Context, q *db.Queries, want domain.Pool) bool {
	have, err := poolByID(ctx, q, want.ID)
	return err == nil && have.Key == want.Key && have.Version == want.Version && len(have.Edits(&want)) == 0
}

// holdCampaign finds a campaign and keeps it from being deleted meanwhile.
func holdCampaign(ctx context.Context, q *db.Queries, id string) (int32, error) {
	campaign, err := q.HoldCampaign(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, &domain.Invalid{Problems: []domain.Problem{{Field: "campaign_id", Detail: "there is no such campaign: create it first"}}}
	}
	return campaign, err
}

// ListPools returns at most limit of the pools that are asked for, in the order
// of their ids, those after the given one.
func (s *Store) ListPools(ctx context.Context, which domain.PoolFilter, after string, limit int) ([]domain.Pool, error) {
	rows, err := s.q.PoolsAfter(ctx, db.PoolsAfterParams{
		After: after, Campaign: which.CampaignID, State: string(which.State),
		Text: which.Text, Pattern: anyCase(which.Text), AtMost: int32(limit),
	})
	if err != nil {
		return nil, asked(err)
	}
	list := make([]domain.Pool, len(rows))
	for i, r := range rows {
		if list[i], err = poolOf(r.Pool, r.CampaignID); err != nil {
			return nil, err
		}
		if list[i].Replenish, err = replenishOf(r.Replenish); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Pool returns one pool, or domain.ErrNotFound.
func (s *Store) Pool(ctx context.Context, id string) (domain.Pool, error) {
	p, err := poolByID(ctx, s.q, id)
	return p, asked(err)
}

// UpdatePool applies an edit to a pool, which may be called several times. From
// its return on redemptions are judged by the new settings. A
// version other than 0 must be the pool's, else that is domain.ErrStale. An
// edit that changes nothing leaves the version alone.
func (s *Store) UpdatePool(ctx context.Context, who domain.Actor, id string, version int64, edit func(domain.Pool) (domain.Pool, error)) (domain.Pool, error) {
	names := []string{"pool:" + id} // and the new one, when the edit is seen to change it
	var done domain.Pool
	var crossed []domain.Crossing
	err := s.change(ctx, crashpoint.EditPool, func(q *db.Queries, maybe bool) error {
		if maybe && isStored(ctx, q, done) {
			return nil
		}
		if err := q.TakeNames(ctx, names); err != nil {
			return err
		}
		p, err := lockPool(ctx, q, id, version)
		if err != nil {
			return err
		}
		want, err := edit(p)
		if err != nil {
			return err
		}
		if err := p.CheckEdit(want); err != nil {
			return err
		}
		if want.ID != p.ID && !slices.Contains(names, "pool:"+want.ID) {
			names = []string{"pool:" + p.ID, "pool:" + want.ID}
			return errAgain // names come before pools
		}
		edits := p.Edits(&want)
		if len(edits) == 0 {
			done = p
			return nil
		}
		if done, err = setPool(ctx, q, p, want); err != nil {
			return err
		}
		// After setPool, which waits for the batches in flight: none of them issues
		// by the old settings later than this.
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err := rememberPool(ctx, q, done, entry{now, who, domain.PoolEdited, edits}); err != nil || !p.Recounts(&done) {
			return err
		}
		judged, events, err := s.judge(ctx, q, done.Key)
		if err != nil {
			return err
		}
		crossed = judged.Crossed
		return addEvents(ctx, q, events...)
	})
	if err == nil {
		s.crossings.count(crossed)
	}
	return done, err
}

// setPool stores the new settings of a locked pool. What buffers in memory rely
// on takes the buffers back.
func setPool(ctx context.Context, q *db.Queries, p, want domain.Pool) (domain.Pool, error) {
	campaign, err := holdCampaign(ctx, q, want.CampaignID)
	if err != nil {
		return domain.Pool{}, err
	}
	if err := q.SetPool(ctx, db.SetPoolParams{
		Pool: p.Key, ID: want.ID, Campaign: campaign, Name: want.Name, Description: want.Description,
		ParameterName: want.ParameterName, NotifyBelow: want.NotifyBelow, Notify: want.Notify,
		MultiUse: want.MultiUse, CheckIssued: want.CheckIssued, Validity: validityText(want),
		Processing: string(want.Processing), IssueStart: stamp(want.IssueStart), IssueEnd: stamp(want.IssueEnd),
		RedemptionLimit: want.RedemptionLimit, RedemptionLimitPerCustomer: want.RedemptionLimitPerCustomer,
	}); err != nil {
		return domain.Pool{}, err
	}
	if !sameReplenish(p.Replenish, want.Replenish) {
		if err := setReplenish(ctx, q, p.Key, want.Replenish); err != nil {
			return domain.Pool{}, err
		}
	}
	switch {
	case p.MultiUse != want.MultiUse: // a draft: nothing is held or issued
		err = q.SetRunsUse(ctx, db.SetRunsUseParams{Pool: p.Key, MultiUse: want.MultiUse})
	case p.State == domain.Active && p.Revokes(&want):
		err = q.HandBackAll(ctx, p.Key)
	}
	if err != nil {
		return domain.Pool{}, err
	}
	return poolByID(ctx, q, want.ID)
}

// LaunchPool makes a draft active. Settings that stand in its way come as
// domain.ErrNotLaunchable with a *domain.Invalid. Launching an active pool
// changes nothing, so that a launch whose answer was lost can be repeated.
func (s *Store) LaunchPool(ctx context.Context, who domain.Actor, id string, version int64) (domain.Pool, error) {
	return s.move(ctx, id, version, domain.Active, func(q *db.Queries, p domain.Pool) (entry, error) {
		if err := p.CheckLaunch(); err != nil {
			return entry{}, fmt.Errorf("%w: %w", domain.ErrNotLaunchable, err)
		}
		now, err := q.Now(ctx)
		if err != nil {
			return entry{}, err
		}
		return entry{at: now, who: who, action: domain.PoolLaunched}, q.LaunchPool(ctx, db.LaunchPoolParams{Pool: p.Key, At: now})
	})
}

// ArchivePool ends an active pool: from its return on nothing is issued from
// it, since no partition holds codes of it any more. Archiving an archived pool
// changes nothing.
func (s *Store) ArchivePool(ctx context.Context, who domain.Actor, id string, version int64) (domain.Pool, error) {
	return s.move(ctx, id, version, domain.Archived, func(q *db.Queries, p domain.Pool) (entry, error) {
		// This waits for the batches in flight, hence the clock after it: none of
		// them issues later than the pool is archived.
		if err := q.HandBackAll(ctx, p.Key); err != nil {
			return entry{}, err
		}
		if err := q.HoldWatch(ctx, p.Key); err != nil {
			return entry{}, err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return entry{}, err
		}
		return entry{at: now, who: who, action: domain.PoolArchived}, q.ArchivePool(ctx, db.ArchivePoolParams{Pool: p.Key, At: now})
	})
}

// before is the state that a pool must be in to reach another.
var before = map[domain.State]domain.State{domain.Active: domain.Draft, domain.Archived: domain.Active}

// move brings a pool into a state, by a step that runs under the locks of its
// name and its row and says what to remember of it.
func (s *Store) move(ctx context.Context, id string, version int64, to domain.State, step func(*db.Queries, domain.Pool) (entry, error)) (domain.Pool, error) {
	var done domain.Pool
	var crossed []domain.Crossing
	err := s.change(ctx, crashpoint.MovePool, func(q *db.Queries, _ bool) error {
		if err := q.TakeNames(ctx, []string{"pool:" + id}); err != nil {
			return err
		}
		p, err := lockPool(ctx, q, id, 0)
		if err != nil {
			return err
		}
		switch {
		case p.State == to:
			done = p
			return nil
		case p.State != before[to]:
			return domain.ErrState
		case version != 0 && p.Version != version:
			return domain.ErrStale
		}
		e, err := step(q, p)
		if err != nil {
			return err
		}
		if done, err = poolByID(ctx, q, id); err != nil {
			return err
		}
		e.changes = p.Moved(&done)
		if err := rememberPool(ctx, q, done, e); err != nil {
			return err
		}
		if to == domain.Archived {
			return addEvents(ctx, q, domain.ArchivedEvent(&done))
		}
		judged, events, err := s.judge(ctx, q, done.Key) // it may be launched with too few codes
		if err != nil {
			return err
		}
		crossed = judged.Crossed
		return addEvents(ctx, q, append([]domain.Event{domain.LaunchedEvent(&done)}, events...)...)
	})
	if err == nil {
		s.crossings.count(crossed)
	}
	return done, err
}

// codesAtOnce bounds a transaction that removes codes; a long one would hold
// back the cleaning of every table.
const codesAtOnce = 50_000

// DeletePool removes a draft with its lots, its codes and the files that they
// came in. The pool is gone with the first commit; the rest follows in pieces,
// and what a crash leaves of it harms nobody and goes with the next
// DeleteOrphans and SweepImports.
func (s *Store) DeletePool(ctx context.Context, who domain.Actor, id string, version int64) error {
	var key int32
	err := s.change(ctx, crashpoint.DeletePool, func(q *db.Queries, maybe bool) error {
		if err := q.TakeNames(ctx, []string{"pool:" + id}); err != nil {
			return err
		}
		p, err := lockPool(ctx, q, id, version)
		switch {
		case maybe && key != 0 && (errors.Is(err, domain.ErrNotFound) || err == nil && p.Key != key):
			return nil // the COMMIT without an answer had taken place
		case err != nil:
			return err
		case p.State != domain.Draft:
			return domain.ErrState
		}
		key = p.Key
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err := q.DeletePool(ctx, key); err != nil {
			return err
		}
		return rememberPool(ctx, q, p, entry{now, who, domain.PoolDeleted, p.Gone()})
	})
	if err != nil {
		return err
	}
	// The pool is gone whatever becomes of these.
	_ = s.dropFilesOf(ctx, key)
	_ = s.deleteCodes(ctx, key)
	return nil
}

// DeleteOrphans removes codes whose pool is gone.
func (s *Store) DeleteOrphans(ctx context.Context) error {
	pools, err := s.q.CodesWithoutPool(ctx)
	if err != nil {
		return asked(err)
	}
	for _, p := range pools {
		if err := s.deleteCodes(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) deleteCodes(ctx context.Context, pool int32) error {
	return inPieces(codesAtOnce, func() (int64, error) {
		return answered(ctx, s.conns, crashpoint.DeleteCodes, func(ctx context.Context, q *db.Queries) (int64, error) {
			return q.DeleteCodes(ctx, db.DeleteCodesParams{Pool: pool, AtMost: codesAtOnce})
		})
	})
}

// inPieces repeats a transaction that removes at most so many rows until one has
// found fewer.
func inPieces(atMost int64, drop func() (int64, error)) error {
	for {
		n, err := drop()
		if err != nil || n < atMost {
			return asked(err)
		}
	}
}

// lockPool locks a pool and then reads it: what is read together with a lock
// may be older than the wait for it.
func lockPool(ctx context.Context, q *db.Queries, id string, version int64) (domain.Pool, error) {
	if _, err := q.LockPool(ctx, id); err != nil {
		return domain.Pool{}, orNotFound(err)
	}
	p, err := poolByID(ctx, q, id)
	if err == nil && version != 0 && p.Version != version {
		return domain.Pool{}, domain.ErrStale
	}
	return p, orNotFound(err)
}

func orNotFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return domain.ErrNotFound
	}
	return err
}

func poolByID(ctx context.Context, q *db.Queries, id string) (domain.Pool, error) {
	row, err := q.PoolByID(ctx, id)
	if err != nil {
		return domain.Pool{}, err
	}
	p, err := poolOf(row.Pool, row.CampaignID)
	if err != nil {
		return domain.Pool{}, err
	}
	p.Replenish, err = replenishOf(row.Replenish)
	return p, err
}

func poolOf(r db.Pool, campaignID string) (domain.Pool, error) {
	p := domain.Pool{
		Key: r.Pool, ID: r.ID, CampaignID: campaignID,
		Name: r.Name, Description: r.Description, ParameterName: r.ParameterName,
		NotifyBelow: r.NotifyBelow, Notify: r.Notify, MultiUse: r.MultiUse, CheckIssued: r.CheckIssued,
		Processing: domain.Processing(r.Processing), IssueStart: fromStamp(r.IssueStart), IssueEnd: fromStamp(r.IssueEnd), State: domain.State(r.State), Mode: domain.Mode(r.Mode),
		RedemptionLimit: r.RedemptionLimit, RedemptionLimitPerCustomer: r.RedemptionLimitPerCustomer,
		Revision: r.Revision, Version: r.Version,
		CreatedAt: fromStamp(r.CreatedAt), LaunchedAt: fromStamp(r.LaunchedAt), ArchivedAt: fromStamp(r.ArchivedAt),
	}
	if r.Validity != nil {
		var err error
		if p.Validity, err = domain.ParsePeriod(*r.Validity); err != nil {
			return domain.Pool{}, fmt.Errorf("validity of pool %s: %w", r.ID, err)
		}
	}
	return p, nil
}

func validityText(p domain.Pool) *string {
	if p.Validity.IsZero() {
		return nil
	}
	text := p.Validity.String()
	return &text
}

// fromStamp brings a time of the database into UTC; null is zero.
func fromStamp(t pgtype.Timestamptz) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}
