package domain

import (
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// State is where a pool is in its life: draft → active → archived.
type State string

// The states of a pool.
const (
	Draft    State = "draft"
	Active   State = "active"
	Archived State = "archived"
)

// Mode says how an active pool's codes reach its requests.
type Mode string

// Ample pools grant buffers to partitions; scarce pools are allocated from
// inside the transaction of each batch, under the pool's lock.
const (
	Ample  Mode = "ample"
	Scarce Mode = "scarce"
)

// Processing says who judges redemptions of a pool's codes.
type Processing string

// Internal: promopool judges. External: another system does, and its reports
// are recorded unjudged.
const (
	Internal Processing = "internal"
	External Processing = "external"
)

// Errors of a pool's life. Each says what the caller may do about it.
var (
	ErrNotFound      = errors.New("not found")
	ErrTaken         = errors.New("the id is taken, choose another")
	ErrFrozen        = errors.New("frozen since the pool was launched: make another pool")
	ErrState         = errors.New("not possible in the pool's state")
	ErrStale         = errors.New("changed by someone else meanwhile, read it again")
	ErrInUse         = errors.New("still in use")
	ErrNotLaunchable = errors.New("the pool cannot be launched yet")
)

// Campaign groups pools.
type Campaign struct {
	ID        string
	Name      string
	CreatedAt time.Time
}

// Pool is a stock of codes with the rules of handing them out.
type Pool struct {
	Key        int32 // the database's number; leads every key of its rows
	ID         string
	CampaignID string

	// Settings. ID, CampaignID, ParameterName and MultiUse are frozen by launch.
	Name          string
	Description   string
	ParameterName string // what the message template calls the code
	NotifyBelow   *int64 // threshold of the low-stock notice; kept while it is off
	Notify        bool
	MultiUse      bool
	CheckIssued   bool
	Validity      Period // from issue; zero: none
	Processing    Processing
	IssueStart    time.Time  // nothing is issued before; zero: that side is open
	IssueEnd      time.Time  // nothing is issued from then on; zero: that side is open
	Replenish     *Replenish // nil: off

	// How often a code for many uses may be redeemed; nil: without limit.
	RedemptionLimit            *int64 // by all together
	RedemptionLimitPerCustomer *int64 // by each customer, who must be named then

	State      State
	Mode       Mode
	Revision   int64 // moves with every change of lots, runs by hand, or state
	Version    int64 // moves with every edit; the ETag
	CreatedAt  time.Time
	LaunchedAt time.Time // zero: never
	ArchivedAt time.Time // zero: never
}

// PoolFilter says which pools are asked for. What is empty means any.
type PoolFilter struct {
	CampaignID string
	State      State
	Text       string // in the name, in any case, or in the id
}

var (
	poolIDForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	parameterForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
)

// Problem is one thing that is wrong with a setting.
type Problem struct {
	Field  string // the JSON name of the setting
	Detail string // what is wrong and what would be right
}

// Invalid is the error of settings that break a rule.
type Invalid struct{ Problems []Problem }

// Error lists what is wrong, field by field.
func (e *Invalid) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Field + ": " + p.Detail
	}
	return strings.Join(parts, "; ")
}

// checker collects problems.
type checker []Problem

func (c *checker) want(ok bool, field, detail string) {
	if !ok {
		*c = append(*c, Problem{Field: field, Detail: detail})
	}
}

func (c checker) err() error {
	if len(c) == 0 {
		return nil
	}
	return &Invalid{Problems: c}
}

// CheckID returns an *Invalid when id cannot name a pool or a campaign.
func CheckID(id string) error {
	var c checker
	c.want(poolIDForm.MatchString(id), "id", "must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
	return c.err()
}

// Check returns an *Invalid that names every setting which breaks a rule.
func (c Campaign) Check() error {
	var ch checker
	ch.want(poolIDForm.MatchString(c.ID), "id", "must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
	ch.want(isName(c.Name), "name", "must be 1 to 200 bytes of text without control characters")
	return ch.err()
}

// Check returns an *Invalid that names every setting which breaks a rule.
func (p Pool) Check() error { return p.check(Pool{}) }

// check names, of two settings that exclude each other, the one that came later.
func (p Pool) check(before Pool) error {
	checked, noticed := "check_issued", "notify_below"
	if before.CheckIssued {
		checked = "multi_use"
	}
	if before.Notify {
		noticed = "multi_use"
	}
	var c checker
	c.want(poolIDForm.MatchString(p.ID), "id", "must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
	c.want(isName(p.Name), "name", "must be 1 to 200 bytes of text without control characters")
	c.want(len(p.Description) <= 4096 && isText(p.Description), "description", "must be at most 4096 bytes of text")
	c.want(parameterForm.MatchString(p.ParameterName), "parameter_name", "must be an identifier: letters, digits and _, not beginning with a digit, at most 63")
	c.want(p.Processing == Internal || p.Processing == External, "processing", `must be "internal" or "external"`)
	c.want(!p.MultiUse || !p.CheckIssued, checked, "multi_use and check_issued exclude each other, since a code that many may use is not issued to one: switch one off")
	c.want(p.NotifyBelow == nil || *p.NotifyBelow > 0, "notify_below", "must be a number above 0, or null")
	c.want(!p.Notify || p.NotifyBelow != nil, "notify", "needs notify_below, the threshold")
	c.want(!p.MultiUse || !p.Notify, noticed, "multi_use and notify exclude each other, since a pool whose codes many may use never runs dry: switch one off")
	c.want(p.IssueStart.IsZero() || p.IssueEnd.IsZero() || p.IssueStart.Before(p.IssueEnd), "issue_end", "must be later than issue_start")
	c.want(!p.MultiUse || p.Replenish == nil, "replenish", "multi_use and replenish exclude each other, since a pool whose codes many may use never runs dry: switch one off")
	p.Replenish.check(&c)
	p.checkLimit(&c, "redemption_limit", p.RedemptionLimit, before.RedemptionLimit)
	p.checkLimit(&c, "redemption_limit_per_customer", p.RedemptionLimitPerCustomer, before.RedemptionLimitPerCustomer)
	return c.err()
}

func (p Pool) checkLimit(c *checker, field string, limit, before *int64) {
	c.want(limit == nil || *limit > 0, field, "must be a whole number above 0, or null")
	if before == nil {
		c.want(limit == nil || p.MultiUse, field, "is for pools with multi_use: in the others a code is redeemed once")
		return
	}
	c.want(limit == nil || p.MultiUse, "multi_use", "cannot be switched off while there is "+field+": take that away")
}

// CheckEdit returns an error when an edit from p to q changes what is frozen
// or breaks a rule.
func (p Pool) CheckEdit(q Pool) error {
	if p.State != Draft {
		var c checker
		c.want(p.ID == q.ID, "id", ErrFrozen.Error())
		c.want(p.CampaignID == q.CampaignID, "campaign_id", ErrFrozen.Error())
		c.want(p.ParameterName == q.ParameterName, "parameter_name", ErrFrozen.Error())
		c.want(p.MultiUse == q.MultiUse, "multi_use", ErrFrozen.Error())
		c.want(strings.TrimSpace(q.Description) != "", "description", "cannot be emptied: a launched pool has one")
		if err := c.err(); err != nil {
			return err
		}
	}
	return q.check(p)
}

// CheckAsked returns an *Invalid when an edit from p to q switches the issue
// check on and nobody has said for how long a code is valid. said: the edit
// names validity, be it as none.
func (p Pool) CheckAsked(q Pool, said bool) error {
	var c checker
	c.want(said || p.CheckIssued || !q.CheckIssued || !q.Validity.IsZero(), "validity",
		"is needed with check_issued: how long a code is valid from its issue, such as P30D, or null for no limit")
	return c.err()
}

// CheckLaunch returns an *Invalid that names everything still missing.
func (p Pool) CheckLaunch() error {
	if p.State != Draft {
		return ErrState
	}
	if err := p.Check(); err != nil {
		return err
	}
	var c checker
	c.want(strings.TrimSpace(p.Description) != "", "description", "is needed for launch: say what the codes are for")
	return c.err()
}

// Open reports whether the pool's own window lets anything be issued now.
func (p *Pool) Open(now time.Time) bool {
	return !now.Before(p.IssueStart) && (p.IssueEnd.IsZero() || now.Before(p.IssueEnd))
}

// Narrow returns what the pool's own window leaves of a lot's: a code may be
// issued when both allow it.
func (p *Pool) Narrow(w Window) Window {
	if p.IssueStart.After(w.IssueStart) {
		w.IssueStart = p.IssueStart
	}
	if endsBefore(p.IssueEnd, w.IssueEnd) {
		w.IssueEnd = p.IssueEnd
	}
	return w
}

// Revokes reports whether an edit from p to q makes wrong what partitions know
// of the codes that they have taken ahead, so that it must take them back.
func (p *Pool) Revokes(q *Pool) bool {
	return p.Validity != q.Validity || p.CheckIssued != q.CheckIssued ||
		!p.IssueStart.Equal(q.IssueStart) || !p.IssueEnd.Equal(q.IssueEnd)
}

// Recounts reports whether an edit from p to q may move what is left of the pool
// across a mark of its notice, or the mark across that.
func (p *Pool) Recounts(q *Pool) bool {
	same := p.NotifyBelow == q.NotifyBelow || p.NotifyBelow != nil && q.NotifyBelow != nil && *p.NotifyBelow == *q.NotifyBelow
	return p.Notify != q.Notify || !same || !p.IssueEnd.Equal(q.IssueEnd)
}

// Valid returns from when until when a code of the lot is valid that this pool
// issues at the given time; until is zero where nothing bounds it.
func (p *Pool) Valid(l *Lot, issuedAt time.Time) (from, until time.Time) {
	from, until = issuedAt, l.AvailableTill
	if l.AvailableFrom.After(from) {
		from = l.AvailableFrom
	}
	if !p.Validity.IsZero() {
		if end := p.Validity.After(issuedAt); until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return from, until
}

// ErrMoment is returned for text that is no time to set a bound by.
var ErrMoment = errors.New("must be a time such as 2026-07-01T00:00:00Z (RFC 3339), in the years 1970 to 9999")

// ParseMoment reads a time that bounds something, to the microsecond.
func ParseMoment(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if t = t.UTC().Truncate(time.Microsecond); err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, ErrMoment
	}
	return t, nil
}

func isName(s string) bool {
	return strings.TrimSpace(s) != "" && len(s) <= 200 && isText(s) && !strings.ContainsAny(s, "\n\r\t")
}

// isText reports whether PostgreSQL and a person can read s.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f
	})
}
