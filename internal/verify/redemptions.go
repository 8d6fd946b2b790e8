package verify

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/topics"
)

// redemptions is what the audit knows of them, with a cut of its own: first the
// group's offsets, then what waits in the outbox, then the ends of the topics.
type redemptions struct {
	stream    string
	requests  log
	outcomes  log
	letters   log
	committed []int64 // by request partition; what must be answered

	asked, malformed, told atomic.Int64
}

// markRedemptions sets the cut.
func (a *audit) markRedemptions(ctx context.Context) error {
	r := &a.redemptions
	req, err := topics.Describe(ctx, a.config.Client, a.names.RedemptionRequests)
	if err != nil {
		return err
	}
	r.stream = req.Stream
	if r.committed, err = a.groupOffsets(ctx, a.names.RedeemingGroup, a.names.RedemptionRequests, req.Partitions); err != nil {
		return err
	}
	// What is stored by now and does not wait here has been published.
	if _, err := a.session.Exec(ctx, markOutbox); err != nil {
		return err
	}
	for _, l := range []struct {
		log   *log
		topic string
	}{{&r.requests, a.names.RedemptionRequests}, {&r.outcomes, a.names.RedemptionOutcomes}, {&r.letters, a.names.DeadLetters}} {
		t, err := topics.Describe(ctx, a.config.Client, l.topic)
		if err != nil {
			return err
		}
		if *l.log, err = a.ends(ctx, l.topic, t.Partitions); err != nil {
			return err
		}
	}
	for p := range r.committed {
		r.committed[p] = min(r.committed[p], r.requests.end[p])
		a.report.InFlight.Redemptions += r.requests.end[p] - r.committed[p]
	}
	a.report.Cut.Redemptions = r.committed
	return nil
}

// markOutbox remembers what waits to be published, and when that was.
const markOutbox = `
INSERT INTO audit_redemption_outbox (type, pool, redemption)
SELECT type, subject, convert_from(value, 'UTF8')::json ->> 'redemption_id' FROM outbox WHERE topic = 'redemption-outcomes';
INSERT INTO audit_redemption_cut (at) VALUES (clock_timestamp())`

// readRedemptionRequests loads all of them: what is not answered yet tells which
// redemptions may be untold.
func (a *audit) readRedemptionRequests(ctx context.Context) error {
	n, err := a.load(ctx, "audit_redemption_requests", func(ctx context.Context, newRows func() *rows) error {
		return a.read(ctx, &a.redemptions.requests, newRows, func(part int, r *consumer.Record, w *rows) error {
			w.begin(9).int32(part).int64(r.Offset).time(r.Time).uuid(digest(r))
			if req, bad := consumer.DecodeRedemption(r); bad != nil {
				a.redemptions.malformed.Add(1)
				w.null().null().null().null().null()
			} else {
				aliased := a.aliased(req)
				a.keyed(w.text(req.PoolID).text(req.RedemptionID), req.Content()).uuid(aliased.Content())
			}
			return w.done()
		})
	})
	a.redemptions.asked.Store(n)
	return err
}

func (a *audit) readRedemptionLetters(ctx context.Context) error {
	_, err := a.load(ctx, "audit_redemption_letters", func(ctx context.Context, newRows func() *rows) error {
		return a.read(ctx, &a.redemptions.letters, newRows, func(part int, r *consumer.Record, w *rows) error {
			if string(consumer.Header(r, "dl_topic")) != a.names.RedemptionRequests || string(consumer.Header(r, "dl_stream")) != a.redemptions.stream {
				return nil
			}
			rpart, roff, err := origin(r, "dl_partition", "dl_offset")
			if err != nil {
				a.flaw(9, unreadableLetter, Sample{{"topic", a.redemptions.letters.topic}, {"partition", part}, {"offset", r.Offset}, {"finding", err.Error()}})
				return nil
			}
			w.begin(5).int32(rpart).int64(roff).uuid(digest(r)).bool(string(consumer.Header(r, "dl_truncated")) == "true").
				bool(string(consumer.Header(r, "dl_reason")) == domain.RedemptionPoison.String())
			return w.done()
		})
	})
	return err
}

// Findings that need no comparison.
var (
	unreadableRedemption = Finding{
		Rule: "form", What: "An event of the topic of redemption outcomes is none of ours, or does not say what ours say.",
		Do: "find out who wrote it; consumers of the topic may have stumbled over it.",
	}
	wrongRedemption = Finding{
		Rule: "attributes", What: "An event of a redemption has another ce_id or ce_time than its redemption gives it.",
		Do: "find out who wrote it; consumers that drop repeats by ce_id took it for another redemption.",
	}
)

func (a *audit) readRedemptionOutcomes(ctx context.Context) error {
	n, err := a.load(ctx, "audit_redemption_outcomes", func(ctx context.Context, newRows func() *rows) error {
		return a.read(ctx, &a.redemptions.outcomes, newRows, func(part int, r *consumer.Record, w *rows) error {
			e, err := readRedemption(r)
			if err != nil {
				a.flaw(9, unreadableRedemption, Sample{{"topic", a.redemptions.outcomes.topic}, {"partition", part}, {"offset", r.Offset}, {"finding", err.Error()}})
				return nil
			}
			// Of a conflict the id says what was asked, which an erased answer does not.
			unknown := e.r.Reason == domain.RedemptionConflict && (a.erased(e.r.CustomerID) || a.erased(e.r.OrderID))
			if e.id != e.wantID && !unknown || e.time != domain.EventTime(e.at) {
				a.flaw(9, wrongRedemption, Sample{{"partition", part}, {"offset", r.Offset}, {"pool", e.r.PoolID}, {"redemption", e.r.RedemptionID}})
			}
			a.writeRedemption(w, part, r.Offset, e)
			return w.done()
		})
	})
	a.redemptions.told.Store(n)
	return err
}

// Kinds of events of redemptions.
const (
	toldRedeemed = iota
	toldRejected
	toldRolledBack
)

// told is an event of a redemption as the topic has it.
type told struct {
	kind             int
	id, wantID, time string
	stream           string
	delivered        bool // has rpart and roff
	rpart            int
	roff             int64
	at               time.Time // by which ce_time is given
	r                domain.Redemption
	sum              [16]byte
}

// toldData is the data of any of them.
type toldData struct {
	RedemptionID string          `json:"redemption_id"`
	PoolID       string          `json:"pool_id"`
	Code         string          `json:"code"`
	CustomerID   *string         `json:"customer_id"`
	OrderID      *string         `json:"order_id"`
	OccurredAt   *string         `json:"occurred_at"`
	IssuedTo     *string         `json:"issued_to"`
	RedeemedAt   *string         `json:"redeemed_at"`
	Processing   string          `json:"processing"`
	RolledBackAt *string         `json:"rolled_back_at"`
	Reason       string          `json:"reason"`
	RejectedAt   *string         `json:"rejected_at"`
	Context      json.RawMessage `json:"context"`
}

func readRedemption(r *consumer.Record) (*told, error) {
	h := func(key string) string { return string(consumer.Header(r, key)) }
	e := &told{id: h("ce_id"), time: h("ce_time"), stream: h("ce_requeststream")}
	kind := h("ce_type")
	switch kind {
	case domain.TypeCodeRedeemed:
	case domain.TypeRedemptionRejected:
		e.kind = toldRejected
	case domain.TypeRedemptionRolledBack:
		e.kind = toldRolledBack
	default:
		return nil, errors.New("ce_type is none of code.redeemed, redemption.rejected and code.redemption_rolled_back")
	}
	var d toldData
	if err := json.Unmarshal(r.Value, &d); err != nil {
		return nil, errors.New("the value is not the JSON of its type")
	}
	if h("ce_source") != domain.Source || h("ce_subject") != d.PoolID || h("ce_dataschema") != domain.DataSchema(kind) || h("ce_specversion") != "1.0" || h("content-type") != "application/json" {
		return nil, errors.New("ce_source, ce_subject, ce_dataschema, ce_specversion or content-type is not what it must be")
	}
	if err := e.take(&d); err != nil {
		return nil, err
	}
	var err error
	if e.rpart, e.roff, err = origin(r, "ce_requestpartition", "ce_requestoffset"); err == nil {
		e.delivered = true
	} else if h("ce_outboxnumber") == "" {
		return nil, errors.New("it says neither which delivery it answers nor that it came by the outbox")
	}
	e.sum = sum([]byte(e.id), []byte(e.time), firstWords(r.Value))
	return e, nil
}

// firstWords is a value as it was before the redemption was rolled back.
func firstWords(value []byte) []byte {
	const from, till = `,"rolled_back_at":`, `,"context":`
	before, rest, ok := bytes.Cut(value, []byte(from))
	_, behind, ends := bytes.Cut(rest, []byte(till))
	if !ok || !ends {
		return value
	}
	return append(append(bytes.Clone(before), from+"null"+till...), behind...)
}

// take makes a redemption of the data.
func (e *told) take(d *toldData) error {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	e.r.RedemptionID, e.r.PoolID, e.r.Code, e.r.Processing = d.RedemptionID, d.PoolID, d.Code, domain.Processing(d.Processing)
	e.r.CustomerID, e.r.OrderID, e.r.IssuedTo = text(d.CustomerID), text(d.OrderID), text(d.IssuedTo)
	if string(d.Context) != "null" {
		e.r.Context = d.Context
	}
	for _, id := range []string{d.RedemptionID, d.PoolID, d.Code} {
		if !domain.ValidEventID(id) {
			return errors.New("an id is absent or malformed")
		}
	}
	if strings.ContainsRune(e.r.CustomerID+e.r.OrderID+e.r.IssuedTo, 0) {
		return errors.New("a NUL in a field")
	}
	decided := d.RedeemedAt
	if e.kind == toldRejected {
		decided = d.RejectedAt
		if e.r.Reason = reasonNamed(d.Reason); e.r.Reason == domain.NotRejected {
			return errors.New("the reason is none of ours")
		}
	}
	for _, t := range []struct {
		text   *string
		to     *time.Time
		needed bool
	}{{decided, &e.r.DecidedAt, true}, {d.OccurredAt, &e.r.OccurredAt, false}, {d.RolledBackAt, &e.r.RolledBackAt, e.kind == toldRolledBack}} {
		if t.text == nil && t.needed {
			return errors.New("a time is absent")
		}
		if t.text != nil {
			var err error
			if *t.to, err = parseTime(*t.text); err != nil {
				return err
			}
		}
	}
	e.at, e.wantID = e.r.DecidedAt, e.r.Event().ID
	if e.kind == toldRolledBack {
		e.at, e.wantID = e.r.RolledBackAt, e.r.RolledBackEvent().ID
	}
	return nil
}

func reasonNamed(name string) domain.RedemptionReason {
	for _, r := range domain.RedemptionReasons {
		if r.String() == name { // the first that goes by the name
			return r
		}
	}
	return domain.NotRejected
}

func (a *audit) writeRedemption(w *rows, part int, offset int64, e *told) {
	otherStream := e.stream != "" && e.stream != a.redemptions.stream
	w.begin(27).int32(part).int64(offset)
	if e.delivered {
		w.int32(e.rpart).int64(e.roff)
	} else {
		w.null().null()
	}
	r := &e.r
	a.keyed(w.int32(e.kind).text(r.PoolID).text(r.RedemptionID).uuid(md5.Sum([]byte(e.id))), r.Content())
	w.uuid(md5.Sum([]byte(r.Code))).textOrNull(r.CustomerID).textOrNull(a.alias(r.CustomerID)).textOrNull(r.OrderID).textOrNull(a.orderAlias(r.OrderID))
	w.time(r.OccurredAt).textOrNull(r.IssuedTo).textOrNull(a.alias(r.IssuedTo)).time(r.DecidedAt)
	w.text(r.Reason.String()).bool(r.Processing == domain.External).time(r.RolledBackAt)
	if r.Context == nil {
		w.null()
	} else {
		w.uuid(md5.Sum(r.Context))
	}
	w.int64(words(e.sum)).int64(a.sense(e)).bool(otherStream).bool(e.delivered && e.stream == a.redemptions.stream)
}

// erasedConflicts tells what was asked by whom a conflict was answered without a name.
// The store knows it by that.
const erasedConflicts = `
UPDATE audit_redemption_outcomes o SET content = r.content, keyed = r.keyed
  FROM audit_redemption_requests r
 WHERE o.reason = 'redemption_conflict' AND NOT o.other_stream AND (o.customer = o.alias OR o.order_id = o.order_alias)
   AND r.part = o.rpart AND r.off = o.roff AND r.pool = o.pool AND r.redemption = o.redemption AND r.aliased = o.content`

// loadRedemptionMarks tells the rules where the logs begin, now that everything is
// read, what must be answered, and which answers retention may have taken.
func (a *audit) loadRedemptionMarks(ctx context.Context) error {
	r := &a.redemptions
	for _, l := range []*log{&r.requests, &r.outcomes, &r.letters} {
		start, _, err := topics.Ends(ctx, a.config.Client, l.topic, len(l.start))
		if err != nil {
			return err
		}
		for p := range l.start {
			l.start[p] = max(l.start[p], start[p])
		}
		if l.deleted() && l != &r.letters {
			a.note("topic %s begins at offset %s: what retention took away was not audited", l.topic, offsets(l.start))
		}
	}
	if _, err := a.load(ctx, "audit_redemption_partitions", func(_ context.Context, newRows func() *rows) error {
		w := newRows()
		for p := range r.committed {
			w.begin(4).int32(p).int64(r.requests.start[p]).int64(r.requests.end[p]).int64(r.committed[p])
		}
		return w.flush()
	}); err != nil {
		return err
	}
	if _, err := a.session.Exec(ctx, "UPDATE audit_redemption_cut SET outcomes = $1, letters = $2", horizon(&r.outcomes), horizon(&r.letters)); err != nil {
		return err
	}
	if _, err := a.session.Exec(ctx, erasedConflicts); err != nil {
		return err
	}
	_, err := a.session.Exec(ctx, "ANALYZE audit_redemption_requests, audit_redemption_outcomes, audit_redemption_letters, audit_redemption_outbox, audit_redemption_partitions")
	return err
}
