package postgres

import (
	"context"
	"errors"
	"strconv"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// CreateCampaign stores a campaign. Where its id is taken that is
// domain.ErrTaken, or, with numbered, a number is put behind it.
func (s *Store) CreateCampaign(ctx context.Context, c domain.Campaign, numbered bool) (domain.Campaign, error) {
	if err := c.Check(); err != nil {
		return domain.Campaign{}, err
	}
	var made domain.Campaign
	err := s.change(ctx, func(q *db.Queries, maybe bool) error {
		if maybe && made.ID != "" {
			if row, err := q.CampaignByID(ctx, made.ID); err == nil && campaignOf(row) == made {
				return nil
			}
		}
		id, err := takeID(ctx, q, "campaign:", c.ID, numbered, q.FreeCampaignNumber)
		if err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		row, err := q.CreateCampaign(ctx, db.CreateCampaignParams{ID: id, Name: c.Name, CreatedAt: now})
		if err != nil {
			return orAgain(err, numbered)
		}
		made = campaignOf(row)
		return nil
	})
	return made, err
}

// takeID locks the id that something new is to have. free tells the first
// number that makes a free id of a base.
func takeID(ctx context.Context, q *db.Queries, kind, base string, numbered bool, free func(context.Context, string) (int32, error)) (string, error) {
	if err := q.TakeNames(ctx, []string{kind + base}); err != nil || !numbered {
		return base, err
	}
	n, err := free(ctx, base)
	if err != nil || n == 1 {
		return base, err
	}
	id := base + "-" + strconv.Itoa(int(n))
	return id, q.TakeNames(ctx, []string{kind + id})
}

// orAgain makes an id that was taken meanwhile a reason to try the next number.
func orAgain(err error, numbered bool) error {
	if numbered && errors.Is(meaning(err), domain.ErrTaken) {
		return errAgain
	}
	return err
}

// ListCampaigns returns at most limit campaigns in the order of their ids, those
// after the given one.
func (s *Store) ListCampaigns(ctx context.Context, after string, limit int) ([]domain.Campaign, error) {
	rows, err := s.q.CampaignsAfter(ctx, db.CampaignsAfterParams{After: after, AtMost: int32(limit)})
	if err != nil {
		return nil, asked(err)
	}
	list := make([]domain.Campaign, len(rows))
	for i, r := range rows {
		list[i] = campaignOf(r)
	}
	return list, nil
}

// Campaign returns one campaign, or domain.ErrNotFound.
func (s *Store) Campaign(ctx context.Context, id string) (domain.Campaign, error) {
	row, err := s.q.CampaignByID(ctx, id)
	return campaignOf(row), asked(err)
}

// RenameCampaign gives a campaign another name; its id stays, since events tell
// of it. Safe to repeat.
func (s *Store) RenameCampaign(ctx context.Context, id, name string) (domain.Campaign, error) {
	if err := (domain.Campaign{ID: id, Name: name}).Check(); err != nil {
		return domain.Campaign{}, err
	}
	var c domain.Campaign
	err := s.change(ctx, func(q *db.Queries, _ bool) error {
		row, err := q.RenameCampaign(ctx, db.RenameCampaignParams{ID: id, Name: name})
		c = campaignOf(row)
		return orNotFound(err)
	})
	return c, err
}

// DeleteCampaign removes a campaign that has no pools; with pools it is
// domain.ErrInUse.
func (s *Store) DeleteCampaign(ctx context.Context, id string) error {
	return s.change(ctx, func(q *db.Queries, maybe bool) error {
		// The foreign key decides; asking first spares its wait for a pool's lock.
		used, err := q.CampaignHasPools(ctx, id)
		if err != nil {
			return err
		}
		if used {
			return domain.ErrInUse
		}
		n, err := q.DeleteCampaign(ctx, id)
		if err == nil && n == 0 && !maybe {
			return domain.ErrNotFound
		}
		return err
	})
}

func campaignOf(r db.Campaign) domain.Campaign {
	return domain.Campaign{ID: r.ID, Name: r.Name, CreatedAt: fromStamp(r.CreatedAt)}
}
