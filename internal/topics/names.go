// Package topics knows the Kafka topics of the service: their names, how they
// are created, and what a running broker says of them. Ensure creates the
// absent ones and waits until they can be used; Describe tells a topic's
// partitions, its message limit, and its Stream: an identity that changes when
// the topic is deleted and made anew. Client builds the connection that every
// other package shares.
package topics

import "time"

// Names are the topics and consumer groups below one prefix.
type Names struct {
	Requests           string
	RedemptionRequests string
	Outcomes           string
	RedemptionOutcomes string
	PoolEvents         string
	Notifications      string
	DeadLetters        string

	IssuingGroup   string
	RedeemingGroup string
}

// Named returns the names below prefix, which ends with its own separator:
// "promo." gives "promo.code-requests".
func Named(prefix string) Names {
	return Names{
		Requests:           prefix + "code-requests",
		RedemptionRequests: prefix + "redemption-requests",
		Outcomes:           prefix + "code-outcomes",
		RedemptionOutcomes: prefix + "redemption-outcomes",
		PoolEvents:         prefix + "pool-events",
		Notifications:      prefix + "staff-notifications",
		DeadLetters:        prefix + "dead-letters",
		IssuingGroup:       prefix + "issuing",
		RedeemingGroup:     prefix + "redeeming",
	}
}

// All lists the topics.
func (n Names) All() []string {
	all := make([]string, 0, 7)
	for _, s := range n.specs() {
		all = append(all, s.name)
	}
	return all
}

const day = 24 * time.Hour

// spec is how one topic is created when it is absent.
type spec struct {
	name      string
	retention time.Duration
	input     bool
}

func (n Names) specs() []spec {
	return []spec{
		{n.Requests, 7 * day, true},
		{n.RedemptionRequests, 7 * day, true},
		{n.Outcomes, 30 * day, false},
		{n.RedemptionOutcomes, 30 * day, false},
		{n.PoolEvents, 30 * day, false},
		{n.Notifications, 30 * day, false},
		{n.DeadLetters, 30 * day, false},
	}
}
