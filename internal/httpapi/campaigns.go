package httpapi

import (
	"net/http"
	"net/url"

	"promopool/internal/domain"
)

func (a *api) campaignRoutes(mux *http.ServeMux) {
	a.handle(mux, "POST /v1/campaigns", a.createCampaign)
	a.handle(mux, "GET /v1/campaigns", a.listCampaigns)
	a.handle(mux, "GET /v1/campaigns/{id}", a.readCampaign)
	a.handle(mux, "PATCH /v1/campaigns/{id}", a.renameCampaign)
	a.handle(mux, "DELETE /v1/campaigns/{id}", a.deleteCampaign)
	a.handle(mux, "GET /v1/campaigns/{id}/history", a.readHistory(a.Campaigns.CampaignHistory))
}

type campaignView struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt string `json:"created_at"`
}

func viewCampaign(c domain.Campaign) campaignView {
	return campaignView{ID: c.ID, Name: c.Name, CreatedAt: domain.EventTime(c.CreatedAt)}
}

var campaignFields = setters[domain.Campaign]{
	"id":   into(func(c *domain.Campaign) *string { return &c.ID }, "text"),
	"name": into(func(c *domain.Campaign) *string { return &c.Name }, "text"),
}

func (a *api) createCampaign(w http.ResponseWriter, r *http.Request) error {
	who, err := actorOf(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r)
	if err != nil {
		return err
	}
	var c domain.Campaign
	if err := campaignFields.apply(o, &c); err != nil {
		return err
	}
	_, chosen := o["id"]
	if !chosen {
		c.ID = idFrom(c.Name, "campaign")
	}
	if c, err = a.Campaigns.CreateCampaign(r.Context(), who, c, !chosen); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/campaigns/"+url.PathEscape(c.ID))
	return answer(w, http.StatusCreated, viewCampaign(c))
}

func (a *api) listCampaigns(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r, "q")
	if err != nil {
		return err
	}
	text, err := p.text()
	if err != nil {
		return err
	}
	all, err := a.Campaigns.ListCampaigns(r.Context(), text, p.after, p.limit+1)
	if err != nil {
		return err
	}
	return listed(w, p, all, func(c domain.Campaign) string { return c.ID }, viewCampaign)
}

func (a *api) readCampaign(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	c, err := a.Campaigns.Campaign(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewCampaign(c))
}

var renameFields = setters[domain.Campaign]{"name": campaignFields["name"]}

func (a *api) renameCampaign(w http.ResponseWriter, r *http.Request) error {
	id, who, err := changeOf(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r, mergePatch)
	if err != nil {
		return err
	}
	c, err := a.Campaigns.Campaign(r.Context(), id)
	if err != nil {
		return err
	}
	if err := renameFields.apply(o, &c); err != nil {
		return err
	}
	if c, err = a.Campaigns.RenameCampaign(r.Context(), who, id, c.Name); err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewCampaign(c))
}

func (a *api) deleteCampaign(w http.ResponseWriter, r *http.Request) error {
	id, who, err := changeOf(r)
	if err != nil {
		return err
	}
	if err := a.Campaigns.DeleteCampaign(r.Context(), who, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pathID is the id of the pool, campaign or staff in the path. What cannot be one is
// not found without asking.
func pathID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if domain.CheckID(id) != nil {
		return "", domain.ErrNotFound
	}
	return id, nil
}
