package domain

import (
	"strconv"
	"time"
)

// Types of events that tell of pools.
const (
	TypePoolLaunched    = "promopool.pool.launched"
	TypePoolLow         = "promopool.pool.low"
	TypePoolExhausted   = "promopool.pool.exhausted"
	TypePoolReplenished = "promopool.pool.replenished"
	TypePoolArchived    = "promopool.pool.archived"
)

var crossingTypes = map[CrossingKind]string{WentLow: TypePoolLow, Exhausted: TypePoolExhausted, Replenished: TypePoolReplenished}

// StockFacts is what a crossing is founded on, and what is told of it.
type StockFacts struct {
	At          time.Time
	Left        int64     // codes that may be issued now or later
	Threshold   *int64    // of the notice; nil: it is off
	PerMinute   float64   // how fast codes are issued
	ExhaustedAt time.Time // when the last is gone at that rate; zero: there is no telling
}

// FactsOf are those of a pool with so much left, when so many codes are issued.
func FactsOf(p *Pool, samples Samples, now time.Time, left, issued int64) StockFacts {
	f := StockFacts{At: now, Left: left, PerMinute: samples.PerMinute(now, issued)}
	if p.Notify {
		f.Threshold = p.NotifyBelow
	}
	if p.State == Active && !p.MultiUse {
		f.ExhaustedAt = ExhaustedAt(now, left, f.PerMinute)
	}
	return f
}

// CrossingEventID is the ce_id of the event that tells of a crossing.
func CrossingEventID(poolID string, c Crossing) string {
	return poolEventID(crossingTypes[c.Kind], poolID, c.No)
}

func poolEventID(eventType, poolID string, no int64) string {
	return string(appendEventID(nil, eventType, poolID, strconv.FormatInt(no, 10)))
}

// CrossingEvent tells of a crossing, which is not quiet.
func CrossingEvent(p *Pool, c Crossing, f StockFacts) Event {
	return poolEvent(crossingTypes[c.Kind], p, c.No, f.At, appendCrossing(nil, p, f))
}

// LaunchedEvent tells of the launch of a pool.
func LaunchedEvent(p *Pool) Event {
	return poolEvent(TypePoolLaunched, p, 1, p.LaunchedAt, appendPoolMoved(nil, p, p.LaunchedAt))
}

// ArchivedEvent tells of the end of a pool.
func ArchivedEvent(p *Pool) Event {
	return poolEvent(TypePoolArchived, p, 1, p.ArchivedAt, appendPoolMoved(nil, p, p.ArchivedAt))
}

func poolEvent(eventType string, p *Pool, no int64, at time.Time, value []byte) Event {
	return Event{
		Topic: ToPoolEvents, Key: p.ID, ID: poolEventID(eventType, p.ID, no), Type: eventType, At: at, PoolID: p.ID, Value: value,
	}
}

func appendPoolMoved(b []byte, p *Pool, at time.Time) []byte {
	b = appendString(append(b, `{"pool_id":`...), p.ID)
	b = appendString(append(b, `,"campaign_id":`...), p.CampaignID)
	b = appendString(append(b, `,"name":`...), p.Name)
	return appendOccurred(b, at)
}

func appendCrossing(b []byte, p *Pool, f StockFacts) []byte {
	b = appendString(append(b, `{"pool_id":`...), p.ID)
	b = appendString(append(b, `,"campaign_id":`...), p.CampaignID)
	b = appendStanding(b, f)
	b = strconv.AppendFloat(append(b, `,"per_minute":`...), f.PerMinute, 'f', -1, 64)
	b = appendMaybeTime(append(b, `,"exhausted_at":`...), f.ExhaustedAt)
	return appendOccurred(b, f.At)
}

func appendStanding(b []byte, f StockFacts) []byte {
	b = strconv.AppendInt(append(b, `,"remaining":`...), f.Left, 10)
	b = append(b, `,"threshold":`...)
	if f.Threshold == nil {
		return append(b, `null`...)
	}
	return strconv.AppendInt(b, *f.Threshold, 10)
}

func appendMaybeTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, `null`...)
	}
	return append(AppendEventTime(append(b, '"'), t), '"')
}

func appendOccurred(b []byte, at time.Time) []byte {
	return append(AppendEventTime(append(b, `,"occurred_at":"`...), at), `"}`...)
}
