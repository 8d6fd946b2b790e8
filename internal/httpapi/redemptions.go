package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"promopool/internal/domain"
	"promopool/internal/guesses"
)

// Redeeming is what the interface needs to redeem codes. Answers are durable on
// return, and a repeat gets the first one. After domain.ErrAway or
// domain.ErrUnsure: ask again.
type Redeeming interface {
	// RedeemAndTell judges a request; a first answer is published.
	RedeemAndTell(ctx context.Context, r domain.RedemptionRequest, traceparent string) (domain.Judgement, error)
	// Check answers what a redemption would be answered, and changes nothing.
	Check(ctx context.Context, r domain.RedemptionRequest) (domain.Redemption, error)
	// RollBack rolls a redemption back; again changes nothing.
	RollBack(ctx context.Context, who domain.Actor, pool, redemption, traceparent string) (domain.Redemption, error)
	Redemption(ctx context.Context, pool, redemption string) (domain.Redemption, error)
}

func (a *api) redemptionRoutes(mux *http.ServeMux) {
	a.handle(mux, "POST /v1/pools/{id}/codes/{code}/redeem", a.redeem)
	a.handle(mux, "POST /v1/pools/{id}/codes/{code}/check", a.checkCode)
	a.handle(mux, "GET /v1/pools/{id}/redemptions/{redemption_id}", a.readRedemption)
	a.handle(mux, "POST /v1/pools/{id}/redemptions/{redemption_id}/rollback", a.rollBack)
}

// redemptionFields are those of a redemption in a body.
var redemptionFields = setters[domain.RedemptionRequest]{
	"redemption_id": eventIDOrNull(func(r *domain.RedemptionRequest) *string { return &r.RedemptionID }),
	"customer_id":   eventIDOrNull(func(r *domain.RedemptionRequest) *string { return &r.CustomerID }),
	"order_id":      eventIDOrNull(func(r *domain.RedemptionRequest) *string { return &r.OrderID }),
	"occurred_at":   moment(func(r *domain.RedemptionRequest) *time.Time { return &r.OccurredAt }),
	"context":       setContext,
}

// eventIDOrNull makes a setter of an id such as events have, which null takes away.
func eventIDOrNull[T any](place func(*T) *string) func(*T, json.RawMessage) error {
	return func(t *T, value json.RawMessage) error {
		if *place(t) = ""; isNull(value) {
			return nil
		}
		if json.Unmarshal(value, place(t)) != nil || !domain.ValidEventID(*place(t)) {
			return errors.New("must be 1 to 200 bytes of text without NUL, or null")
		}
		return nil
	}
}

// maxDepth is how deep a context may be nested, here as over Kafka.
const maxDepth = 128

func setContext(r *domain.RedemptionRequest, value json.RawMessage) error {
	if r.Context = nil; isNull(value) {
		return nil
	}
	if value[0] != '{' || len(value) > domain.MaxContextBytes || depth(value) >= maxDepth {
		return fmt.Errorf("must be an object of at most %d bytes, nested at most %d deep, or null", domain.MaxContextBytes, maxDepth-1)
	}
	r.Context = bytes.Clone(value)
	return nil
}

// depth is how deep a JSON text is nested.
func depth(text []byte) (most int) {
	now, quoted, escaped := 0, false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

// redemptionOf reads what is to be redeemed.
func redemptionOf(w http.ResponseWriter, r *http.Request) (domain.RedemptionRequest, error) {
	q := domain.RedemptionRequest{PoolID: r.PathValue("id"), Code: r.PathValue("code")}
	if !domain.ValidEventID(q.PoolID) {
		return q, domain.ErrNotFound
	}
	if !domain.ValidEventID(q.Code) {
		return q, problemOf(badRequest, "the code in the path must be 1 to 200 bytes of UTF-8 without NUL, percent-encoded")
	}
	o, err := readObject(w, r)
	if err != nil {
		return q, err
	}
	return q, redemptionFields.apply(o, &q)
}

func (a *api) redeem(w http.ResponseWriter, r *http.Request) error {
	q, err := redemptionOf(w, r)
	if err != nil {
		return err
	}
	if q.RedemptionID == "" {
		return wrongField("redemption_id", "is needed, and another for each redemption: a repeat of it gets the first answer")
	}
	return a.try(w, r, &q, func() (*domain.Redemption, bool, error) {
		j, err := a.Redeeming.RedeemAndTell(r.Context(), q, traceparent(r))
		return j.Redemption, j.Repeated, err
	})
}

func (a *api) checkCode(w http.ResponseWriter, r *http.Request) error {
	q, err := redemptionOf(w, r)
	if err != nil {
		return err
	}
	return a.try(w, r, &q, func() (*domain.Redemption, bool, error) {
		answer, err := a.Redeeming.Check(r.Context(), q)
		return &answer, false, err
	})
}

// try answers with what a redemption was answered, unless too many have failed: were
// rejected, or, where another system judges, are for codes that the pool does not
// have. A repeat of one that failed is no new try.
func (a *api) try(w http.ResponseWriter, r *http.Request, q *domain.RedemptionRequest, ask func() (*domain.Redemption, bool, error)) error {
	caller, _ := netip.ParseAddrPort(r.RemoteAddr) // net/http's own
	try, err := a.Guesses.Begin(r.Context(), caller.Addr(), q.PoolID)
	if limited := (*guesses.Limited)(nil); errors.As(err, &limited) {
		return tooMany(w, limited)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrAway, err)
	}
	failed := false
	defer func() { try.End(failed) }()
	answer, repeated, err := ask()
	if err != nil {
		return err
	}
	failed = !repeated && (!answer.Redeemed() || !answer.Known)
	if !answer.Redeemed() {
		return refuse(w, answer)
	}
	return answerRaw(w, http.StatusOK, "application/json", domain.AppendRedeemed(nil, answer))
}

func tooMany(w http.ResponseWriter, limited *guesses.Limited) error {
	seconds := int64(limited.RetryAfter/time.Second) + 1
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	whose := "of yours"
	if limited.ByPool {
		whose = "at this pool, of all callers together,"
	}
	return problemOf(tooManyTries, fmt.Sprintf("too many tries %s have failed, and codes must not be guessed: try again in %d s", whose, seconds))
}

// unredeemedView is a problem with the members of redemption.rejected but the code,
// which stands in the path, and the context.
type unredeemedView struct {
	Problem
	RedemptionID *string `json:"redemption_id"`
	PoolID       string  `json:"pool_id"`
	CustomerID   *string `json:"customer_id"`
	OrderID      *string `json:"order_id"`
	OccurredAt   *string `json:"occurred_at"`
	Reason       string  `json:"reason"`
	RejectedAt   string  `json:"rejected_at"`
}

// refuse answers with why a code is not redeemed.
func refuse(w http.ResponseWriter, r *domain.Redemption) error {
	body, err := json.Marshal(unredeemedView{
		Problem:      *problemOf(notRedeemed, r.Reason.Detail()),
		RedemptionID: orNone(r.RedemptionID), PoolID: r.PoolID, CustomerID: orNone(r.CustomerID), OrderID: orNone(r.OrderID),
		OccurredAt: viewTime(r.OccurredAt), Reason: r.Reason.String(), RejectedAt: domain.EventTime(r.DecidedAt),
	})
	if err != nil {
		return err
	}
	context := r.Context
	if context == nil {
		context = []byte("null")
	}
	// As it came: an encoder would write it its own way.
	body = append(append(body[:len(body)-1], `,"context":`...), context...)
	return answerRaw(w, notRedeemed.status, "application/problem+json", append(body, '}'))
}

// redemptionID is the one in the path.
func redemptionID(r *http.Request) (string, error) {
	id := r.PathValue("redemption_id")
	if !domain.ValidEventID(id) {
		return "", problemOf(notFound, "there is no such redemption: its id has 1 to 200 bytes of UTF-8")
	}
	return id, nil
}

// readRedemption answers with the very bytes of the event.
func (a *api) readRedemption(w http.ResponseWriter, r *http.Request) error {
	pool := r.PathValue("id") // perhaps of a pool that never was, whose rejections are remembered too
	id, err := redemptionID(r)
	if err != nil {
		return err
	}
	if !domain.ValidEventID(pool) {
		return domain.ErrNotFound
	}
	answer, err := a.Redeeming.Redemption(r.Context(), pool, id)
	if err != nil {
		return unknownRedemption(err)
	}
	return answerRaw(w, http.StatusOK, "application/json", answer.Event().Value)
}

func (a *api) rollBack(w http.ResponseWriter, r *http.Request) error {
	pool, who, err := changeOf(r)
	if err != nil {
		return err
	}
	id, err := redemptionID(r)
	if err != nil {
		return err
	}
	done, err := a.Redeeming.RollBack(r.Context(), who, pool, id, traceparent(r))
	if err != nil {
		return unknownRedemption(err)
	}
	return answerRaw(w, http.StatusOK, "application/json", domain.AppendRedeemed(nil, &done))
}

func unknownRedemption(err error) error {
	if errors.Is(err, domain.ErrNotFound) {
		return problemOf(notFound, "this pool knows no redemption with this id, or there is no such pool; rejected ones are forgotten after 30 days")
	}
	return err
}

// answerRaw writes a body that is JSON already.
func answerRaw(w http.ResponseWriter, status int, mediaType string, body []byte) error {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone cannot be told so
	return nil
}
