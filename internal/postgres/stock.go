package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// Stock tells what the pool has now.
func (s *Store) Stock(ctx context.Context, poolID string) (domain.Stock, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.Stock{}, err
	}
	r, err := s.q.Stock(ctx, pool.Key)
	if err != nil {
		return domain.Stock{}, asked(err)
	}
	stock := domain.Stock{
		Total: r.Total, Available: r.Available, Scheduled: r.Scheduled, Held: r.Held, Issued: r.Issued, Expired: r.Expired,
	}
	return stock, s.forecast(ctx, &pool, &stock, fromStamp(r.AskedAt))
}

// Issuance returns what a request was given, or domain.ErrNotFound.
func (s *Store) Issuance(ctx context.Context, poolID, requestID string) (domain.Issuance, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.Issuance{}, err
	}
	rows, err := s.q.LookUp(ctx, db.LookUpParams{Pools: []int32{pool.Key}, Requests: []string{requestID}})
	if err != nil {
		return domain.Issuance{}, asked(err)
	}
	if len(rows) == 0 {
		return domain.Issuance{}, domain.ErrNotFound
	}
	issue, err := s.knownIssue(ctx, s.q, &pool, domain.Key{Pool: pool.Key, RequestID: requestID}, rows[0])
	return *issue, asked(err)
}

// Code tells where a code of the pool is in its life, or domain.ErrNotFound.
func (s *Store) Code(ctx context.Context, poolID, code string) (domain.CodeStory, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.CodeStory{}, err
	}
	r, err := s.q.FindCode(ctx, db.FindCodeParams{Pool: pool.Key, Code: code})
	if errors.Is(err, pgx.ErrNoRows) {
		r, err = s.findGenerated(ctx, pool.Key, code)
	}
	if err != nil {
		return domain.CodeStory{}, asked(err)
	}
	story := domain.CodeStory{Code: code, AddedAt: fromStamp(r.Lot.CreatedAt), Window: windowOf(r.Lot)}
	window := pool.Narrow(story.Window)
	story.State = window.Unissued(fromStamp(r.AskedAt))
	if r.IssuedAt.Valid {
		story.State = domain.CodeIssued
		story.Issue = &domain.Issuance{
			Pool: &pool, Place: domain.Place{Lot: r.Lot.Lot, Seq: r.Seq}, Code: code,
			RequestID: r.RequestID, CustomerID: r.CustomerID,
			IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
		}
	}
	return story, nil
}

// Codes returns codes of the pool behind a place, in the order of their places,
// none when there are no more. only: domain.CodeIssued for those that are
// issued, which takes no longer than there are; anything else means all, of
// generated codes those that are issued, since the others are written nowhere.
// It reads as many rows as it returns, in a transaction of its own.
func (s *Store) Codes(ctx context.Context, pool *domain.Pool, only domain.CodeState, after domain.Place, limit int) ([]domain.CodeRow, error) {
	var rows []db.CodesAfterRow
	generated, err := s.q.IsGenerated(ctx, pool.Key)
	switch {
	case err != nil:
	case only != domain.CodeIssued && !generated:
		rows, err = s.q.CodesAfter(ctx, db.CodesAfterParams{
			Pool: pool.Key, MultiUse: pool.MultiUse, Lot: after.Lot, Seq: after.Seq, AtMost: int32(limit),
		})
	case !pool.MultiUse: // where many may use a code none is ever in the state
		var issued []db.IssuedAfterRow
		issued, err = s.q.IssuedAfter(ctx, db.IssuedAfterParams{Pool: pool.Key, Lot: after.Lot, Seq: after.Seq, AtMost: int32(limit)})
		for _, r := range issued {
			rows = append(rows, db.CodesAfterRow(r))
		}
	}
	if err != nil {
		return nil, asked(err)
	}
	codes := make([]domain.CodeRow, len(rows))
	for i, r := range rows {
		codes[i] = codeRow(pool, &r)
	}
	if generated {
		return codes, s.spell(ctx, pool, codes)
	}
	return codes, nil
}

// spell makes the texts of generated codes.
func (s *Store) spell(ctx context.Context, pool *domain.Pool, codes []domain.CodeRow) error {
	var numbers []int32
	for i := range codes {
		if n := len(numbers); n == 0 || numbers[n-1] != codes[i].Lot {
			numbers = append(numbers, codes[i].Lot)
		}
	}
	rows, err := s.q.LotsOf(ctx, db.LotsOfParams{Pool: pool.Key, Lots: numbers})
	if err != nil {
		return asked(err)
	}
	lots, made := s.lots(s.q), map[int32]*domain.Lot{}
	for _, row := range rows {
		if made[row.Lot], err = lots.of(ctx, row); err != nil {
			return err
		}
	}
	for i := range codes {
		c := &codes[i]
		lot := made[c.Lot]
		if lot == nil {
			return domain.ErrNotFound // the pool is gone
		}
		c.Code = lot.Codes(c.Seq, c.Seq+1)[0]
		if c.Issue != nil {
			c.Issue.Code = c.Code
		}
	}
	return nil
}

// codeRow is a code of a list, without its text where that is not stored.
func codeRow(pool *domain.Pool, r *db.CodesAfterRow) domain.CodeRow {
	c := domain.CodeRow{
		Place: domain.Place{Lot: r.Lot, Seq: r.Seq}, Code: r.Code, Times: r.Times,
		Window: window(r.IssueStart, r.IssueEnd, r.AvailableFrom, r.AvailableTill),
	}
	window := pool.Narrow(c.Window)
	c.State = window.Unissued(fromStamp(r.AskedAt))
	if r.IssuedAt.Valid {
		c.State = domain.CodeIssued
		c.Issue = &domain.Issuance{
			Pool: pool, Place: c.Place, Code: c.Code, RequestID: r.RequestID, CustomerID: r.CustomerID,
			IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
		}
	}
	return c
}

// findGenerated finds a code that is stored nowhere by the number that its text
// means to one of the pool's generators.
func (s *Store) findGenerated(ctx context.Context, pool int32, code string) (db.FindCodeRow, error) {
	all, err := s.q.GeneratorsOf(ctx, pool)
	if err != nil {
		return db.FindCodeRow{}, err
	}
	for _, g := range all {
		generator, err := s.generators.of(ctx, s.q, pool, g.Generator)
		if err != nil {
			return db.FindCodeRow{}, err
		}
		number, ok := generator.Number(code)
		if !ok {
			continue
		}
		// Its patterns have no text in common: no other can have it.
		r, err := s.q.FindGenerated(ctx, db.FindGeneratedParams{Pool: pool, Generator: g.Generator, Number: number})
		return db.FindCodeRow(r), err
	}
	return db.FindCodeRow{}, pgx.ErrNoRows
}

func windowOf(l db.Lot) domain.Window {
	return window(l.IssueStart, l.IssueEnd, l.AvailableFrom, l.AvailableTill)
}

func window(issueStart, issueEnd, availableFrom, availableTill pgtype.Timestamptz) domain.Window {
	return domain.Window{
		IssueStart: fromStamp(issueStart), IssueEnd: fromStamp(issueEnd),
		AvailableFrom: fromStamp(availableFrom), AvailableTill: fromStamp(availableTill),
	}
}
