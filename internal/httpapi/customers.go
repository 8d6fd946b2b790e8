package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"promopool/internal/domain"
)

// Customers is what the interface needs of the store to tell of customers.
type Customers interface {
	// CustomerCodes returns codes of a customer behind a place in the order of their
	// issue, the last first; a zero time is before the first.
	CustomerCodes(ctx context.Context, customer string, after domain.IssuePlace, limit int) ([]domain.CustomerCode, error)
}

// Erasing is what the interface needs to erase customers.
type Erasing interface {
	// Erase erases a customer, or as much as it gets done in some seconds: the rest
	// goes on by itself, and to ask again tells how far it is. held are the topics
	// that still name the customer. domain.ErrPseudonym, and as of a change of the
	// store domain.ErrAway and domain.ErrUnsure.
	Erase(ctx context.Context, who domain.Actor, customer string) (e domain.Erasure, held []domain.Held, err error)
}

func (a *api) customerRoutes(mux *http.ServeMux) {
	a.handle(mux, "GET /v1/customers/{id}/codes", a.listCustomerCodes)
	a.handle(mux, "DELETE /v1/customers/{id}", a.eraseCustomer)
}

type customerCodeView struct {
	PoolID     string           `json:"pool_id"`
	CampaignID string           `json:"campaign_id"`
	Code       string           `json:"code"`
	State      domain.CodeState `json:"state"`
	RequestID  string           `json:"request_id"`
	IssuedAt   string           `json:"issued_at"`
	ValidFrom  string           `json:"valid_from"`
	ValidUntil *string          `json:"valid_until"`
	RedeemedAt *string          `json:"redeemed_at"`
}

func viewCustomerCode(c domain.CustomerCode) customerCodeView {
	return customerCodeView{
		PoolID: c.Pool.ID, CampaignID: c.Pool.CampaignID, Code: c.Code, State: c.State, RequestID: c.RequestID,
		IssuedAt: domain.EventTime(c.IssuedAt), ValidFrom: domain.EventTime(c.ValidFrom), ValidUntil: viewTime(c.ValidUntil),
		RedeemedAt: viewTime(c.RedeemedAt),
	}
}

// customerID is that of the path. Any that events take is right: a customer whom
// nothing was issued to has no codes.
func customerID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !domain.ValidEventID(id) {
		return "", problemOf(notFound, "there is no such customer: an id has 1 to 200 bytes of UTF-8 without NUL")
	}
	return id, nil
}

func (a *api) listCustomerCodes(w http.ResponseWriter, r *http.Request) error {
	customer, err := customerID(r)
	if err != nil {
		return err
	}
	p, err := pageOf(r)
	if err != nil {
		return err
	}
	after, err := issuePlace(p.after)
	if err != nil {
		return err
	}
	codes, err := a.Customers.CustomerCodes(r.Context(), customer, after, p.limit+1)
	if err != nil {
		return err
	}
	return listed(w, p, codes, placeText, viewCustomerCode)
}

// placeText is where a code stands in the order of issue, as a cursor has it.
func placeText(c domain.CustomerCode) string {
	return fmt.Sprintf("%d-%d-%d-%d", c.IssuedAt.UnixMicro(), c.Pool.Key, c.Lot, c.Seq)
}

// issuePlace is the inverse; of nothing it is the beginning.
func issuePlace(text string) (at domain.IssuePlace, err error) {
	if text == "" {
		return at, nil
	}
	var micros int64
	if n, err := fmt.Sscanf(text, "%d-%d-%d-%d", &micros, &at.Pool, &at.Lot, &at.Seq); n != 4 || err != nil {
		return at, errCursor
	}
	at.At = time.UnixMicro(micros).UTC()
	return at, nil
}

type erasureView struct {
	Done        bool       `json:"done"`
	BegunAt     string     `json:"begun_at"`
	DoneAt      *string    `json:"done_at"`
	Issuances   int64      `json:"issuances"`
	Redemptions int64      `json:"redemptions"`
	HeldUntil   *string    `json:"held_until"` // null: a topic keeps what is in it
	Topics      []heldView `json:"topics"`
}

type heldView struct {
	Topic     string  `json:"topic"`
	HeldUntil *string `json:"held_until"`
}

func viewErasure(e domain.Erasure, held []domain.Held) erasureView {
	v := erasureView{
		Done: !e.DoneAt.IsZero(), BegunAt: domain.EventTime(e.BegunAt), DoneAt: viewTime(e.DoneAt),
		Issuances: e.Issuances, Redemptions: e.Redemptions, Topics: make([]heldView, len(held)),
	}
	var last time.Time
	for i, h := range held {
		v.Topics[i] = heldView{h.Topic, viewTime(h.Until)}
		if h.Until.After(last) {
			last = h.Until
		}
	}
	v.HeldUntil = viewTime(last)
	for _, h := range held {
		if h.Until.IsZero() {
			v.HeldUntil = nil
		}
	}
	return v
}

// eraseCustomer answers 202 while rows are left, or events that were read before: to
// ask again tells how far it is.
func (a *api) eraseCustomer(w http.ResponseWriter, r *http.Request) error {
	customer, err := customerID(r)
	if err != nil {
		return err
	}
	who, err := actorOf(r)
	if err != nil {
		return err
	}
	e, held, err := a.Erasing.Erase(r.Context(), who, customer)
	if errors.Is(err, domain.ErrPseudonym) {
		return problemOf(notFound, err.Error())
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if e.DoneAt.IsZero() {
		status = http.StatusAccepted
	}
	return answer(w, status, viewErasure(e, held))
}
