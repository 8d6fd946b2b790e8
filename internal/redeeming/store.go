// Package redeeming is the use case of redemption: it turns requests to redeem
// codes, however they come, into answers that are durably true before anyone
// hears of them. Requests that come while others are under way share a
// transaction with those that wait. A repeat of a request finds its first answer,
// so whoever does not hear one asks again. What it promises and what a crash
// leaves is in docs/redeeming.md.
package redeeming

import (
	"context"
	"errors"

	"promopool/internal/domain"
)

// ErrPoison means that the database refuses the data of a request, and nothing was
// written. Find which.
var ErrPoison = errors.New("the database refuses a redemption's data")

// Ask is a request on its way to be judged.
type Ask struct {
	domain.RedemptionRequest
	// Tell: a first answer is to be published by the outbox, since whoever asks
	// does not publish it.
	Tell        bool
	Traceparent string // of who asks, for the outbox; "": none
}

// Store judges and remembers.
type Store interface {
	// Redeem judges requests one after the other and makes the answers true,
	// durably on return. It is safe to repeat: what was answered before is
	// answered the same. After an error but ErrPoison they may be true.
	Redeem(ctx context.Context, asks []Ask) ([]domain.Judgement, error)
	// CheckRedemption answers what Redeem would, and changes nothing.
	CheckRedemption(ctx context.Context, r domain.RedemptionRequest) (domain.Redemption, error)
	// RollBack rolls a redemption back, once, and publishes that by the outbox.
	// domain.ErrNotFound: there is none; domain.ErrNotRedeemed: it was rejected.
	RollBack(ctx context.Context, who domain.Actor, poolID, redemptionID, traceparent string) (r domain.Redemption, first bool, err error)
	// Redemption returns the remembered answer, or domain.ErrNotFound.
	Redemption(ctx context.Context, poolID, redemptionID string) (domain.Redemption, error)
}
