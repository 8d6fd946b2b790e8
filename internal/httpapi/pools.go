package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"promopool/internal/domain"
)

func (a *api) poolRoutes(mux *http.ServeMux) {
	a.handle(mux, "POST /v1/pools", a.createPool)
	a.handle(mux, "GET /v1/pools", a.listPools)
	a.handle(mux, "GET /v1/pools/{id}", a.readPool)
	a.handle(mux, "PATCH /v1/pools/{id}", a.editPool)
	a.handle(mux, "DELETE /v1/pools/{id}", a.deletePool)
	a.handle(mux, "POST /v1/pools/{id}/launch", a.movePool(a.Pools.LaunchPool))
	a.handle(mux, "POST /v1/pools/{id}/archive", a.movePool(a.Pools.ArchivePool))
	a.handle(mux, "GET /v1/pools/{id}/history", a.readHistory(a.Pools.PoolHistory))
}

type poolView struct {
	ID            string            `json:"id"`
	CampaignID    string            `json:"campaign_id"`
	Name          string            `json:"name"`
	Description   string            `json:"description"`
	ParameterName string            `json:"parameter_name"`
	Notify        bool              `json:"notify"`
	NotifyBelow   *int64            `json:"notify_below"`
	MultiUse      bool              `json:"multi_use"`
	CheckIssued   bool              `json:"check_issued"`
	Validity      *string           `json:"validity"`
	Processing    domain.Processing `json:"processing"`
	IssueStart    *string           `json:"issue_start"`
	IssueEnd      *string           `json:"issue_end"`
	Replenish     *replenishView    `json:"replenish"`

	RedemptionLimit            *int64 `json:"redemption_limit"`
	RedemptionLimitPerCustomer *int64 `json:"redemption_limit_per_customer"`

	State      domain.State `json:"state"`
	Version    int64        `json:"version"`
	CreatedAt  string       `json:"created_at"`
	LaunchedAt *string      `json:"launched_at"`
	ArchivedAt *string      `json:"archived_at"`
}

func viewPool(p domain.Pool) poolView {
	v := poolView{
		ID: p.ID, CampaignID: p.CampaignID, Name: p.Name, Description: p.Description,
		ParameterName: p.ParameterName, Notify: p.Notify, NotifyBelow: p.NotifyBelow,
		MultiUse: p.MultiUse, CheckIssued: p.CheckIssued, Processing: p.Processing, Replenish: viewReplenish(p.Replenish),
		IssueStart: viewTime(p.IssueStart), IssueEnd: viewTime(p.IssueEnd),
		RedemptionLimit: p.RedemptionLimit, RedemptionLimitPerCustomer: p.RedemptionLimitPerCustomer,
		State: p.State, Version: p.Version,
		CreatedAt: domain.EventTime(p.CreatedAt), LaunchedAt: viewTime(p.LaunchedAt), ArchivedAt: viewTime(p.ArchivedAt),
	}
	if !p.Validity.IsZero() {
		text := p.Validity.String()
		v.Validity = &text
	}
	return v
}

// viewTime is a time in a body; null: none.
func viewTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := domain.EventTime(t)
	return &text
}

// etag names a version of a pool.
func etag(version int64) string { return fmt.Sprintf(`"%d"`, version) }

// answerPool answers with a pool and the tag that an edit of it can name.
func answerPool(w http.ResponseWriter, status int, p domain.Pool) error {
	w.Header().Set("ETag", etag(p.Version))
	return answer(w, status, viewPool(p))
}

func (a *api) createPool(w http.ResponseWriter, r *http.Request) error {
	who, err := actorOf(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r)
	if err != nil {
		return err
	}
	p, err := newPool(o)
	if err != nil {
		return err
	}
	_, chosen := o["id"]
	if p, err = a.Pools.CreatePool(r.Context(), who, p, !chosen); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/pools/"+url.PathEscape(p.ID))
	return answerPool(w, http.StatusCreated, p)
}

func (a *api) listPools(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r, "campaign_id", "state", "q")
	if err != nil {
		return err
	}
	which := domain.PoolFilter{CampaignID: p.query.Get("campaign_id"), State: domain.State(p.query.Get("state"))}
	if which.Text, err = p.text(); err != nil {
		return err
	}
	switch which.State {
	case "", domain.Draft, domain.Active, domain.Archived:
	default:
		return wrongParameter("state", "must be draft, active or archived")
	}
	if which.CampaignID != "" && domain.CheckID(which.CampaignID) != nil {
		return wrongParameter("campaign_id", "must be the id of a campaign")
	}
	all, err := a.Pools.ListPools(r.Context(), which, p.after, p.limit+1)
	if err != nil {
		return err
	}
	return listed(w, p, all, func(p domain.Pool) string { return p.ID }, viewPool)
}

func (a *api) readPool(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	p, err := a.Pools.Pool(r.Context(), id)
	if err != nil {
		return err
	}
	return answerPool(w, http.StatusOK, p)
}

// mergePatch is the media type of RFC 7396.
const mergePatch = "application/merge-patch+json"

func (a *api) editPool(w http.ResponseWriter, r *http.Request) error {
	id, who, version, err := poolChange(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r, mergePatch)
	if err != nil {
		return err
	}
	p, err := a.Pools.UpdatePool(r.Context(), who, id, version, func(p domain.Pool) (domain.Pool, error) { return edited(p, o) })
	if err != nil {
		return err
	}
	return answerPool(w, http.StatusOK, p)
}

func (a *api) deletePool(w http.ResponseWriter, r *http.Request) error {
	id, who, version, err := poolChange(r)
	if err != nil {
		return err
	}
	if err := a.Pools.DeletePool(r.Context(), who, id, version); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// movePool handles launch and archive; their bodies mean nothing.
func (a *api) movePool(move func(ctx context.Context, who domain.Actor, id string, version int64) (domain.Pool, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, who, version, err := poolChange(r)
		if err != nil {
			return err
		}
		p, err := move(r.Context(), who, id, version)
		if err != nil {
			return err
		}
		return answerPool(w, http.StatusOK, p)
	}
}

// poolChange is changeOf a pool, with the version of it that the client means; 0
// is any.
func poolChange(r *http.Request) (id string, who domain.Actor, version int64, err error) {
	if id, who, err = changeOf(r); err != nil {
		return "", "", 0, err
	}
	said, ok := r.Header["If-Match"]
	tag := strings.Join(said, ",")
	switch {
	case !ok || tag == "*":
		return id, who, 0, nil
	case tag == "" || strings.Contains(tag, ","): // of several one would do, but which?
		return "", "", 0, wrongParameter("If-Match", "takes the ETag of one version, or *")
	}
	version, err = strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
	if err != nil || version < 1 || tag != etag(version) {
		return "", "", 0, domain.ErrStale // no pool ever had such a tag
	}
	return id, who, version, nil
}
