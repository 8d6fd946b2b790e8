package verify

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
)

// readPseudonyms learns what erased customers are called, where some were: what the
// topics say of them is then compared by that.
func (a *audit) readPseudonyms(ctx context.Context) error {
	var key []byte
	err := a.aside.QueryRow(ctx, "SELECT key FROM customer_key").Scan(&key)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	a.pseudonyms = domain.NewPseudonyms(key)
	return err
}

// alias is what a customer is called when erased; "": nobody was ever erased, or no
// customer is named.
func (a *audit) alias(customer string) string {
	switch {
	case a.pseudonyms == nil || customer == "":
		return ""
	case domain.IsPseudonym(customer):
		return customer
	}
	return a.pseudonyms.Customer(customer)
}

// orderAlias is the same of an order.
func (a *audit) orderAlias(order string) string {
	switch {
	case a.pseudonyms == nil || order == "":
		return ""
	case domain.IsPseudonym(order):
		return order
	}
	return a.pseudonyms.Order(order)
}

// erased reports whether a name is that of somebody, or of an order, that was erased.
func (a *audit) erased(name string) bool { return a.pseudonyms != nil && domain.IsPseudonym(name) }

// sure refuses to compare when a customer was erased for the first time meanwhile:
// what was read is not known by the names that the database has by now.
func (a *audit) sure(ctx context.Context, tx pgx.Tx) error {
	var some bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM customer_key)").Scan(&some)
	if err == nil && some && a.pseudonyms == nil {
		return errors.New("a customer was erased meanwhile, the first ever: audit again")
	}
	return err
}

// aliased is a request for a redemption as answers to it speak of it when its
// customer is erased.
func (a *audit) aliased(r domain.RedemptionRequest) domain.RedemptionRequest {
	r.CustomerID, r.OrderID, r.Context = a.alias(r.CustomerID), a.orderAlias(r.OrderID), nil
	return r
}

// keyed writes a content, and what the store has in its place when the customer is
// erased.
func (a *audit) keyed(w *rows, c domain.Content) *rows {
	w.uuid(c)
	if a.pseudonyms == nil {
		return w.null()
	}
	return w.uuid(a.pseudonyms.Sum(c[:]))
}

// sense is a digest of what an event of a redemption says, whoever is erased.
func (a *audit) sense(e *told) int64 {
	r := e.r
	r.RedemptionRequest, r.IssuedTo = a.aliased(r.RedemptionRequest), a.alias(r.IssuedTo)
	value := domain.AppendRedemptionRejected
	if e.kind != toldRejected {
		value = domain.AppendRedeemed
	}
	return words(sum([]byte(e.id), []byte(e.time), firstWords(value(nil, &r))))
}

// words folds a digest into a number.
func words(sum [16]byte) int64 {
	return int64(binary.BigEndian.Uint64(sum[:8]) ^ binary.BigEndian.Uint64(sum[8:]))
}
