package domain

import (
	"encoding/hex"
	"time"
)

// Event types of redemptions.
const (
	TypeRedemptionRequested  = "promopool.redemption.requested"
	TypeCodeRedeemed         = "promopool.code.redeemed"
	TypeRedemptionRejected   = "promopool.redemption.rejected"
	TypeRedemptionRolledBack = "promopool.code.redemption_rolled_back"
)

// RedemptionEventID is the ce_id of the answer to a redemption. It depends on
// nothing but the redemption, so that every repeat carries the same.
func RedemptionEventID(poolID, redemptionID string) string {
	return string(appendEventID(nil, "redemption", poolID, redemptionID))
}

// RedemptionConflictEventID is that of the answer to whoever used the id of a
// redemption for something else: another, or it would be taken for a repeat.
func RedemptionConflictEventID(poolID, redemptionID string, c Content) string {
	return string(appendEventID(nil, "redemption_conflict", poolID, redemptionID, hex.EncodeToString(c[:])))
}

// RolledBackEventID is that of the word that it was rolled back.
func RolledBackEventID(poolID, redemptionID string) string {
	return string(appendEventID(nil, "redemption_rolled_back", poolID, redemptionID))
}

// Event is the answer as it is published. Repeats have the same bytes, but for
// rolled_back_at.
func (r *Redemption) Event() Event {
	e := Event{Topic: ToRedemptionOutcomes, Key: r.PoolID, At: r.DecidedAt, PoolID: r.PoolID, ID: RedemptionEventID(r.PoolID, r.RedemptionID)}
	if r.Redeemed() {
		e.Type, e.Value = TypeCodeRedeemed, AppendRedeemed(nil, r)
		return e
	}
	if r.Reason == RedemptionConflict {
		content := r.Content()
		if r.Erased != (Content{}) {
			content = r.Erased
		}
		e.ID = RedemptionConflictEventID(r.PoolID, r.RedemptionID, content)
	}
	e.Type, e.Value = TypeRedemptionRejected, AppendRedemptionRejected(nil, r)
	return e
}

// RolledBackEvent tells that a redemption was rolled back.
func (r *Redemption) RolledBackEvent() Event {
	return Event{
		Topic: ToRedemptionOutcomes, Key: r.PoolID, At: r.RolledBackAt, PoolID: r.PoolID,
		ID: RolledBackEventID(r.PoolID, r.RedemptionID), Type: TypeRedemptionRolledBack, Value: AppendRedeemed(nil, r),
	}
}

// AppendRedeemed appends the data of code.redeemed, and of
// code.redemption_rolled_back.
func AppendRedeemed(b []byte, r *Redemption) []byte {
	b = append(appendAsked(b, r), `,"issued_to":`...)
	b = appendOptional(b, r.IssuedTo)
	b = append(AppendEventTime(append(b, `,"redeemed_at":"`...), r.DecidedAt), '"')
	b = appendString(append(b, `,"processing":`...), string(r.Processing))
	b = appendMoment(append(b, `,"rolled_back_at":`...), r.RolledBackAt)
	return append(appendRaw(append(b, `,"context":`...), r.Context), '}')
}

// AppendRedemptionRejected appends the data of redemption.rejected.
func AppendRedemptionRejected(b []byte, r *Redemption) []byte {
	b = appendString(append(appendAsked(b, r), `,"reason":`...), r.Reason.String())
	b = appendString(append(b, `,"detail":`...), r.Reason.Detail())
	b = append(AppendEventTime(append(b, `,"rejected_at":"`...), r.DecidedAt), '"')
	return append(appendRaw(append(b, `,"context":`...), r.Context), '}')
}

// appendAsked appends what answers repeat of the request, but for the context.
func appendAsked(b []byte, r *Redemption) []byte {
	b = appendOptional(append(b, `{"redemption_id":`...), r.RedemptionID) // a check has none
	b = appendString(append(b, `,"pool_id":`...), r.PoolID)
	b = appendString(append(b, `,"code":`...), r.Code)
	b = appendOptional(append(b, `,"customer_id":`...), r.CustomerID)
	b = appendOptional(append(b, `,"order_id":`...), r.OrderID)
	return appendMoment(append(b, `,"occurred_at":`...), r.OccurredAt)
}

func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, `null`...)
	}
	return appendString(b, s)
}

func appendMoment(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, `null`...)
	}
	return append(AppendEventTime(append(b, '"'), t), '"')
}
