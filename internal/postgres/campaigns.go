package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// CreateCampaign stores a campaign. Where its id is taken that is
// domain.ErrTaken, or, with numbered, a number is put behind it.
func (s *Store) CreateCampaign(ctx context.Context, who domain.Actor, c domain.Campaign, numbered bool) (domain.Campaign, error) {
	if err := c.Check(); err != nil {
		return domain.Campaign{}, err
	}
	var made domain.Campaign
	err := s.change(ctx, crashpoint.CreateCampaign, func(q *db.Queries, maybe bool) error {
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
		return rememberCampaign(ctx, q, row, entry{now, who, domain.CampaignCreated, made.Born()})
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
// after the given one. A text must be in their name, in any case, or in their
// id; empty: any.
func (s *Store) ListCampaigns(ctx context.Context, text, after string, limit int) ([]domain.Campaign, error) {
	rows, err := s.q.CampaignsAfter(ctx, db.CampaignsAfterParams{After: after, Text: text, Pattern: anyCase(text), AtMost: int32(limit)})
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

// anyCase is a regular expression of PostgreSQL that finds the text in any case.
// The database's own idea of case depends on its locale.
func anyCase(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteByte('[')
		for c := r; ; {
			if strings.ContainsRune(`\[]^-`, c) {
				b.WriteByte('\\')
			}
			b.WriteRune(c)
			if c = unicode.SimpleFold(c); c == r {
				break
			}
		}
		b.WriteByte(']')
	}
	return b.String()
}

// RenameCampaign gives a campaign another name; its id stays, since events tell
// of it. Safe to repeat.
func (s *Store) RenameCampaign(ctx context.Context, who domain.Actor, id, name string) (domain.Campaign, error) {
	want := domain.Campaign{ID: id, Name: name}
	if err := want.Check(); err != nil {
		return domain.Campaign{}, err
	}
	err := s.change(ctx, crashpoint.RenameCampaign, func(q *db.Queries, _ bool) error {
		if err := q.LockCampaign(ctx, id); err != nil {
			return err
		}
		row, err := q.CampaignByID(ctx, id)
		if err != nil {
			return orNotFound(err)
		}
		before := campaignOf(row)
		want.CreatedAt = before.CreatedAt
		if before == want {
			return nil
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err := q.RenameCampaign(ctx, db.RenameCampaignParams{Campaign: row.Campaign, Name: name}); err != nil {
			return err
		}
		return rememberCampaign(ctx, q, row, entry{now, who, domain.CampaignRenamed, before.Edits(want)})
	})
	return want, err
}

// DeleteCampaign removes a campaign that has no pools; with pools it is
// domain.ErrInUse.
func (s *Store) DeleteCampaign(ctx context.Context, who domain.Actor, id string) error {
	return s.change(ctx, crashpoint.DeleteCampaign, func(q *db.Queries, maybe bool) error {
		// The foreign key decides; asking first spares its wait for a pool's lock.
		used, err := q.CampaignHasPools(ctx, id)
		if err != nil {
			return err
		}
		if used {
			return domain.ErrInUse
		}
		row, err := q.DeleteCampaign(ctx, id)
		switch {
		case errors.Is(err, pgx.ErrNoRows) && maybe:
			return nil
		case err != nil:
			return orNotFound(err)
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		return rememberCampaign(ctx, q, row, entry{now, who, domain.CampaignDeleted, campaignOf(row).Gone()})
	})
}

func campaignOf(r db.Campaign) domain.Campaign {
	return domain.Campaign{ID: r.ID, Name: r.Name, CreatedAt: fromStamp(r.CreatedAt)}
}
