package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/tail"
)

// Collector finds the outcomes of requests, or of redemptions, in their topic.
type Collector struct {
	tail *tail.Tail
	ids  *IDs // nil: ids are remembered

	mu       sync.Mutex // guards the rest
	start    time.Time
	known    map[string]int // without ids: number by pool and request
	requests []awaited      // by number
	missing  int64          // answers
	sent     bool           // nothing more will be expected
	complete chan struct{}
	result   Result
}

// awaited is one request, which may be sent several times.
type awaited struct {
	due     int64 // since start
	want    uint16
	have    uint16
	latency uint32 // microseconds, of the first answer
}

// Result is what was answered.
type Result struct {
	Expected int64            `json:"expected"`
	Issued   int64            `json:"issued"`   // or redeemed
	Rejected map[string]int64 `json:"rejected"` // by reason
	Repeated int64            `json:"repeated"` // answers beyond those expected
	Missing  int64            `json:"missing"`
	P50      time.Duration    `json:"p50_ns"`
	P99      time.Duration    `json:"p99_ns"`
	Max      time.Duration    `json:"max_ns"`
	First    time.Time        `json:"first"` // answer seen
	Last     time.Time        `json:"last"`
}

// Collect looks up where the outcome topic ends; answers to what is published
// from now on will be seen. ids of generated requests spare remembering them;
// nil for others.
func Collect(ctx context.Context, client *kafka.Client, topic string, ids *IDs) (*Collector, error) {
	t, err := tail.Open(ctx, client, []string{topic}, tail.From{})
	if err != nil {
		return nil, err
	}
	return &Collector{
		tail: t, ids: ids, start: time.Now(), known: map[string]int{}, complete: make(chan struct{}),
		result: Result{Rejected: map[string]int64{}},
	}, nil
}

// Expect makes the collector wait for one more answer to m. It fits Pace.Due.
func (c *Collector) Expect(m *Message, due time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.number(m.PoolID, m.RequestID)
	if !ok {
		i = len(c.requests)
		c.known[m.PoolID+"\x00"+m.RequestID] = i
	}
	for i >= len(c.requests) {
		c.requests = append(c.requests, awaited{due: int64(due.Sub(c.start))})
	}
	c.requests[i].want++
	c.missing++
	c.result.Expected++
}

func (c *Collector) number(pool, request string) (int, bool) {
	if c.ids != nil {
		if i, ok := c.ids.Index(request); ok {
			return i, true
		}
	}
	i, ok := c.known[pool+"\x00"+request]
	return i, ok
}

// Sent says that nothing more will be expected.
func (c *Collector) Sent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = true
	c.check()
}

// check ends the collection when all is answered.
func (c *Collector) check() {
	if c.sent && c.missing <= 0 {
		select {
		case <-c.complete:
		default:
			close(c.complete)
		}
	}
}

// Run reads until everything expected is answered or ctx ends, which is no
// error: the result says what is missing. It runs beside Publish.
func (c *Collector) Run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.complete:
		case <-ctx.Done():
		}
		cancel()
	}()
	err := c.tail.Follow(ctx, func(_ string, _ int, records []consumer.Record) error {
		now := time.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range records {
			if err := c.take(&records[i], now); err != nil {
				return err
			}
		}
		c.check()
		return nil
	})
	return c.summary(), err
}

func (c *Collector) take(r *consumer.Record, now time.Time) error {
	o, err := readOutcome(r)
	if err != nil {
		return err
	}
	i, ok := c.number(o.pool, o.request)
	if !ok || i >= len(c.requests) || c.requests[i].want == 0 {
		return nil // of another load
	}
	a := &c.requests[i]
	if a.have >= a.want {
		c.result.Repeated++
		return nil
	}
	if a.have == 0 {
		a.latency = uint32(min(max((now.Sub(c.start)-time.Duration(a.due)).Microseconds(), 0), 1<<32-1))
	}
	a.have++
	c.missing--
	if c.result.First.IsZero() {
		c.result.First = now
	}
	c.result.Last = now
	if o.reason == "" {
		c.result.Issued++
	} else {
		c.result.Rejected[o.reason]++
	}
	return nil
}

func (c *Collector) summary() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.result
	r.Missing = c.missing
	var all []uint32
	for i := range c.requests {
		if c.requests[i].have > 0 {
			all = append(all, c.requests[i].latency)
		}
	}
	if len(all) > 0 {
		slices.Sort(all)
		at := func(q float64) time.Duration {
			return time.Duration(all[min(int(q*float64(len(all))), len(all)-1)]) * time.Microsecond
		}
		r.P50, r.P99, r.Max = at(0.5), at(0.99), at(1)
	}
	return r
}

type outcome struct{ request, pool, reason string }

// readOutcome reads the little that is needed, which of our own events stands
// in front.
func readOutcome(r *consumer.Record) (outcome, error) {
	rejected, first := false, `{"request_id":"`
	switch kind := string(consumer.Header(r, "ce_type")); kind {
	case domain.TypeCodeIssued:
	case domain.TypeCodeRejected:
		rejected = true
	case domain.TypeCodeRedeemed:
		first = `{"redemption_id":"`
	case domain.TypeRedemptionRejected:
		rejected, first = true, `{"redemption_id":"`
	default:
		return outcome{}, nil
	}
	var o outcome
	rest, ok := bytes.CutPrefix(r.Value, []byte(first))
	if ok {
		o.request, rest, ok = plainString(rest)
	}
	if ok {
		rest, ok = bytes.CutPrefix(rest, []byte(`,"pool_id":"`))
	}
	if ok {
		o.pool, rest, ok = plainString(rest)
	}
	if ok && rejected {
		_, rest, ok = bytes.Cut(rest, []byte(`,"reason":"`))
		if ok {
			o.reason, _, ok = plainString(rest)
		}
	}
	if ok {
		return o, nil
	}
	var d struct {
		RequestID    string `json:"request_id"`
		RedemptionID string `json:"redemption_id"`
		PoolID       string `json:"pool_id"`
		Reason       string `json:"reason"`
	}
	if err := json.Unmarshal(r.Value, &d); err != nil {
		return outcome{}, fmt.Errorf("outcome at offset %d: %w", r.Offset, err)
	}
	return outcome{d.RequestID + d.RedemptionID, d.PoolID, d.Reason}, nil
}

// plainString takes a string without escapes, up to its closing quote.
func plainString(b []byte) (string, []byte, bool) {
	end := bytes.IndexByte(b, '"')
	if end < 0 || bytes.IndexByte(b[:end], '\\') >= 0 {
		return "", nil, false
	}
	return string(b[:end]), b[end+1:], true
}
