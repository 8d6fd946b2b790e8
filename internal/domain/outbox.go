package domain

import "time"

// Topic is where an event of the outbox goes, without the prefix.
type Topic string

// The topics that events of the outbox go to.
const (
	ToCodeOutcomes       Topic = "code-outcomes"
	ToRedemptionOutcomes Topic = "redemption-outcomes"
	ToPoolEvents         Topic = "pool-events"
	ToStaffNotifications Topic = "staff-notifications"
)

// Event is a CloudEvent that is committed together with what it tells of, and
// published afterwards, at least once. All of it is fixed when it is committed:
// a repeat has the same bytes.
type Event struct {
	No          int64 // in the outbox; it only grows (ce_outboxnumber)
	Topic       Topic
	Key         string // of the record: events of one key keep their order
	ID          string // ce_id
	Type        string // ce_type
	At          time.Time
	PoolID      string // ce_subject
	Value       []byte // JSON
	Traceparent string // of who asked for it; "": none
}
