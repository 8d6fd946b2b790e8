package demo

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/load"
)

// An event is an outcome as a reader of the topic sees it.
type event struct {
	kind     string // ce_type
	id       string // ce_id
	time     string // ce_time
	delivery delivery
	value    string
	seen     time.Time

	outcome
}

// outcome are the fields of the value that the demo looks at.
type outcome struct {
	RequestID  string  `json:"request_id"`
	PoolID     string  `json:"pool_id"`
	CustomerID string  `json:"customer_id"`
	Code       string  `json:"code"`
	Reason     string  `json:"reason"`
	ValidUntil *string `json:"valid_until"`
}

// A delivery is the place of a request in its topic.
type delivery struct{ partition, offset string }

type requestKey struct{ pool, request string }

type codeKey struct{ pool, code string }

// A ledger is what a reader of the outcomes has learned. It believes nobody: it
// knows the topics and not the service.
type ledger struct {
	mu sync.Mutex // guards all below

	issued   map[requestKey]event // the first of each
	owners   map[codeKey]requestKey
	rejected map[string]map[string]int // pool, reason: deliveries
	answered map[delivery]bool
	verdicts map[string]bool // ce_id of rejections

	asks, answers [partitions]int // requests sent and answered, by partition
	repeats       int             // answers beyond the first of a request
	changed       int             // of these, in other words than the first
	faults        []string        // what must never happen
}

func newLedger() *ledger {
	return &ledger{
		issued: map[requestKey]event{}, owners: map[codeKey]requestKey{}, rejected: map[string]map[string]int{},
		answered: map[delivery]bool{}, verdicts: map[string]bool{},
	}
}

// asked notes a request that is about to be sent. It fits load.Pace.
func (l *ledger) asked(m *load.Message, _ time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks[partitionOf(m)]++
}

// note takes outcomes in as they come. It fits tail.Tail.
func (l *ledger) note(_ string, partition int, records []consumer.Record) error {
	events := make([]event, 0, len(records))
	for i := range records {
		events = append(events, parse(&records[i]))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.add(e)
		if !l.answered[e.delivery] {
			l.answered[e.delivery] = true
			l.answers[partition]++
		}
	}
	return nil
}

func parse(r *consumer.Record) event {
	header := func(name string) string { return string(consumer.Header(r, name)) }
	e := event{
		kind: header("ce_type"), id: header("ce_id"), time: header("ce_time"),
		delivery: delivery{header("ce_requestpartition"), header("ce_requestoffset")},
		value:    string(r.Value), seen: time.Now(),
	}
	if json.Unmarshal(r.Value, &e.outcome) != nil {
		e.kind = ""
	}
	return e
}

// add takes an outcome in and notes what is wrong with it.
func (l *ledger) add(e event) {
	request := requestKey{e.PoolID, e.RequestID}
	switch e.kind {
	case domain.TypeCodeRejected:
		if l.verdicts[e.id] {
			return
		}
		l.verdicts[e.id] = true
		if l.rejected[e.PoolID] == nil {
			l.rejected[e.PoolID] = map[string]int{}
		}
		l.rejected[e.PoolID][e.Reason]++
	case domain.TypeCodeIssued:
		if first, ok := l.issued[request]; ok {
			l.repeats++
			if first.id != e.id || first.time != e.time || first.value != e.value {
				l.changed++
				l.fault("request %s of pool %s was answered in different words", e.RequestID, e.PoolID)
			}
			return
		}
		code := codeKey{e.PoolID, e.Code}
		if other, ok := l.owners[code]; ok {
			l.fault("a code of pool %s went to the requests %s and %s", e.PoolID, other.request, e.RequestID)
		}
		l.issued[request], l.owners[code] = e, request
	default:
		l.fault("an event that is no outcome")
	}
}

func (l *ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// tally is the state of a ledger in figures.
type tally struct {
	asked, answered int
	waiting         [partitions]int // by partition
	requests, codes int             // with a code, and with a request
	repeats         int
	changed         int
	faults          []string
}

func (l *ledger) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{requests: len(l.issued), codes: len(l.owners), repeats: l.repeats, changed: l.changed, faults: l.faults}
	for p := range l.asks {
		t.asked += l.asks[p]
		t.answered += l.answers[p]
		t.waiting[p] = l.asks[p] - l.answers[p]
	}
	return t
}

// answer returns the issue of a request, if it is there.
func (l *ledger) answer(pool, request string) (event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.issued[requestKey{pool, request}]
	return e, ok
}

// ofPool counts the codes of a pool that went out, and the refusals by reason.
func (l *ledger) ofPool(pool string) (codes int, rejected map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.owners {
		if c.pool == pool {
			codes++
		}
	}
	return codes, maps.Clone(l.rejected[pool])
}

// lines are the event as it lies in the topic, but for the end of its code.
func (e event) lines() []string {
	value := strings.ReplaceAll(e.value, e.Code, masked(e.Code))
	lines := []string{"ce_type: " + e.kind, "ce_id: " + e.id}
	for len(value) > eventWidth {
		at := strings.LastIndex(value[:eventWidth], `,"`)
		if at < 0 {
			break
		}
		lines = append(lines, value[:at+1])
		value = " " + value[at+1:]
	}
	return append(lines, value)
}

// eventWidth is that of an event's lines, in bytes.
const eventWidth = 72
