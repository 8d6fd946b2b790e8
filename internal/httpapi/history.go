package httpapi

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"promopool/internal/domain"
)

type entryView struct {
	Entry    int64          `json:"entry"`
	At       string         `json:"at"`
	Actor    domain.Actor   `json:"actor"`
	Action   domain.Action  `json:"action"`
	Changes  domain.Changes `json:"changes"`
	Version  *int64         `json:"version"`
	Revision *int64         `json:"revision"`
}

func viewEntry(e domain.Entry) entryView {
	v := entryView{Entry: e.No, At: domain.EventTime(e.At), Actor: e.Actor, Action: e.Action, Changes: e.Changes}
	if e.Version > 0 {
		v.Version, v.Revision = &e.Version, &e.Revision
	}
	return v
}

// readHistory handles the history of a pool, a campaign or one of staff.
func (a *api) readHistory(read func(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := pathID(r)
		if err != nil {
			return err
		}
		p, err := pageOf(r, "actor", "action", "field")
		if err != nil {
			return err
		}
		which, err := p.entries()
		if err != nil {
			return err
		}
		below, err := p.below()
		if err != nil {
			return err
		}
		entries, err := read(r.Context(), id, which, below, p.limit+1)
		if err != nil {
			return err
		}
		return listed(w, p, entries, func(e domain.Entry) string { return strconv.FormatInt(e.No, 10) }, viewEntry)
	}
}

// fieldForm is what the name of a field may be.
var fieldForm = regexp.MustCompile(`^[a-z_.]{1,100}$`)

// entries are those of a history that are asked for.
func (p *page) entries() (f domain.EntryFilter, err error) {
	if f.Actor, err = p.actor(); err != nil {
		return f, err
	}
	if f.Action = domain.Action(p.query.Get("action")); f.Action != "" && !slices.Contains(domain.Actions, f.Action) {
		return f, wrongParameter("action", "must be "+oneOf(domain.Actions))
	}
	if f.Field = p.query.Get("field"); f.Field != "" && !fieldForm.MatchString(f.Field) {
		return f, wrongParameter("field", "must be the name of a setting, such as issue_end")
	}
	return f, nil
}
