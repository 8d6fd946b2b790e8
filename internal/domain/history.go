package domain

import "time"

// Action is what was done, as the history tells it.
type Action string

// The actions on pools, campaigns and staff.
const (
	PoolCreated       Action = "pool.created"
	PoolEdited        Action = "pool.edited"
	PoolLaunched      Action = "pool.launched"
	PoolArchived      Action = "pool.archived"
	PoolDeleted       Action = "pool.deleted"
	PoolGenerated     Action = "pool.generated"
	CampaignCreated   Action = "campaign.created"
	CampaignRenamed   Action = "campaign.renamed"
	CampaignDeleted   Action = "campaign.deleted"
	StaffCreated      Action = "staff.created"
	StaffEdited       Action = "staff.edited"
	StaffSubscribed   Action = "staff.subscribed"
	StaffUnsubscribed Action = "staff.unsubscribed"
	StaffDeleted      Action = "staff.deleted"
)

// Actions are all of them.
var Actions = []Action{
	PoolCreated, PoolEdited, PoolLaunched, PoolArchived, PoolDeleted, PoolGenerated, CampaignCreated, CampaignRenamed, CampaignDeleted,
	StaffCreated, StaffEdited, StaffSubscribed, StaffUnsubscribed, StaffDeleted,
}

// EntryFilter says which entries of a history are asked for. What is empty means
// any.
type EntryFilter struct {
	Actor  Actor
	Action Action
	Field  string // that the entry changed
}

// Entry is one change in the history of a pool, a campaign or staff. Entries are
// stored with what they tell of, and never changed.
type Entry struct {
	No       int64 // only grows
	At       time.Time
	Actor    Actor
	Action   Action
	Changes  Changes
	Version  int64 // the pool's after it; 0: no pool's entry
	Revision int64 // likewise
}

// Changes are the values that became others, by the names that bodies have for
// them.
type Changes map[string]Change

// Change is the way of a value. Both are as JSON shows them: text, a number,
// true or false; nil where there is none.
type Change struct {
	From any `json:"from"`
	To   any `json:"to"`
}

// values are what a pool or campaign is, by name.
type values map[string]any

// changes from one to the other. A name that is absent is nil.
func (v values) changes(to values) Changes {
	c := Changes{}
	for name, from := range v {
		if from != to[name] {
			c[name] = Change{From: from, To: to[name]}
		}
	}
	for name, value := range to {
		if _, ok := v[name]; !ok && value != nil {
			c[name] = Change{To: value}
		}
	}
	return c
}

// settings are what staff can edit.
func (p *Pool) settings() values {
	v := values{
		"id": p.ID, "campaign_id": p.CampaignID, "name": p.Name, "description": p.Description,
		"parameter_name": p.ParameterName, "notify": p.Notify, "notify_below": nil,
		"multi_use": p.MultiUse, "check_issued": p.CheckIssued, "validity": nil, "processing": string(p.Processing),
		"issue_start": moment(p.IssueStart), "issue_end": moment(p.IssueEnd),
		"redemption_limit": nil, "redemption_limit_per_customer": nil,
	}
	if p.RedemptionLimit != nil {
		v["redemption_limit"] = *p.RedemptionLimit
	}
	if p.RedemptionLimitPerCustomer != nil {
		v["redemption_limit_per_customer"] = *p.RedemptionLimitPerCustomer
	}
	if p.NotifyBelow != nil {
		v["notify_below"] = *p.NotifyBelow
	}
	if !p.Validity.IsZero() {
		v["validity"] = p.Validity.String()
	}
	if r := p.Replenish; r != nil {
		v["replenish.below"], v["replenish.count"], v["replenish.max_guess_odds"] = r.Below, r.Count, r.MaxGuessOdds
		v["replenish.pattern"], v["replenish.alphabet"] = r.Pattern, r.Alphabet
		if r.Stopped != "" {
			v["replenish.stopped"] = r.Stopped
		}
	}
	return v
}

func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return EventTime(t)
}

// Edits are the changes of settings from p to q; none: nothing was edited.
func (p *Pool) Edits(q *Pool) Changes { return p.settings().changes(q.settings()) }

// Moved is the change from p's state to q's.
func (p *Pool) Moved(q *Pool) Changes {
	return Changes{"state": {From: string(p.State), To: string(q.State)}}
}

// Born are the changes that made the pool as it is.
func (p *Pool) Born() Changes {
	c := values{}.changes(p.settings())
	c["state"] = Change{To: string(p.State)}
	return c
}

// Gone are the changes that end a pool.
func (p *Pool) Gone() Changes {
	c := p.settings().changes(values{})
	c["state"] = Change{From: string(p.State)}
	return c
}

func (c Campaign) settings() values { return values{"id": c.ID, "name": c.Name} }

// Edits are the changes from c to d.
func (c Campaign) Edits(d Campaign) Changes { return c.settings().changes(d.settings()) }

// Born are the changes that made the campaign.
func (c Campaign) Born() Changes { return values{}.changes(c.settings()) }

// Gone are the changes that end it.
func (c Campaign) Gone() Changes { return c.settings().changes(values{}) }
