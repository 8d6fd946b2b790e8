package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

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
		Total: r.Total, Available: r.Available, Scheduled: r.Scheduled, Held: r.Held, Issued: r.Issued, Redeemed: r.Redeemed, Expired: r.Expired, Withdrawn: r.Withdrawn,
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
	if err != nil {
		return domain.Issuance{}, asked(err)
	}
	return *issue, nil
}

// Code tells where a code of the pool is in its life, or domain.ErrNotFound.
func (s *Store) Code(ctx context.Context, poolID, code string) (domain.CodeStory, error) {
	pool, err := s.Pool(ctx, poolID)
	if err != nil {
		return domain.CodeStory{}, err
	}
	story, err := s.story(ctx, s.q, &pool, code)
	return story, asked(err)
}

// findCode finds a code, stored or not; pgx.ErrNoRows: there is none.
func (s *Store) findCode(ctx context.Context, q *db.Queries, pool int32, code string) (db.FindCodeRow, error) {
	r, err := q.FindCode(ctx, db.FindCodeParams{Pool: pool, Code: code})
	if errors.Is(err, pgx.ErrNoRows) {
		return s.findGenerated(ctx, q, pool, code)
	}
	return r, err
}

// What stands against a code, as the schema says it.
const (
	withheldBlocked  = "blocked"
	withheldRedeemed = "redeemed"
)

// stateOf is the state of a code that is unissued in the window of its pool.
func stateOf(window domain.Window, now time.Time, issued bool, withheld string) domain.CodeState {
	switch {
	case withheld == withheldBlocked:
		return domain.CodeBlocked
	case withheld == withheldRedeemed:
		return domain.CodeRedeemed
	case issued:
		return domain.CodeIssued
	}
	return window.Unissued(now)
}

// mostMoments bounds what is told of a code's history.
const mostMoments = 200

// story tells where a code is in its life.
func (s *Store) story(ctx context.Context, q *db.Queries, pool *domain.Pool, code string) (domain.CodeStory, error) {
	r, err := s.findCode(ctx, q, pool.Key, code)
	if err != nil {
		return domain.CodeStory{}, err
	}
	story := domain.CodeStory{Code: code, Window: windowOf(r.Lot)}
	story.State = stateOf(pool.Narrow(story.Window), fromStamp(r.AskedAt), r.IssuedAt.Valid, r.Withheld)
	if r.IssuedAt.Valid {
		story.Issue = &domain.Issuance{
			Pool: pool, Place: domain.Place{Lot: r.Lot.Lot, Seq: r.Seq}, Code: code,
			RequestID: r.RequestID, CustomerID: r.CustomerID,
			IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
		}
	}
	entries, err := q.CodeEntries(ctx, db.CodeEntriesParams{Pool: pool.Key, Lot: r.Lot.Lot, Seq: r.Seq, AtMost: mostMoments})
	if err != nil {
		return domain.CodeStory{}, err
	}
	story.History = append(story.History, domain.CodeMoment{At: fromStamp(r.Lot.CreatedAt), Action: domain.CodeAddedTo})
	byHand := false
	for _, e := range entries {
		byHand = byHand || domain.CodeAction(e.Action) == domain.CodeWasIssued
		story.History = append(story.History, domain.CodeMoment{
			At: fromStamp(e.At), Action: domain.CodeAction(e.Action), Actor: domain.Actor(e.Actor), Note: e.Note, RequestID: e.RequestID,
		})
	}
	if err := redemptionsOf(ctx, q, pool, domain.Place{Lot: r.Lot.Lot, Seq: r.Seq}, &story); err != nil {
		return domain.CodeStory{}, err
	}
	if i := story.Issue; i != nil && !byHand {
		story.History = append(story.History, domain.CodeMoment{At: i.IssuedAt, Action: domain.CodeWasIssued, RequestID: i.RequestID})
	}
	slices.SortStableFunc(story.History[1:], func(a, b domain.CodeMoment) int { return a.At.Compare(b.At) })
	return story, nil
}

// Codes returns codes of the pool behind a place, in the order of their places,
// none when there are no more. only: domain.CodeIssued, domain.CodeBlocked or
// domain.CodeRedeemed for those that are, which takes no longer than there are; anything else means all, of
// generated codes those that are issued, blocked, redeemed or withdrawn, since the others are
// written nowhere. It reads as many rows as it returns, in a transaction of its own.
func (s *Store) Codes(ctx context.Context, pool *domain.Pool, only domain.CodeState, after domain.Place, limit int) ([]domain.CodeRow, error) {
	generated, err := s.q.IsGenerated(ctx, pool.Key)
	if err != nil {
		return nil, asked(err)
	}
	rows, err := s.codesAfter(ctx, pool, only, generated, after, limit)
	if err != nil {
		return nil, asked(err)
	}
	codes := make([]domain.CodeRow, len(rows))
	for i, r := range rows {
		codes[i] = codeRow(pool, &r)
	}
	if err := s.markRedeemed(ctx, pool, codes); err != nil {
		return nil, asked(err)
	}
	if generated {
		return codes, s.spell(ctx, pool, codes)
	}
	return codes, nil
}

// codesAfter reads the rows of Codes.
func (s *Store) codesAfter(ctx context.Context, pool *domain.Pool, only domain.CodeState, generated bool, after domain.Place, limit int) ([]db.CodesAfterRow, error) {
	arg := db.CodesAfterParams{Pool: pool.Key, MultiUse: pool.MultiUse, Lot: after.Lot, Seq: after.Seq, AtMost: int32(limit)}
	if !generated && only != domain.CodeIssued && only != domain.CodeBlocked && only != domain.CodeRedeemed {
		return s.q.CodesAfter(ctx, arg)
	}
	var rows []db.CodesAfterRow
	if only != domain.CodeIssued && only != domain.CodeBlocked && !pool.MultiUse {
		redeemed, err := s.q.RedeemedAfter(ctx, db.RedeemedAfterParams{Pool: pool.Key, Lot: after.Lot, Seq: after.Seq, AtMost: arg.AtMost})
		if err != nil {
			return nil, err
		}
		for _, r := range redeemed {
			rows = append(rows, db.CodesAfterRow(r))
		}
	}
	if only == domain.CodeRedeemed {
		return rows, nil
	}
	if only != domain.CodeBlocked && !pool.MultiUse { // where many may use a code none is ever in the state
		issued, err := s.q.IssuedAfter(ctx, db.IssuedAfterParams{Pool: pool.Key, Lot: after.Lot, Seq: after.Seq, AtMost: arg.AtMost})
		if err != nil {
			return nil, err
		}
		for _, r := range issued {
			rows = append(rows, db.CodesAfterRow(r))
		}
	}
	if only == domain.CodeIssued {
		return rows, nil
	}
	withheld, err := s.q.WithheldAfter(ctx, db.WithheldAfterParams(arg))
	for _, r := range withheld {
		rows = append(rows, db.CodesAfterRow(r))
	}
	// An issued code that is blocked is in both. Of each as many as fit are here: what
	// lies before the end of either is whole.
	slices.SortFunc(rows, placeOrder)
	rows = slices.CompactFunc(rows, func(a, b db.CodesAfterRow) bool { return placeOrder(a, b) == 0 })
	return rows[:min(len(rows), limit)], err
}

func placeOrder(a, b db.CodesAfterRow) int {
	return cmp.Or(cmp.Compare(a.Lot, b.Lot), cmp.Compare(a.Seq, b.Seq))
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
	c.State = stateOf(pool.Narrow(c.Window), fromStamp(r.AskedAt), r.IssuedAt.Valid, r.Withheld)
	if r.IssuedAt.Valid {
		c.Issue = &domain.Issuance{
			Pool: pool, Place: c.Place, Code: c.Code, RequestID: r.RequestID, CustomerID: r.CustomerID,
			IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
		}
	}
	return c
}

// findGenerated finds a code that is stored nowhere by the number that its text
// means to one of the pool's generators.
func (s *Store) findGenerated(ctx context.Context, q *db.Queries, pool int32, code string) (db.FindCodeRow, error) {
	all, err := q.GeneratorsOf(ctx, pool)
	if err != nil {
		return db.FindCodeRow{}, err
	}
	for _, g := range all {
		generator, err := s.generators.of(ctx, q, pool, g.Generator)
		if err != nil {
			return db.FindCodeRow{}, err
		}
		number, ok := generator.Number(code)
		if !ok {
			continue
		}
		// Its patterns have no text in common: no other can have it.
		r, err := q.FindGenerated(ctx, db.FindGeneratedParams{Pool: pool, Generator: g.Generator, Number: number})
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
