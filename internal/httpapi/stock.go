package httpapi

import (
	"errors"
	"net/http"

	"promopool/internal/domain"
)

func (a *api) stockRoutes(mux *http.ServeMux) {
	a.handle(mux, "GET /v1/pools/{id}/stock", a.readStock)
	a.handle(mux, "GET /v1/pools/{id}/codes/{code}", a.readCode)
	mux.Handle("GET /v1/pools/{id}/codes.csv", a.plain(a.exportCodes)) // lasts as long as its client needs
	a.handle(mux, "GET /v1/pools/{id}/issuances/{request_id}", a.readIssuance)
}

type stockView struct {
	Total       int64   `json:"total"`
	Available   int64   `json:"available"`
	Scheduled   int64   `json:"scheduled"`
	Held        int64   `json:"held"`
	Issued      int64   `json:"issued"`
	Redeemed    int64   `json:"redeemed"`
	Expired     int64   `json:"expired"`
	Withdrawn   int64   `json:"withdrawn"`
	PerMinute   float64 `json:"per_minute"`
	ExhaustedAt *string `json:"exhausted_at"`
}

func (a *api) readStock(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	s, err := a.Stocks.Stock(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, stockView{
		Total: s.Total, Available: s.Available, Scheduled: s.Scheduled, Held: s.Held, Issued: s.Issued,
		Redeemed: s.Redeemed, Expired: s.Expired, Withdrawn: s.Withdrawn, PerMinute: s.PerMinute, ExhaustedAt: viewTime(s.ExhaustedAt),
	})
}

type codeView struct {
	PoolID        string           `json:"pool_id"`
	Code          string           `json:"code"`
	State         domain.CodeState `json:"state"`
	IssueStart    *string          `json:"issue_start"`
	IssueEnd      *string          `json:"issue_end"`
	AvailableFrom *string          `json:"available_from"`
	AvailableTill *string          `json:"available_till"`
	Issue         *issueView       `json:"issue"`
	Redeemed      int64            `json:"redeemed"`
	Redemptions   []redeemedView   `json:"redemptions"`
	History       []momentView     `json:"history"`
}

type issueView struct {
	RequestID  string  `json:"request_id"`
	CustomerID string  `json:"customer_id"`
	IssuedAt   string  `json:"issued_at"`
	ValidFrom  string  `json:"valid_from"`
	ValidUntil *string `json:"valid_until"`
}

type momentView struct {
	At        string            `json:"at"`
	Event     domain.CodeAction `json:"event"`
	Actor     *string           `json:"actor"`
	Note      *string           `json:"note"`
	RequestID *string           `json:"request_id"`

	RedemptionID *string `json:"redemption_id"`
}

// redeemedView is one redemption of a code.
type redeemedView struct {
	RedemptionID string            `json:"redemption_id"`
	CustomerID   *string           `json:"customer_id"`
	OrderID      *string           `json:"order_id"`
	RedeemedAt   string            `json:"redeemed_at"`
	Processing   domain.Processing `json:"processing"`
	RolledBackAt *string           `json:"rolled_back_at"`
}

// orNone is a text in a body; null: none.
func orNone(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func viewCode(pool string, c domain.CodeStory) codeView {
	v := codeView{
		PoolID: pool, Code: c.Code, State: c.State,
		IssueStart: viewTime(c.Window.IssueStart), IssueEnd: viewTime(c.Window.IssueEnd),
		AvailableFrom: viewTime(c.Window.AvailableFrom), AvailableTill: viewTime(c.Window.AvailableTill),
	}
	for _, m := range c.History {
		v.History = append(v.History, momentView{domain.EventTime(m.At), m.Action, orNone(string(m.Actor)), orNone(m.Note), orNone(m.RequestID), orNone(m.RedemptionID)})
	}
	v.Redeemed, v.Redemptions = c.Redeemed, make([]redeemedView, len(c.Redemptions))
	for i, r := range c.Redemptions {
		v.Redemptions[i] = redeemedView{r.RedemptionID, orNone(r.CustomerID), orNone(r.OrderID), domain.EventTime(r.DecidedAt), r.Processing, viewTime(r.RolledBackAt)}
	}
	if i := c.Issue; i != nil {
		v.Issue = &issueView{
			RequestID: i.RequestID, CustomerID: i.CustomerID, IssuedAt: domain.EventTime(i.IssuedAt),
			ValidFrom: domain.EventTime(i.ValidFrom), ValidUntil: viewTime(i.ValidUntil),
		}
	}
	return v
}

const noSuchCode = "there is no such code in this pool, or no such pool: codes are compared letter by letter, and capitals count"

// pathCode is the code in the path.
func pathCode(r *http.Request) (string, error) {
	code, refused := domain.CleanCode(r.PathValue("code"))
	if refused != "" {
		return "", problemOf(notFound, "there is no such code: "+refused.Detail())
	}
	return code, nil
}

func (a *api) readCode(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	code, err := pathCode(r)
	if err != nil {
		return err
	}
	c, err := a.Stocks.Code(r.Context(), id, code)
	if errors.Is(err, domain.ErrNotFound) {
		return problemOf(notFound, noSuchCode)
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewCode(id, c))
}

// readIssuance answers with the very bytes of the event code.issued.
func (a *api) readIssuance(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	request := r.PathValue("request_id")
	if !domain.ValidEventID(request) {
		return problemOf(notFound, "there is no such request: its id has 1 to 200 bytes of UTF-8")
	}
	i, err := a.Stocks.Issuance(r.Context(), id, request)
	if errors.Is(err, domain.ErrNotFound) {
		return problemOf(notFound, "this pool has given no code to the request, or there is no such pool: the outcome topic tells why a request got none")
	}
	if err != nil {
		return err
	}
	writeIssue(w, &i)
	return nil
}

func writeIssue(w http.ResponseWriter, i *domain.Issuance) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(domain.AppendIssued(nil, i), '\n')) // a client that is gone cannot be told so
}
