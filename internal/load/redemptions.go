package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"promopool/internal/domain"
)

// Redemptions are redemption requests from a file, which holds a line of JSON for
// each (the data of redemption.requested) or CSV; or where there is no file, made
// up.
type Redemptions struct {
	In    io.Reader // nil: Count are made up
	Pool  string    // of those that name none
	Count int
	Codes []string         // that the made up take by turns
	Key   RedemptionKeying // of the records
	IDs   IDs              // for those that have none
}

// RedemptionKeying makes a record's key.
type RedemptionKeying func(code, redemption string) []byte

// ParseRedemptionKeying reads "code", "redemption" or "fixed:VALUE".
func ParseRedemptionKeying(s string) (RedemptionKeying, error) {
	fixed, isFixed := strings.CutPrefix(s, "fixed:")
	switch {
	case s == "code":
		return func(code, _ string) []byte { return []byte(code) }, nil
	case s == "redemption":
		return func(_, redemption string) []byte { return []byte(redemption) }, nil
	case isFixed:
		return func(_, _ string) []byte { return []byte(fixed) }, nil
	}
	return nil, fmt.Errorf("key %q is none of code, redemption and fixed:VALUE", s)
}

type redemptionFields struct {
	RedemptionID string          `json:"redemption_id"`
	PoolID       string          `json:"pool_id"`
	Code         string          `json:"code"`
	CustomerID   string          `json:"customer_id,omitempty"`
	OrderID      string          `json:"order_id,omitempty"`
	OccurredAt   string          `json:"occurred_at,omitempty"`
	Context      json.RawMessage `json:"context,omitempty"`
}

var redemptionRequests = form[redemptionFields]{
	what: "a redemption", needed: "code", others: "redemption_id, pool_id, customer_id, order_id, occurred_at and context",
	columns: map[string]func(*redemptionFields, string){
		"redemption_id": func(f *redemptionFields, text string) { f.RedemptionID = text },
		"pool_id":       func(f *redemptionFields, text string) { f.PoolID = text },
		"code":          func(f *redemptionFields, text string) { f.Code = text },
		"customer_id":   func(f *redemptionFields, text string) { f.CustomerID = text },
		"order_id":      func(f *redemptionFields, text string) { f.OrderID = text },
		"occurred_at":   func(f *redemptionFields, text string) { f.OccurredAt = text },
		"context":       func(f *redemptionFields, text string) { f.Context = rawOrNone(text) },
	},
}

// Messages yields the redemptions. An error names the line of the file.
func (r *Redemptions) Messages() iter.Seq2[Message, error] {
	if r.In != nil {
		return redemptionRequests.messages(r.In, r.message)
	}
	return func(yield func(Message, error) bool) {
		if len(r.Codes) == 0 || r.Count > maxIndex {
			yield(Message{}, errors.New("a code is needed, and at most 4,294,967,295 redemptions"))
			return
		}
		for n := range r.Count {
			if !yield(r.message(nil, redemptionFields{Code: r.Codes[n%len(r.Codes)]}, n)) {
				return
			}
		}
	}
}

// message completes a redemption. One that is complete is published as it stands.
func (r *Redemptions) message(whole []byte, f redemptionFields, n int) (Message, error) {
	if f.RedemptionID == "" || f.PoolID == "" {
		whole = nil
	}
	if f.RedemptionID == "" {
		f.RedemptionID = r.IDs.At(n, time.Now())
	}
	if f.PoolID == "" {
		f.PoolID = r.Pool
	}
	if f.PoolID == "" || f.Code == "" {
		return Message{}, errors.New("pool_id or code is missing")
	}
	whole, err := completed(whole, f)
	return Message{Type: domain.TypeRedemptionRequested, PoolID: f.PoolID, RequestID: f.RedemptionID, Key: r.Key(f.Code, f.RedemptionID), Value: whole}, err
}
