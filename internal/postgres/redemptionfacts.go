package postgres

import (
	"context"

	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// facts reads what the requests are judged by, and the clock last: nothing that
// is seen is later than that.
func (c *court) facts(ctx context.Context) (*domain.RedemptionFacts, error) {
	f := &domain.RedemptionFacts{
		Pools: c.pools, First: map[domain.RedemptionKey]*domain.Redemption{}, Conflicts: map[domain.ConflictKey]*domain.Redemption{},
		Codes: map[domain.CodeKey]*domain.CodeFacts{},
	}
	f.Pseudonyms = c.store.erased.Load()
	for _, read := range []func(context.Context, *domain.RedemptionFacts) error{c.firstAnswers, c.refusals, c.codes} {
		if err := read(ctx, f); err != nil {
			return nil, err
		}
	}
	last, err := c.q.NowAndKeyed(ctx)
	switch {
	case err != nil:
		return nil, err
	case last.Gate != "":
		return nil, errGate
	case last.Keyed && f.Pseudonyms == nil:
		// Somebody was erased: what was read may name nobody whom we know.
		if f.Pseudonyms, err = c.store.pseudonyms(ctx, c.q); err != nil {
			return nil, err
		}
		return c.facts(ctx)
	}
	f.Now = fromStamp(last.Now)
	return f, nil
}

func (c *court) firstAnswers(ctx context.Context, f *domain.RedemptionFacts) error {
	var arg db.FirstAnswersParams
	var asked []*domain.RedemptionRequest
	for _, r := range c.asks {
		if p := c.launched(r); p != nil {
			arg.Pools, arg.Ids = append(arg.Pools, p.Key), append(arg.Ids, r.RedemptionID)
			asked = append(asked, r)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	rows, err := c.q.FirstAnswers(ctx, arg)
	if err != nil {
		return err
	}
	for _, row := range rows {
		r := asked[row.Idx-1]
		f.First[r.Key()] = redemptionOf(c.pools[r.PoolID], r.RedemptionID, row)
	}
	return nil
}

// redemptionOf is a stored answer to a redemption of a launched pool.
func redemptionOf(pool *domain.Pool, id string, row db.FirstAnswersRow) *domain.Redemption {
	r := &domain.Redemption{
		RedemptionRequest: domain.RedemptionRequest{
			PoolID: pool.ID, RedemptionID: id, Code: row.Code, CustomerID: row.CustomerID, OrderID: row.OrderID,
			OccurredAt: fromStamp(row.OccurredAt), Context: row.Context,
		},
		Pool: pool, Place: domain.Place{Lot: row.Lot, Seq: row.Seq}, Known: row.Lot != 0, IssuedTo: row.IssuedTo, DecidedAt: fromStamp(row.DecidedAt),
		Reason: domain.RedemptionReason(row.Reason), Processing: domain.Internal, Checked: row.Checked, RolledBackAt: fromStamp(row.RolledBackAt),
	}
	if row.External {
		r.Processing = domain.External
	}
	return r
}

// refusals reads those that belong to no launched pool, or to nobody's first.
func (c *court) refusals(ctx context.Context, f *domain.RedemptionFacts) error {
	var arg db.RefusedAnswersParams
	for _, r := range c.asks {
		content := r.Content()
		arg.PoolIds, arg.Ids, arg.Contents = append(arg.PoolIds, r.PoolID), append(arg.Ids, r.RedemptionID), append(arg.Contents, content[:])
	}
	if f.Pseudonyms != nil {
		for _, r := range c.asks {
			content := r.Content()
			keyed := f.Pseudonyms.Sum(content[:])
			arg.PoolIds, arg.Ids, arg.Contents = append(arg.PoolIds, r.PoolID), append(arg.Ids, r.RedemptionID), append(arg.Contents, keyed[:])
		}
	}
	rows, err := c.q.RefusedAnswers(ctx, arg)
	if err != nil {
		return err
	}
	for _, row := range rows {
		at, erased := int(row.Idx)-1, false
		if at >= len(c.asks) {
			at, erased = at-len(c.asks), true
		}
		r := c.asks[at]
		said := &domain.Redemption{
			RedemptionRequest: domain.RedemptionRequest{
				PoolID: r.PoolID, RedemptionID: r.RedemptionID, Code: row.Code, CustomerID: row.CustomerID, OrderID: row.OrderID,
				OccurredAt: fromStamp(row.OccurredAt), Context: row.Context,
			},
			Pool: c.pools[r.PoolID], DecidedAt: fromStamp(row.DecidedAt), Reason: domain.RedemptionReason(row.Reason), Processing: domain.Internal,
		}
		if len(row.Content) == 0 {
			f.First[r.Key()] = said
			continue
		}
		if erased {
			said.Erased = r.Content()
		}
		f.Conflicts[domain.ConflictKey{RedemptionKey: r.Key(), Content: r.Content()}] = said
	}
	return nil
}

// codes reads what is known of the codes, of each once for every customer who
// wants it.
func (c *court) codes(ctx context.Context, f *domain.RedemptionFacts) error {
	type wanted struct {
		domain.CodeKey
		customer string
		alias    bool // count what was redeemed before the customer was erased
	}
	var arg db.RedemptionFactsParams
	var all []wanted
	sought := map[wanted]bool{}
	for _, r := range c.asks {
		w := wanted{domain.CodeKey{PoolID: r.PoolID, Code: r.CleanCode()}, "", false}
		at, ok := c.places[w.CodeKey]
		if !ok {
			continue
		}
		p, most := c.pools[r.PoolID], int64(0)
		ask := func(w wanted, called string) {
			if sought[w] {
				return
			}
			sought[w] = true
			all = append(all, w)
			arg.Pools, arg.Lots, arg.Seqs = append(arg.Pools, p.Key), append(arg.Lots, at.Lot), append(arg.Seqs, at.Seq)
			arg.MultiUse, arg.Customers, arg.Most = append(arg.MultiUse, p.MultiUse), append(arg.Customers, called), append(arg.Most, most)
		}
		if limit := p.RedemptionLimitPerCustomer; limit != nil {
			w.customer, most = r.CustomerID, *limit
			if w.customer != "" && f.Pseudonyms != nil {
				ask(wanted{w.CodeKey, w.customer, true}, f.Pseudonyms.Customer(w.customer))
			}
		}
		ask(w, w.customer)
	}
	if len(all) == 0 {
		return nil
	}
	rows, err := c.q.RedemptionFacts(ctx, arg)
	if err != nil {
		return err
	}
	for _, row := range rows {
		w := all[row.Idx-1]
		code := f.Codes[w.CodeKey]
		if code == nil {
			code = codeFacts(c.pools[w.PoolID], c.places[w.CodeKey], row)
			if code.Issue != nil {
				if err := c.store.signed(ctx, c.q, code.Issue); err != nil {
					return err
				}
			}
			f.Codes[w.CodeKey] = code
		}
		if w.customer != "" {
			code.UsesBy[w.customer] += row.UsesBy
		}
	}
	return nil
}

func codeFacts(pool *domain.Pool, at domain.Place, row db.RedemptionFactsRow) *domain.CodeFacts {
	code := &domain.CodeFacts{
		Place: at, Window: domain.Window{AvailableFrom: fromStamp(row.AvailableFrom), AvailableTill: fromStamp(row.AvailableTill)},
		Blocked: row.Blocked, Withdrawn: row.Withdrawn, Redeemed: row.Redeemed, Uses: row.Uses, UsesBy: map[string]int64{},
	}
	if row.IssuedAt.Valid {
		code.Issue = &domain.Issuance{
			Pool: pool, Place: at, CustomerID: row.IssuedTo,
			IssuedAt: fromStamp(row.IssuedAt), ValidFrom: fromStamp(row.ValidFrom), ValidUntil: fromStamp(row.ValidUntil),
		}
	}
	return code
}
