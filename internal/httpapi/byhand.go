package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"promopool/internal/domain"
)

// ByHand is what the interface needs of the store to issue and block codes one by
// one. A change is durable on return, and made as if by who. The errors are those
// of package domain, *domain.Denied where no code was issued.
type ByHand interface {
	// IssueCode gives one very code to a request, IssueNext the next of the pool. A
	// repeat of the request, by hand or over Kafka, gets the same; a new issue is
	// told on Kafka by the outbox.
	IssueCode(ctx context.Context, who domain.Actor, code string, r domain.Request, traceparent string) (domain.Issuance, error)
	IssueNext(ctx context.Context, who domain.Actor, r domain.Request, traceparent string) (domain.Issuance, error)
	// BlockCode and UnblockCode may be repeated.
	BlockCode(ctx context.Context, who domain.Actor, pool, code, note string) (domain.CodeStory, error)
	UnblockCode(ctx context.Context, who domain.Actor, pool, code, note string) (domain.CodeStory, error)
}

func (a *api) byHandRoutes(mux *http.ServeMux) {
	a.handle(mux, "POST /v1/pools/{id}/issue", a.issueNext)
	a.handle(mux, "POST /v1/pools/{id}/codes/{code}/issue", a.issueCode)
	a.handle(mux, "POST /v1/pools/{id}/codes/{code}/block", a.blockCode)
	a.handle(mux, "POST /v1/pools/{id}/codes/{code}/unblock", a.unblockCode)
}

// issueFields are those of a request by hand in a body.
var issueFields = setters[domain.Request]{
	"request_id":  eventID(func(r *domain.Request) *string { return &r.RequestID }),
	"customer_id": eventID(func(r *domain.Request) *string { return &r.CustomerID }),
}

// eventID makes a setter of an id such as events have.
func eventID[T any](place func(*T) *string) func(*T, json.RawMessage) error {
	return func(t *T, value json.RawMessage) error {
		if isNull(value) || json.Unmarshal(value, place(t)) != nil || !domain.ValidEventID(*place(t)) {
			return errors.New("must be 1 to 200 bytes of text without NUL")
		}
		return nil
	}
}

// handRequest reads who asks for a code, and for whom.
func handRequest(w http.ResponseWriter, r *http.Request) (domain.Request, domain.Actor, error) {
	id, who, err := changeOf(r)
	if err != nil {
		return domain.Request{}, "", err
	}
	ask := domain.Request{PoolID: id}
	o, err := readObject(w, r)
	if err != nil {
		return ask, who, err
	}
	if err := issueFields.apply(o, &ask); err != nil {
		return ask, who, err
	}
	switch {
	case ask.RequestID == "":
		err = wrongField("request_id", "is needed, and another for each issue: a repeat of it gets the same code")
	case ask.CustomerID == "":
		err = wrongField("customer_id", "is needed: who gets the code")
	}
	return ask, who, err
}

func (a *api) issueNext(w http.ResponseWriter, r *http.Request) error {
	ask, who, err := handRequest(w, r)
	if err != nil {
		return err
	}
	i, err := a.ByHand.IssueNext(r.Context(), who, ask, traceparent(r))
	return a.answerIssue(w, &i, err)
}

func (a *api) issueCode(w http.ResponseWriter, r *http.Request) error {
	ask, who, err := handRequest(w, r)
	if err != nil {
		return err
	}
	code, err := pathCode(r)
	if err != nil {
		return err
	}
	i, err := a.ByHand.IssueCode(r.Context(), who, code, ask, traceparent(r))
	if errors.Is(err, domain.ErrNotFound) {
		return problemOf(notFound, noSuchCode)
	}
	return a.answerIssue(w, &i, err)
}

// answerIssue answers with the very bytes of the event code.issued, or with why no
// code was issued.
func (a *api) answerIssue(w http.ResponseWriter, i *domain.Issuance, err error) error {
	if denied := (*domain.Denied)(nil); errors.As(err, &denied) {
		write(w, http.StatusConflict, "application/problem+json", deniedView{*problemOf(denials[denied.Reason], denied.Error()), denied.Reason})
		return nil
	}
	if err != nil {
		return err
	}
	if a.Told != nil {
		a.Told()
	}
	writeIssue(w, i)
	return nil
}

// deniedView is a problem with the reason as events have it.
type deniedView struct {
	Problem
	Reason domain.Denial `json:"reason"`
}

// noteOf is what the body says of a change, if there is one.
func noteOf(w http.ResponseWriter, r *http.Request) (note string, err error) {
	if r.ContentLength == 0 {
		return "", nil
	}
	o, err := readObject(w, r)
	if err != nil {
		return "", err
	}
	return note, noteFields.apply(o, &note)
}

var noteFields = setters[string]{
	"note": func(note *string, value json.RawMessage) error {
		if *note = ""; isNull(value) {
			return nil
		}
		if json.Unmarshal(value, note) != nil || domain.CheckNote(*note) != nil {
			return domain.ErrNote
		}
		return nil
	},
}

func (a *api) blockCode(w http.ResponseWriter, r *http.Request) error {
	return changeCode(w, r, a.ByHand.BlockCode)
}

func (a *api) unblockCode(w http.ResponseWriter, r *http.Request) error {
	return changeCode(w, r, a.ByHand.UnblockCode)
}

// changeCode makes a change of a code and answers with its story.
func changeCode(w http.ResponseWriter, r *http.Request, change func(ctx context.Context, who domain.Actor, pool, code, note string) (domain.CodeStory, error)) error {
	id, who, err := changeOf(r)
	if err != nil {
		return err
	}
	code, err := pathCode(r)
	if err != nil {
		return err
	}
	note, err := noteOf(w, r)
	if err != nil {
		return err
	}
	c, err := change(r.Context(), who, id, code, note)
	if errors.Is(err, domain.ErrNotFound) {
		return problemOf(notFound, noSuchCode)
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewCode(id, c))
}
