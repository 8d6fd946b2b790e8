package domain

import "time"

// RedemptionKey names a redemption.
type RedemptionKey struct{ PoolID, RedemptionID string }

// Key is the request's.
func (r *RedemptionRequest) Key() RedemptionKey { return RedemptionKey{r.PoolID, r.RedemptionID} }

// ConflictKey names a request whose redemption_id was used for something else.
type ConflictKey struct {
	RedemptionKey
	Content Content
}

// CodeKey names a code of a pool.
type CodeKey struct{ PoolID, Code string }

// RedemptionFacts are what redemptions are judged by, read under the locks of
// their codes. Judge keeps them true for the request that comes next.
type RedemptionFacts struct {
	Now       time.Time
	Pools     map[string]*Pool              // absent: there is none
	First     map[RedemptionKey]*Redemption // first answers that are remembered
	Conflicts map[ConflictKey]*Redemption   // and answers to those who used an id for something else
	Codes     map[CodeKey]*CodeFacts        // by the clean code; absent: the pool has none such

	Pseudonyms *Pseudonyms // nil: nobody was ever erased
}

// CodeFacts are what is known of a code.
type CodeFacts struct {
	Place
	Window
	Issue     *Issuance // nil: nobody has it, or it is for many uses
	Blocked   bool
	Withdrawn bool // out of the stock though nobody has it
	Redeemed  bool // and not rolled back

	// Of a code for many uses, redemptions that were not rolled back.
	Uses   int64
	UsesBy map[string]int64 // by customer
}

// Judgement is what became of a request.
type Judgement struct {
	*Redemption
	Repeated bool // the answer was given before
	// Withdraw: the code was redeemed without an issue, so it must leave the stock.
	Withdraw bool
}

// Judge answers a request. The facts hold all that concerns it, and afterwards
// its answer too.
func (f *RedemptionFacts) Judge(r *RedemptionRequest) Judgement {
	if first := f.First[r.Key()]; first != nil {
		if f.Pseudonyms.same(&first.RedemptionRequest, r) {
			return Judgement{Redemption: first, Repeated: true}
		}
		return f.conflict(r, first)
	}
	j := Judgement{Redemption: &Redemption{RedemptionRequest: *r, Pool: f.Pools[r.PoolID], DecidedAt: f.Now, Processing: Internal}}
	var code *CodeFacts
	if j.Pool != nil && j.Pool.State != Draft {
		j.Processing, j.Checked = j.Pool.Processing, j.Pool.CheckIssued
		if code = f.Codes[CodeKey{r.PoolID, r.CleanCode()}]; code != nil {
			j.Place, j.Known = code.Place, true
			if code.Issue != nil {
				j.IssuedTo = code.Issue.CustomerID
			}
		}
	}
	j.Reason = reason(r, j.Pool, code, f.Now)
	if j.Redeemed() && code != nil {
		j.Withdraw = code.redeem(r, j.Pool)
	}
	f.First[r.Key()] = j.Redemption
	return j
}

func (f *RedemptionFacts) conflict(r *RedemptionRequest, first *Redemption) Judgement {
	key := ConflictKey{r.Key(), r.Content()}
	if said := f.Conflicts[key]; said != nil {
		return Judgement{Redemption: said, Repeated: true}
	}
	said := &Redemption{RedemptionRequest: *r, Pool: first.Pool, DecidedAt: f.Now, Reason: RedemptionConflict, Processing: first.Processing}
	f.Conflicts[key] = said
	return Judgement{Redemption: said}
}

// reason is the first that stands in the way of a new redemption.
func reason(r *RedemptionRequest, p *Pool, code *CodeFacts, now time.Time) RedemptionReason {
	switch {
	case p == nil:
		return NoSuchPool
	case p.State == Draft:
		return PoolInactive
	case p.Processing == External:
		return NotRejected // another system has judged
	case code == nil:
		return NoSuchCode
	case p.State == Archived && code.Issue == nil && !p.MultiUse:
		return PoolInactive
	case code.Blocked:
		return BlockedCode
	case p.CheckIssued && code.Issue == nil:
		return NotIssued
	case p.CheckIssued && (r.CustomerID == "" || !code.Issue.IssuedTo(r.CustomerID)):
		return NotIssuedToCustomer
	case code.Redeemed && !p.MultiUse:
		return RedeemedBefore
	}
	from, until := code.Valid()
	switch at := r.Moment(now); {
	case at.Before(from):
		return NotYetValid
	case !until.IsZero() && !at.Before(until):
		return NoLongerValid
	case p.RedemptionLimit != nil && code.Uses >= *p.RedemptionLimit:
		return LimitReached
	case p.RedemptionLimitPerCustomer != nil && r.CustomerID == "":
		return CustomerNeeded
	case p.RedemptionLimitPerCustomer != nil && code.UsesBy[r.CustomerID] >= *p.RedemptionLimitPerCustomer:
		return LimitReached
	}
	return NotRejected
}

// Valid returns from when until when the code may be redeemed: as it was issued,
// else as its lot may be used. A zero time leaves that side open.
func (c *CodeFacts) Valid() (from, until time.Time) {
	if c.Issue != nil {
		return c.Issue.ValidFrom, c.Issue.ValidUntil
	}
	return c.AvailableFrom, c.AvailableTill
}

// redeem notes a redemption, and reports whether the code must leave the stock:
// someone has it, and the next request would get it too. Nothing more is issued
// from an archived pool.
func (c *CodeFacts) redeem(r *RedemptionRequest, p *Pool) (withdraw bool) {
	if p.MultiUse {
		c.Uses++
		if r.CustomerID != "" {
			if c.UsesBy == nil {
				c.UsesBy = map[string]int64{}
			}
			c.UsesBy[r.CustomerID]++
		}
		return false
	}
	c.Redeemed = true
	if c.Issue != nil || c.Withdrawn || p.State != Active {
		return false
	}
	c.Withdrawn = true
	return true
}
