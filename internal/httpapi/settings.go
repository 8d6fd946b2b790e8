package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gosimple/slug"

	"promopool/internal/domain"
)

const defaultParameter = "promo_code"

// poolFields are the settings of a pool in a body. In a merge patch null takes
// a setting back to its default; what has none refuses it.
var poolFields = setters[domain.Pool]{
	"id":             into(func(p *domain.Pool) *string { return &p.ID }, "text"),
	"campaign_id":    into(func(p *domain.Pool) *string { return &p.CampaignID }, "the id of a campaign"),
	"name":           into(func(p *domain.Pool) *string { return &p.Name }, "text"),
	"description":    orDefault(func(p *domain.Pool) *string { return &p.Description }, "", "text"),
	"parameter_name": orDefault(func(p *domain.Pool) *string { return &p.ParameterName }, defaultParameter, "text"),
	"notify":         orDefault(func(p *domain.Pool) *bool { return &p.Notify }, false, "true or false"),
	"notify_below":   setNotifyBelow,
	"multi_use":      orDefault(func(p *domain.Pool) *bool { return &p.MultiUse }, false, "true or false"),
	"check_issued":   orDefault(func(p *domain.Pool) *bool { return &p.CheckIssued }, false, "true or false"),
	"validity":       setValidity,
	"processing":     orDefault(func(p *domain.Pool) *domain.Processing { return &p.Processing }, domain.Internal, "text"),
	"issue_start":    moment(func(p *domain.Pool) *time.Time { return &p.IssueStart }),
	"issue_end":      moment(func(p *domain.Pool) *time.Time { return &p.IssueEnd }),
	"replenish":      setReplenish,

	"redemption_limit":              setLimit(func(p *domain.Pool) **int64 { return &p.RedemptionLimit }),
	"redemption_limit_per_customer": setLimit(func(p *domain.Pool) **int64 { return &p.RedemptionLimitPerCustomer }),
}

// moment makes a setter of a time that null takes away.
func moment[T any](place func(*T) *time.Time) func(*T, json.RawMessage) error {
	return func(t *T, value json.RawMessage) error {
		var text *string
		if json.Unmarshal(value, &text) != nil {
			return orNull(domain.ErrMoment)
		}
		if *place(t) = (time.Time{}); text == nil {
			return nil
		}
		at, err := domain.ParseMoment(*text)
		if err != nil {
			return orNull(err)
		}
		*place(t) = at
		return nil
	}
}

func orNull(err error) error { return fmt.Errorf("%w, or null", err) }

func setNotifyBelow(p *domain.Pool, value json.RawMessage) error {
	p.NotifyBelow = nil // a new number, since the old one belongs to the pool as it was
	if json.Unmarshal(value, &p.NotifyBelow) != nil {
		return errors.New("must be a whole number above 0, or null")
	}
	return nil
}

func setLimit(place func(*domain.Pool) **int64) func(*domain.Pool, json.RawMessage) error {
	return func(p *domain.Pool, value json.RawMessage) error {
		*place(p) = nil // a new number, since the old one belongs to the pool as it was
		if json.Unmarshal(value, place(p)) != nil {
			return errors.New("must be a whole number above 0, or null")
		}
		return nil
	}
}

func setValidity(p *domain.Pool, value json.RawMessage) error {
	var text *string
	if json.Unmarshal(value, &text) != nil {
		return errors.New("must be an ISO 8601 duration such as P30D, or null")
	}
	p.Validity = domain.Period{}
	if text == nil {
		return nil
	}
	var err error
	p.Validity, err = domain.ParsePeriod(*text)
	return err
}

// newPool makes a draft of the settings in a body.
func newPool(o object) (domain.Pool, error) {
	for _, field := range []string{"campaign_id", "name"} {
		if _, ok := o[field]; !ok {
			return domain.Pool{}, wrongField(field, "is needed")
		}
	}
	p, err := edited(domain.Pool{ParameterName: defaultParameter, Processing: domain.Internal}, o)
	if err != nil {
		return domain.Pool{}, err
	}
	if _, ok := o["id"]; !ok {
		p.ID = idFrom(p.Name, "pool")
	}
	return p, nil
}

// edited returns the pool with the settings that o names. It looks after what
// depends on which settings are named; domain.Pool.Check on the rest.
func edited(p domain.Pool, o object) (domain.Pool, error) {
	q := p
	if err := poolFields.apply(o, &q); err != nil {
		return domain.Pool{}, err
	}
	_, below := o["notify_below"]
	if _, notify := o["notify"]; below && !notify {
		q.Notify = q.NotifyBelow != nil
	}
	_, said := o["validity"]
	if err := p.CheckAsked(q, said); err != nil {
		return domain.Pool{}, err
	}
	if domain.CheckID(q.CampaignID) != nil {
		return domain.Pool{}, wrongField("campaign_id", "there is no such campaign: create it first")
	}
	return q, nil
}

// idRoom leaves place behind an id for a number, should it be taken.
const idRoom = 54

// idFrom makes an id of a name: "Été 2026: -20 %" becomes ete-2026-20.
func idFrom(name, otherwise string) string {
	if len(name) > 4*idRoom {
		name = strings.ToValidUTF8(name[:4*idRoom], "") // enough for an id
	}
	id := strings.ReplaceAll(slug.Make(name), "_", "-")
	if len(id) > idRoom {
		id = id[:idRoom]
	}
	if id = strings.Trim(id, "-"); domain.CheckID(id) != nil {
		return otherwise
	}
	return id
}
