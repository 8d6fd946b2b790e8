package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// CreateStaff stores someone. Where the id is taken that is domain.ErrTaken, or,
// with numbered, a number is put behind it.
func (s *Store) CreateStaff(ctx context.Context, who domain.Actor, p domain.Staff, numbered bool) (domain.Staff, error) {
	if err := p.Check(); err != nil {
		return domain.Staff{}, err
	}
	var made domain.Staff
	err := s.change(ctx, crashpoint.CreateStaff, func(q *db.Queries, maybe bool) error {
		if maybe && made.ID != "" {
			if have, err := staffByID(ctx, q, made.ID); err == nil && have.Same(&made) {
				return nil
			}
		}
		id, err := takeID(ctx, q, "staff:", p.ID, numbered, q.FreeStaffNumber)
		if err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		row, err := q.CreateStaff(ctx, db.CreateStaffParams{ID: id, Name: p.Name, Email: p.Email, Active: p.Active, CreatedAt: now})
		if err != nil {
			return orAgain(err, numbered)
		}
		made = staffOf(row)
		return rememberStaff(ctx, q, made.Key, entry{now, who, domain.StaffCreated, made.Born()})
	})
	return made, err
}

// ListStaff returns at most limit of those who are asked for, in the order of
// their ids, those after the given one.
func (s *Store) ListStaff(ctx context.Context, which domain.StaffFilter, after string, limit int) ([]domain.Staff, error) {
	rows, err := s.q.StaffAfter(ctx, db.StaffAfterParams{
		After: after, Active: which.Active, Text: which.Text, Pattern: anyCase(which.Text), AtMost: int32(limit),
	})
	if err != nil {
		return nil, asked(err)
	}
	list := make([]domain.Staff, len(rows))
	for i, r := range rows {
		list[i] = staffOf(r)
	}
	return list, asked(subscriptions(ctx, s.q, list))
}

// Staff returns one, or domain.ErrNotFound.
func (s *Store) Staff(ctx context.Context, id string) (domain.Staff, error) {
	p, err := staffByID(ctx, s.q, id)
	return p, asked(err)
}

// UpdateStaff applies an edit, which may be called several times. The id stays,
// since notices tell of it.
func (s *Store) UpdateStaff(ctx context.Context, who domain.Actor, id string, edit func(domain.Staff) (domain.Staff, error)) (domain.Staff, error) {
	var done domain.Staff
	err := s.change(ctx, crashpoint.EditStaff, func(q *db.Queries, _ bool) error {
		p, err := lockStaff(ctx, q, id)
		if err != nil {
			return err
		}
		want, err := edit(p)
		if err != nil {
			return err
		}
		if err := want.Check(); err != nil {
			return err
		}
		edits := p.Edits(&want)
		if done = p; len(edits) == 0 {
			return nil
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		row, err := q.SetStaff(ctx, db.SetStaffParams{Staff: p.Key, Name: want.Name, Email: want.Email, Active: want.Active, At: now})
		if err != nil {
			return err
		}
		done = staffOf(row)
		done.Subscriptions = p.Subscriptions
		return rememberStaff(ctx, q, p.Key, entry{now, who, domain.StaffEdited, edits})
	})
	return done, err
}

// DeleteStaff removes someone and their subscriptions.
func (s *Store) DeleteStaff(ctx context.Context, who domain.Actor, id string) error {
	var key int32
	return s.change(ctx, crashpoint.DeleteStaff, func(q *db.Queries, maybe bool) error {
		p, err := lockStaff(ctx, q, id)
		switch {
		case maybe && key != 0 && (errors.Is(err, domain.ErrNotFound) || err == nil && p.Key != key):
			return nil // the COMMIT without an answer had taken place
		case err != nil:
			return err
		}
		key = p.Key
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err := q.DeleteStaff(ctx, key); err != nil {
			return err
		}
		return rememberStaff(ctx, q, key, entry{now, who, domain.StaffDeleted, p.Gone()})
	})
}

// Subscribe has someone told of a scope. Safe to repeat. domain.ErrNotFound where
// there is no such person; domain.ErrNoScope where there is no such pool or
// campaign.
func (s *Store) Subscribe(ctx context.Context, who domain.Actor, id string, to domain.Scope) (domain.Staff, error) {
	return s.subscription(ctx, who, id, to, domain.StaffSubscribed, func(q *db.Queries, p domain.Staff, pool, campaign *int32, at pgtype.Timestamptz) error {
		n, err := q.Subscribe(ctx, db.SubscribeParams{Staff: p.Key, Campaign: campaign, Pool: pool, CreatedAt: at})
		return none(n, err)
	})
}

// Unsubscribe ends that. Safe to repeat, also where the pool or the campaign is gone.
func (s *Store) Unsubscribe(ctx context.Context, who domain.Actor, id string, to domain.Scope) error {
	_, err := s.subscription(ctx, who, id, to, domain.StaffUnsubscribed, func(q *db.Queries, p domain.Staff, pool, campaign *int32, _ pgtype.Timestamptz) error {
		n, err := q.Unsubscribe(ctx, db.UnsubscribeParams{Staff: p.Key, Campaign: campaign, Pool: pool})
		return none(n, err)
	})
	if errors.Is(err, domain.ErrNoScope) {
		return nil
	}
	return err
}

// errNothing is returned by a step that found everything as it should be.
var errNothing = errors.New("nothing to do")

func none(rows int64, err error) error {
	if err == nil && rows == 0 {
		return errNothing
	}
	return err
}

// subscription changes one of someone's subscriptions by a step, and remembers it.
func (s *Store) subscription(ctx context.Context, who domain.Actor, id string, scope domain.Scope, action domain.Action,
	step func(q *db.Queries, p domain.Staff, pool, campaign *int32, at pgtype.Timestamptz) error,
) (domain.Staff, error) {
	var done domain.Staff
	err := s.change(ctx, crashpoint.Subscribe, func(q *db.Queries, _ bool) error {
		p, err := lockStaff(ctx, q, id)
		if err != nil {
			return err
		}
		pool, campaign, err := scopeKeys(ctx, q, scope)
		if err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err = step(q, p, pool, campaign, now); errors.Is(err, errNothing) {
			done = p
			return nil
		}
		if err != nil {
			return err
		}
		if done, err = staffByID(ctx, q, id); err != nil {
			return err
		}
		changes := domain.Changes{"subscription": {To: scope.String()}}
		if action == domain.StaffUnsubscribed {
			changes = domain.Changes{"subscription": {From: scope.String()}}
		}
		return rememberStaff(ctx, q, p.Key, entry{now, who, action, changes})
	})
	return done, err
}

// scopeKeys finds what a scope names.
func scopeKeys(ctx context.Context, q *db.Queries, scope domain.Scope) (pool, campaign *int32, err error) {
	switch {
	case scope.Pool != "":
		p, err := poolByID(ctx, q, scope.Pool)
		pool = &p.Key
		if errors.Is(err, pgx.ErrNoRows) {
			err = fmt.Errorf("%w: %s", domain.ErrNoScope, scope)
		}
		return pool, nil, err
	case scope.Campaign != "":
		c, err := q.CampaignByID(ctx, scope.Campaign)
		campaign = &c.Campaign
		if errors.Is(err, pgx.ErrNoRows) {
			err = fmt.Errorf("%w: %s", domain.ErrNoScope, scope)
		}
		return nil, campaign, err
	}
	return nil, nil, nil
}

// rememberStaff tells the history of a change, and the watcher that someone may
// have to be told of what others know.
func rememberStaff(ctx context.Context, q *db.Queries, key int32, e entry) error {
	params, err := historyParams(e)
	if err != nil {
		return err
	}
	params.Staff = &key
	if err := q.AddHistory(ctx, params); err != nil {
		return err
	}
	return q.MoveStaffNo(ctx)
}

// StaffHistory returns at most limit entries of someone that fit, with numbers
// below the given one, the newest first.
func (s *Store) StaffHistory(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error) {
	p, err := s.q.StaffByID(ctx, id)
	if err != nil {
		return nil, asked(err)
	}
	rows, err := s.q.StaffHistory(ctx, db.StaffHistoryParams{
		Staff: p.Staff, Below: below, Actor: string(which.Actor), Action: string(which.Action), Field: which.Field, AtMost: int32(limit),
	})
	if err != nil {
		return nil, asked(err)
	}
	entries := make([]domain.Entry, len(rows))
	for i, r := range rows {
		if entries[i], err = entryOf(db.PoolHistoryRow(r)); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// lockStaff locks someone's row and then reads it.
func lockStaff(ctx context.Context, q *db.Queries, id string) (domain.Staff, error) {
	if err := q.LockStaff(ctx, id); err != nil {
		return domain.Staff{}, err
	}
	p, err := staffByID(ctx, q, id)
	return p, orNotFound(err)
}

func staffByID(ctx context.Context, q *db.Queries, id string) (domain.Staff, error) {
	row, err := q.StaffByID(ctx, id)
	if err != nil {
		return domain.Staff{}, err
	}
	list := []domain.Staff{staffOf(row)}
	err = subscriptions(ctx, q, list)
	return list[0], err
}

// subscriptions reads what they subscribe to.
func subscriptions(ctx context.Context, q *db.Queries, list []domain.Staff) error {
	at, keys := map[int32]int{}, make([]int32, len(list))
	for i := range list {
		at[list[i].Key], keys[i] = i, list[i].Key
	}
	rows, err := q.SubscriptionsOf(ctx, keys)
	if err != nil {
		return err
	}
	for _, r := range rows {
		scope, err := domain.ParseScope(r.Scope)
		if err != nil {
			return fmt.Errorf("subscription %q: %w", r.Scope, err)
		}
		p := &list[at[r.Staff]]
		p.Subscriptions = append(p.Subscriptions, scope)
	}
	return nil
}

func staffOf(r db.Staff) domain.Staff {
	return domain.Staff{Key: r.Staff, ID: r.ID, Name: r.Name, Email: r.Email, Active: r.Active, CreatedAt: fromStamp(r.CreatedAt)}
}
