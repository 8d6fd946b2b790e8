package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// entry is what is remembered of a change, beside what it was made to.
type entry struct {
	at      pgtype.Timestamptz
	who     domain.Actor
	action  domain.Action
	changes domain.Changes
}

// rememberPool tells the history of a change of a pool, which is given as it is
// after it. It belongs into the transaction that makes the change and holds the
// pool's lock.
func rememberPool(ctx context.Context, q *db.Queries, p domain.Pool, e entry) error {
	params, err := historyParams(e)
	if err != nil {
		return err
	}
	params.Pool, params.Version, params.Revision = &p.Key, p.Version, p.Revision
	return q.AddHistory(ctx, params)
}

// rememberCampaign does the same for a campaign.
func rememberCampaign(ctx context.Context, q *db.Queries, c db.Campaign, e entry) error {
	params, err := historyParams(e)
	if err != nil {
		return err
	}
	params.Campaign = &c.Campaign
	return q.AddHistory(ctx, params)
}

func historyParams(e entry) (db.AddHistoryParams, error) {
	changes, err := json.Marshal(e.changes)
	return db.AddHistoryParams{At: e.at, Actor: string(e.who), Action: string(e.action), Changes: changes}, err
}

// PoolHistory returns at most limit entries of a pool that fit, with numbers
// below the given one, the newest first.
func (s *Store) PoolHistory(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error) {
	p, err := s.Pool(ctx, id)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.PoolHistory(ctx, db.PoolHistoryParams{
		Pool: p.Key, Below: below, Actor: string(which.Actor), Action: string(which.Action), Field: which.Field, AtMost: int32(limit),
	})
	if err != nil {
		return nil, asked(err)
	}
	entries := make([]domain.Entry, len(rows))
	for i, r := range rows {
		if entries[i], err = entryOf(r); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// CampaignHistory returns the same of a campaign, without that of its pools.
func (s *Store) CampaignHistory(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error) {
	c, err := s.q.CampaignByID(ctx, id)
	if err != nil {
		return nil, asked(err)
	}
	rows, err := s.q.CampaignHistory(ctx, db.CampaignHistoryParams{
		Campaign: c.Campaign, Below: below, Actor: string(which.Actor), Action: string(which.Action), Field: which.Field, AtMost: int32(limit),
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

func entryOf(r db.PoolHistoryRow) (domain.Entry, error) {
	e := domain.Entry{
		No: r.Entry, At: fromStamp(r.At), Actor: domain.Actor(r.Actor), Action: domain.Action(r.Action),
		Version: r.Version, Revision: r.Revision,
	}
	changes := json.NewDecoder(bytes.NewReader(r.Changes))
	changes.UseNumber() // a threshold may be larger than what a float64 holds
	if err := changes.Decode(&e.Changes); err != nil {
		return domain.Entry{}, fmt.Errorf("entry %d of the history: %w", r.Entry, err)
	}
	return e, nil
}
