package httpapi

import (
	"context"
	"net/http"
	"net/url"

	"promopool/internal/domain"
)

// Staffing is what the interface needs of the store for those who are told of pools
// that run dry, on the same terms.
type Staffing interface {
	CreateStaff(ctx context.Context, who domain.Actor, p domain.Staff, numbered bool) (domain.Staff, error)
	ListStaff(ctx context.Context, which domain.StaffFilter, after string, limit int) ([]domain.Staff, error)
	Staff(ctx context.Context, id string) (domain.Staff, error)
	UpdateStaff(ctx context.Context, who domain.Actor, id string, edit func(domain.Staff) (domain.Staff, error)) (domain.Staff, error)
	DeleteStaff(ctx context.Context, who domain.Actor, id string) error
	// Subscribe and Unsubscribe can be repeated. domain.ErrNoScope: there is no such
	// pool or campaign.
	Subscribe(ctx context.Context, who domain.Actor, id string, to domain.Scope) (domain.Staff, error)
	Unsubscribe(ctx context.Context, who domain.Actor, id string, to domain.Scope) error
	// StaffHistory returns entries below a number, the newest first.
	StaffHistory(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error)
}

func (a *api) staffRoutes(mux *http.ServeMux) {
	a.handle(mux, "POST /v1/staff", a.createStaff)
	a.handle(mux, "GET /v1/staff", a.listStaff)
	a.handle(mux, "GET /v1/staff/{id}", a.readStaff)
	a.handle(mux, "PATCH /v1/staff/{id}", a.editStaff)
	a.handle(mux, "DELETE /v1/staff/{id}", a.deleteStaff)
	a.handle(mux, "PUT /v1/staff/{id}/subscriptions/{scope}", a.subscribe)
	a.handle(mux, "DELETE /v1/staff/{id}/subscriptions/{scope}", a.unsubscribe)
	a.handle(mux, "GET /v1/staff/{id}/history", a.readHistory(a.Staffing.StaffHistory))
}

type staffView struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	Active        bool     `json:"active"`
	Subscriptions []string `json:"subscriptions"`
	CreatedAt     string   `json:"created_at"`
}

func viewStaff(p domain.Staff) staffView {
	v := staffView{
		ID: p.ID, Name: p.Name, Email: p.Email, Active: p.Active, Subscriptions: make([]string, len(p.Subscriptions)), CreatedAt: domain.EventTime(p.CreatedAt),
	}
	for i, s := range p.Subscriptions {
		v.Subscriptions[i] = s.String()
	}
	return v
}

// staffPatch are the settings that can be edited; the id stays, since notices
// tell of it.
var staffPatch = setters[domain.Staff]{
	"name":   into(func(p *domain.Staff) *string { return &p.Name }, "text"),
	"email":  into(func(p *domain.Staff) *string { return &p.Email }, "an address"),
	"active": orDefault(func(p *domain.Staff) *bool { return &p.Active }, true, "true or false"),
}

var staffFields = setters[domain.Staff]{
	"id":   into(func(p *domain.Staff) *string { return &p.ID }, "text"),
	"name": staffPatch["name"], "email": staffPatch["email"], "active": staffPatch["active"],
}

func (a *api) createStaff(w http.ResponseWriter, r *http.Request) error {
	who, err := actorOf(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r)
	if err != nil {
		return err
	}
	p := domain.Staff{Active: true}
	if err := staffFields.apply(o, &p); err != nil {
		return err
	}
	_, chosen := o["id"]
	if !chosen {
		p.ID = idFrom(p.Name, "staff")
	}
	if p, err = a.Staffing.CreateStaff(r.Context(), who, p, !chosen); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/staff/"+url.PathEscape(p.ID))
	return answer(w, http.StatusCreated, viewStaff(p))
}

func (a *api) listStaff(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r, "active", "q")
	if err != nil {
		return err
	}
	var which domain.StaffFilter
	if which.Text, err = p.text(); err != nil {
		return err
	}
	switch active := p.query.Get("active"); active {
	case "":
	case "true", "false":
		yes := active == "true"
		which.Active = &yes
	default:
		return wrongParameter("active", "must be true or false")
	}
	all, err := a.Staffing.ListStaff(r.Context(), which, p.after, p.limit+1)
	if err != nil {
		return err
	}
	return listed(w, p, all, func(p domain.Staff) string { return p.ID }, viewStaff)
}

func (a *api) readStaff(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	p, err := a.Staffing.Staff(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewStaff(p))
}

func (a *api) editStaff(w http.ResponseWriter, r *http.Request) error {
	id, who, err := changeOf(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r, mergePatch)
	if err != nil {
		return err
	}
	p, err := a.Staffing.UpdateStaff(r.Context(), who, id, func(p domain.Staff) (domain.Staff, error) {
		err := staffPatch.apply(o, &p)
		return p, err
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewStaff(p))
}

func (a *api) deleteStaff(w http.ResponseWriter, r *http.Request) error {
	id, who, err := changeOf(r)
	if err != nil {
		return err
	}
	if err := a.Staffing.DeleteStaff(r.Context(), who, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// subscribe answers with whoever is subscribed now; a body means nothing.
func (a *api) subscribe(w http.ResponseWriter, r *http.Request) error {
	id, who, scope, err := subscriptionOf(r)
	if err != nil {
		return err
	}
	p, err := a.Staffing.Subscribe(r.Context(), who, id, scope)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewStaff(p))
}

func (a *api) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	id, who, scope, err := subscriptionOf(r)
	if err != nil {
		return err
	}
	if err := a.Staffing.Unsubscribe(r.Context(), who, id, scope); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// subscriptionOf is changeOf a subscription. What is no scope is not found.
func subscriptionOf(r *http.Request) (id string, who domain.Actor, scope domain.Scope, err error) {
	if id, who, err = changeOf(r); err != nil {
		return "", "", scope, err
	}
	if scope, err = domain.ParseScope(r.PathValue("scope")); err != nil {
		return "", "", scope, problemOf(notFound, "there is no such subscription: its scope "+err.Error())
	}
	return id, who, scope, nil
}
