package domain

import (
	"errors"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// Staff is someone who is told of pools that run dry, unless inactive.
type Staff struct {
	Key           int32 // the database's number
	ID            string
	Name          string
	Email         string
	Active        bool
	CreatedAt     time.Time
	Subscriptions []Scope // in the order of their texts
}

// StaffFilter says who is asked for. What is empty means any.
type StaffFilter struct {
	Active *bool
	Text   string // in the name or the address, in any case, or in the id
}

// Scope is what someone subscribes to: everything, the pools of a campaign, or a
// pool. Its text is what bodies and paths have.
type Scope struct {
	Campaign string // its id
	Pool     string // its id; both empty: all
}

// Errors of scopes: text that is none, and one that names what is not there.
var (
	ErrScope   = errors.New("must be all, campaign: and the id of a campaign, or pool: and the id of a pool")
	ErrNoScope = errors.New("there is no such pool or campaign to subscribe to")
)

// ParseScope reads a scope.
func ParseScope(text string) (Scope, error) {
	kind, id, _ := strings.Cut(text, ":")
	switch {
	case text == "all":
		return Scope{}, nil
	case kind == "campaign" && poolIDForm.MatchString(id):
		return Scope{Campaign: id}, nil
	case kind == "pool" && poolIDForm.MatchString(id):
		return Scope{Pool: id}, nil
	}
	return Scope{}, ErrScope
}

func (s Scope) String() string {
	switch {
	case s.Campaign != "":
		return "campaign:" + s.Campaign
	case s.Pool != "":
		return "pool:" + s.Pool
	}
	return "all"
}

// Check returns an *Invalid that names every setting which breaks a rule.
func (s *Staff) Check() error {
	var c checker
	c.want(poolIDForm.MatchString(s.ID), "id", "must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
	c.want(isName(s.Name), "name", "must be 1 to 200 bytes of text without control characters")
	c.want(isEmail(s.Email), "email", "must be an address such as anna@example.com, of at most 254 bytes")
	return c.err()
}

func isEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Name == "" && a.Address == s && len(s) <= 254
}

// Same reports whether both have the same settings, subscriptions aside.
func (s *Staff) Same(t *Staff) bool {
	return s.Key == t.Key && s.ID == t.ID && s.Name == t.Name && s.Email == t.Email && s.Active == t.Active
}

// Subscribes reports whether a subscription is among them.
func (s *Staff) Subscribes(to Scope) bool { return slices.Contains(s.Subscriptions, to) }

func (s *Staff) settings() values {
	return values{"id": s.ID, "name": s.Name, "email": s.Email, "active": s.Active}
}

// Edits are the changes from s to t.
func (s *Staff) Edits(t *Staff) Changes { return s.settings().changes(t.settings()) }

// Born are the changes that made someone staff.
func (s *Staff) Born() Changes { return values{}.changes(s.settings()) }

// Gone are the changes that end it.
func (s *Staff) Gone() Changes { return s.settings().changes(values{}) }
