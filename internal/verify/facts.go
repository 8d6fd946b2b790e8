package verify

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

// readRequests loads the deliveries that may have been answered.
func (a *audit) readRequests(ctx context.Context) error {
	l := a.requests // only up to what is decided: what follows is in flight
	l.end = make([]int64, len(a.requests.end))
	for p := range l.end {
		l.end[p] = a.readable(p)
	}
	var malformed atomic.Int64
	n, err := a.load(ctx, "audit_requests", func(ctx context.Context, newRows func() *rows) error {
		return a.read(ctx, &l, newRows, func(part int, r *consumer.Record, w *rows) error {
			w.begin(10).int32(part).int64(r.Offset).time(r.Time).uuid(digest(r))
			req, bad := consumer.Decode(r)
			if bad != nil {
				malformed.Add(1)
				w.null().null().null().null().null().null()
			} else {
				w.text(req.PoolID).text(req.RequestID).text(req.CustomerID).textOrNull(a.alias(req.CustomerID)).int64(int64(req.Hash())).time(req.ExpiresAt)
			}
			return w.done()
		})
	})
	a.requests.start = l.start
	a.counts.deliveries, a.counts.malformed = n, malformed.Load()
	return err
}

// readable is where the deliveries end that may have been answered.
func (a *audit) readable(p int) int64 {
	return min(a.requests.end[p], max(a.committed[p], a.decided[p]))
}

// digest is of what a dead letter repeats.
func digest(r *consumer.Record) [16]byte {
	return sum(r.Key == nil, r.Key, r.Value == nil, r.Value)
}

// sum is half a SHA-256 over the parts, each with its length.
func sum(parts ...any) [16]byte {
	h := sha256.New()
	var n [8]byte
	write := func(length int) {
		binary.BigEndian.PutUint64(n[:], uint64(length))
		_, _ = h.Write(n[:])
	}
	for _, p := range parts {
		switch p := p.(type) {
		case bool:
			if p {
				write(-1)
			}
		case []byte:
			write(len(p))
			_, _ = h.Write(p)
		}
	}
	var room [sha256.Size]byte
	return [16]byte(h.Sum(room[:0]))
}

func (a *audit) readLetters(ctx context.Context) error {
	n, err := a.load(ctx, "audit_letters", func(ctx context.Context, newRows func() *rows) error {
		return a.read(ctx, &a.letters, newRows, func(part int, r *consumer.Record, w *rows) error {
			if string(consumer.Header(r, "dl_topic")) != a.names.Requests {
				return nil
			}
			stream := consumer.Header(r, "dl_stream")
			if stream != nil && string(stream) != a.stream {
				return nil // of another incarnation of the request topic
			}
			rpart, roff, err := origin(r, "dl_partition", "dl_offset")
			if err != nil {
				a.flaw(3, unreadableLetter, Sample{{"topic", a.letters.topic}, {"partition", part}, {"offset", r.Offset}, {"finding", err.Error()}})
				return nil
			}
			w.begin(7).int32(part).int64(r.Offset).int32(rpart).int64(roff).uuid(digest(r)).
				bool(string(consumer.Header(r, "dl_truncated")) == "true").bool(stream != nil)
			return w.done()
		})
	})
	a.counts.letters = n
	return err
}

// origin reads the two headers that name a delivery.
func origin(r *consumer.Record, partition, offset string) (int, int64, error) {
	p, err := strconv.ParseInt(string(consumer.Header(r, partition)), 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("header %s is no number", partition)
	}
	o, err := strconv.ParseInt(string(consumer.Header(r, offset)), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("header %s is no number", offset)
	}
	return int(p), o, nil
}

// Findings that need no comparison.
var (
	unreadableLetter = Finding{
		Rule: "letter_form", What: "A dead letter does not say which message it is.",
		Do: "find out who wrote it.",
	}
	unreadable = Finding{
		Rule: "form", What: "An event of the outcome topic is none of ours, or does not say what ours say.",
		Do: "find out who wrote it; consumers of the topic may have stumbled over it.",
	}
	wrongIssue = Finding{
		Rule: "attributes", What: "A code.issued event has another ce_id or ce_time than its request and its issue give it.",
		Do: "find out who wrote it; consumers that drop repeats by ce_id took it for another issue.",
	}
	wrongRejection = Finding{
		Rule: "attributes", What: "A code.rejected event has another ce_id or ce_time than its delivery and its verdict give it.",
		Do: "find out who wrote it; if the request topic was made anew, its earlier incarnation is unknown to this database.",
	}
	answersNobody = Finding{
		Rule: "delivery", What: "An outcome event does not say which delivery it answers.",
		Do: "find out who wrote it.",
	}
)

func (a *audit) readOutcomes(ctx context.Context) error {
	var issued, rejected atomic.Int64
	_, err := a.load(ctx, "audit_outcomes", func(ctx context.Context, newRows func() *rows) error {
		return a.read(ctx, &a.outcomes, newRows, func(part int, r *consumer.Record, w *rows) error {
			e, err := readEvent(r)
			if err != nil {
				a.flaw(4, unreadable, Sample{{"topic", a.outcomes.topic}, {"partition", part}, {"offset", r.Offset}, {"finding", err.Error()}})
				return nil
			}
			if e.issued {
				issued.Add(1)
			} else {
				rejected.Add(1)
			}
			a.judge(part, e)
			a.write(w, part, e)
			return w.done()
		})
	})
	a.counts.issued, a.counts.rejected = issued.Load(), rejected.Load()
	return err
}

// judge finds what an event gets wrong without looking at anything else.
func (a *audit) judge(part int, e *event) {
	sample := Sample{{"partition", part}, {"offset", e.offset}, {"pool", e.data.PoolID}, {"request", e.data.RequestID}}
	onTime := e.time == domain.EventTime(e.at)
	e.otherStream = e.stream != "" && e.stream != a.stream
	if !e.delivered && !e.outbox {
		a.flaw(3, answersNobody, sample)
	}
	if e.issued {
		if !onTime || e.id != domain.IssuedEventID(e.data.PoolID, e.data.RequestID) {
			a.flaw(2, wrongIssue, sample)
		}
		return
	}
	streams := a.streams
	if e.stream != "" {
		streams = []string{e.stream}
	}
	known := false
	for _, s := range streams {
		if e.id == domain.RejectedEventID(s, e.rpart, e.roff) {
			known, e.otherStream = true, s != a.stream
		}
	}
	if !known || !onTime {
		a.flaw(5, wrongRejection, sample)
	}
}

// event is an outcome as the topic tells it.
type event struct {
	offset      int64
	issued      bool
	id, time    string
	delivered   bool // has rpart and roff
	outbox      bool // is no answer to a delivery
	stream      string
	rpart       int
	roff        int64
	otherStream bool
	told        time.Time // the record's
	at          time.Time // issued_at, rejected_at
	from, until time.Time
	reason      domain.Reason
	sum         [16]byte
	data        eventData
}

type eventData struct {
	RequestID     string          `json:"request_id"`
	PoolID        string          `json:"pool_id"`
	CustomerID    string          `json:"customer_id"`
	Context       json.RawMessage `json:"context"`
	CampaignID    string          `json:"campaign_id"`
	Code          string          `json:"code"`
	ParameterName string          `json:"parameter_name"`
	IssuedAt      string          `json:"issued_at"`
	ValidFrom     string          `json:"valid_from"`
	ValidUntil    *string         `json:"valid_until"`
	Reason        string          `json:"reason"`
	RejectedAt    string          `json:"rejected_at"`
}

func readEvent(r *consumer.Record) (*event, error) {
	e := &event{offset: r.Offset, told: r.Time}
	var source, subject, schema, contentType, version, kind string
	for i := range r.Headers {
		v := string(r.Headers[i].Value)
		switch r.Headers[i].Key {
		case "ce_id":
			e.id = v
		case "ce_type":
			kind = v
		case "ce_time":
			e.time = v
		case "ce_source":
			source = v
		case "ce_subject":
			subject = v
		case "ce_dataschema":
			schema = v
		case "ce_specversion":
			version = v
		case "content-type":
			contentType = v
		case "ce_requeststream":
			e.stream = v
		case "ce_outboxnumber":
			n, err := strconv.ParseInt(v, 10, 64)
			e.outbox = err == nil && n > 0
		}
	}
	switch kind {
	case domain.TypeCodeIssued:
		e.issued = true
	case domain.TypeCodeRejected:
	default:
		return nil, errors.New("ce_type is neither code.issued nor code.rejected")
	}
	// Unknown fields are allowed: they may be added within a schema's number.
	if err := json.Unmarshal(r.Value, &e.data); err != nil {
		return nil, errors.New("the value is not the JSON of its type")
	}
	d := &e.data
	switch {
	case !domain.ValidEventID(d.RequestID) || !domain.ValidEventID(d.PoolID) || !domain.ValidEventID(d.CustomerID):
		return nil, errors.New("an id is absent or malformed")
	case strings.ContainsRune(d.CampaignID+d.ParameterName, 0):
		return nil, errors.New("a NUL in a field")
	case source != domain.Source || subject != d.PoolID || schema != domain.DataSchema(kind) || version != "1.0" || contentType != "application/json":
		return nil, errors.New("ce_source, ce_subject, ce_dataschema, ce_specversion or content-type is not what it must be")
	}
	if string(d.Context) == "null" {
		d.Context = nil
	}
	var err error
	if e.rpart, e.roff, err = origin(r, "ce_requestpartition", "ce_requestoffset"); err == nil {
		e.delivered = true
	}
	e.sum = sum([]byte(e.id), []byte(e.time), r.Value)
	if e.issued {
		return e, e.readIssued()
	}
	return e, e.readRejected()
}

func (e *event) readIssued() error {
	d := &e.data
	var err1, err2, err3 error
	e.at, err1 = parseTime(d.IssuedAt)
	e.from, err2 = parseTime(d.ValidFrom)
	if d.ValidUntil != nil {
		e.until, err3 = parseTime(*d.ValidUntil)
	}
	if d.Code == "" {
		return errors.New("code is absent")
	}
	return errors.Join(err1, err2, err3)
}

func (e *event) readRejected() (err error) {
	for _, r := range domain.Reasons {
		if r.String() == e.data.Reason {
			e.reason = r
		}
	}
	if e.reason == 0 {
		return errors.New("reason is none of those known")
	}
	e.at, err = parseTime(e.data.RejectedAt)
	return err
}

// parseTime accepts only what events are written with.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || domain.EventTime(t) != s {
		return time.Time{}, errors.New("a time is not RFC 3339 in UTC with at most microseconds")
	}
	return t, nil
}

func (a *audit) write(w *rows, part int, e *event) {
	w.begin(25).int32(part).int64(e.offset)
	if e.delivered {
		w.int32(e.rpart).int64(e.roff)
	} else {
		w.null().null()
	}
	d := &e.data
	erased := a.erased(d.CustomerID)
	w.bool(e.issued).text(d.PoolID).text(d.RequestID).text(d.CustomerID).textOrNull(a.alias(d.CustomerID)).bool(erased).time(e.told).time(e.at)
	w.int64(int64(binary.BigEndian.Uint64(e.sum[:8]))).int64(int64(binary.BigEndian.Uint64(e.sum[8:])))
	if e.issued {
		w.text(d.CampaignID).text(d.ParameterName).uuid(md5.Sum([]byte(d.Code))).time(e.from).time(e.until)
		if d.Context == nil {
			w.null()
		} else {
			w.uuid(md5.Sum(d.Context))
		}
		w.null().null()
	} else {
		req := domain.Request{PoolID: d.PoolID, RequestID: d.RequestID, CustomerID: d.CustomerID, Context: d.Context}
		w.null().null().null().null().null().null().int32(int(e.reason))
		if erased { // the request said who, and more
			w.null()
		} else {
			w.int64(int64(req.Hash()))
		}
	}
	w.bool(e.otherStream).bool(e.delivered && e.stream == a.stream).bool(e.outbox)
}

// readVerdicts unpacks the stored rejections and what they were founded on.
// They are never changed, so they need not be of the snapshot.
func (a *audit) readVerdicts(ctx context.Context) error {
	n, err := a.load(ctx, "audit_verdicts", func(ctx context.Context, newRows func() *rows) error {
		w := newRows()
		if err := a.eachBatch(ctx, "b.verdicts", func(part int, first int64, at time.Time, verdicts []byte) error {
			rejections, err := domain.ParseVerdicts(verdicts, first)
			if err != nil {
				a.flaw(5, unreadableVerdicts, Sample{{"partition", part}, {"first_offset", first}})
			}
			for _, r := range rejections {
				w.begin(5).int32(part).int64(r.Offset).int64(int64(r.Hash)).int32(int(r.Reason)).time(at)
			}
			return w.done()
		}); err != nil {
			return err
		}
		return w.flush()
	})
	a.counts.verdicts = n
	if err != nil {
		return err
	}
	_, err = a.load(ctx, "audit_evidence", func(ctx context.Context, newRows func() *rows) error {
		w := newRows()
		if err := a.eachBatch(ctx, "convert_to(b.evidence::text, 'UTF8')", func(part int, first int64, _ time.Time, evidence []byte) error {
			var all []domain.Evidence
			if err := json.Unmarshal(evidence, &all); err != nil {
				a.flaw(7, unreadableEvidence, Sample{{"partition", part}, {"first_offset", first}})
			}
			for _, e := range all {
				w.begin(8).int32(part).int64(first).int32(int(e.Pool)).int64(e.Revision).int64(e.Left).time(e.At).time(e.IssueStart).time(e.IssueEnd)
			}
			return w.done()
		}); err != nil {
			return err
		}
		return w.flush()
	})
	return err
}

var (
	unreadableVerdicts = Finding{
		Rule: "verdicts", What: "The verdicts of a batch cannot be read.",
		Do: "restore the row of batches: without it these deliveries cannot be repeated.",
	}
	unreadableEvidence = Finding{
		Rule: "evidence_form", What: "The evidence of a batch cannot be read.",
		Do: "find out who wrote it.",
	}
)

// eachBatch streams an expression of the batches of our stream that have it.
func (a *audit) eachBatch(ctx context.Context, column string, visit func(part int, first int64, at time.Time, value []byte) error) error {
	res, err := a.aside.Query(ctx, "SELECT p.number, b.first_offset, b.decided_at, "+column+ //nolint:rowserrcheck // ForEachRow does
		" FROM batches b JOIN partitions p ON p.partition = b.partition WHERE p.stream = $1 AND "+column+" IS NOT NULL", a.stream)
	if err != nil {
		return err
	}
	var part int
	var first int64
	var at time.Time
	var value []byte
	_, err = pgx.ForEachRow(res, []any{&part, &first, &at, &value}, func() error { return visit(part, first, at, value) })
	return err
}
