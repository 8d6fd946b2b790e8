package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"promopool/internal/domain"
)

// checker holds the model of the store and of Kafka against the invariants of the
// service, at each commit, at each record and at the end. It keeps what it has seen
// in books of its own, and shares nothing with what decides.
type checker struct {
	w *world

	deliveries [][]delivery
	owners     map[place]string      // request by code
	count      map[lotKey]int64      // issued codes
	issues     map[domain.Key]issued // by request
	verdicts   map[spot]verdictOf    // of rejections
	decided    map[spot]bool
	answers    map[spot]answer
	letters    map[spot]bool
	values     map[string]answer // by ce_id
}

// delivery is what was put into the log.
type delivery struct {
	request   domain.Request
	malformed bool
}

// spot is where a delivery lies.
type spot struct {
	partition int
	offset    int64
}

type issued struct {
	issueRow
	when int // event
}

type verdictOf struct {
	reason domain.Reason
	at     time.Time
}

type answer struct{ id, time, value string }

func newChecker(w *world) *checker {
	return &checker{
		w: w, deliveries: make([][]delivery, w.partitions), owners: map[place]string{}, count: map[lotKey]int64{}, issues: map[domain.Key]issued{},
		verdicts: map[spot]verdictOf{}, decided: map[spot]bool{}, answers: map[spot]answer{}, letters: map[spot]bool{}, values: map[string]answer{},
	}
}

// sorted are a map's keys, since a failure must be the same each time.
func sorted[K comparable, V any](m map[K]*V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}

func (c *checker) asked(partition int, offset int64, d delivery) {
	d.request.Offset = offset
	c.deliveries[partition] = append(c.deliveries[partition], d)
}

func (c *checker) fail(invariant int, format string, args ...any) {
	c.w.fail("invariant %d: %s", invariant, fmt.Sprintf(format, args...))
}

// commit sees a transaction that is about to become true.
func (c *checker) commit(s *session) {
	if c.w.db.data.gate != "" {
		c.fail(0, "the gate is closed, though the database lost nothing: %s", c.w.db.data.gate)
	}
	for _, at := range sorted(s.issued.own, place.compare) {
		c.issue(s, at, *s.issued.own[at])
	}
	for _, k := range sorted(s.batches.own, func(a, b batchKey) int { return int(a.partition - b.partition) }) {
		c.batch(s, k, *s.batches.own[k])
	}
	c.stock(s)
}

// issue checks invariants 1, 2 and 8 on a new issuance.
func (c *checker) issue(s *session, at place, i issueRow) {
	key := domain.Key{Pool: i.pool, RequestID: i.request}
	p, _ := s.pools.get(i.pool)
	if other, ok := c.owners[at]; ok {
		c.fail(1, "code %v of request %s goes to %s", at, other, i.request)
	}
	if before, ok := c.issues[key]; ok {
		c.fail(2, "request %s has code %v, and gets %v", i.request, before.place, at)
	}
	c.owners[at] = i.request
	c.count[lotKey{at.pool, at.lot}]++
	c.issues[key] = issued{i, c.w.events}
	l, _ := s.lots.get(lotKey{i.pool, i.lot})
	if p.State != domain.Active {
		c.fail(8, "code %v is issued from a pool that is %s", at, p.State)
	}
	if !within(i.at, l.window.IssueStart, l.window.IssueEnd) || !within(i.at, time.Time{}, l.window.AvailableTill) {
		c.fail(8, "code %v is issued at %v, outside %+v", at, i.at, l.window)
	}
	if !within(i.at, p.IssueStart, p.IssueEnd) {
		c.fail(8, "code %v is issued at %v, outside its pool's %v–%v", at, i.at, p.IssueStart, p.IssueEnd)
	}
	if from, until := validity(&p.Pool, &l.window, i.at); !from.Equal(i.from) || !until.Equal(i.until) {
		c.fail(8, "code %v is valid %v–%v, against the pool's settings %v–%v", at, i.from, i.until, from, until)
	}
	if now := c.w.db.now(); i.at.After(now) {
		c.fail(8, "code %v is issued at %v, and stored at %v", at, i.at, now)
	}
	if s.staff {
		return
	}
	if age := s.fenced.Sub(i.at); age > time.Second {
		c.fail(8, "code %v is issued at %v, which was %v ago when its batch was let through", at, i.at, age)
	}
	for _, e := range s.entries {
		for _, d := range c.deliveries[e.Claim.Number][e.First:e.End] {
			r := d.request
			if r.RequestID == i.request && r.PoolID == p.ID && r.CustomerID == i.customer && (r.ExpiresAt.IsZero() || i.at.Before(r.ExpiresAt)) {
				return
			}
		}
	}
	c.fail(8, "code %v is issued for request %s, which nobody asks for at %v", at, i.request, i.at)
}

// validity is from when until when a code issued at a time may be used.
func validity(p *domain.Pool, w *domain.Window, at time.Time) (from, until time.Time) {
	from, until = at, w.AvailableTill
	if w.AvailableFrom.After(from) {
		from = w.AvailableFrom
	}
	if days := p.Validity.Days; days > 0 {
		if end := at.AddDate(0, 0, days); until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return from, until
}

// within: ends are exclusive, and zero is open.
func within(t, from, until time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (until.IsZero() || t.Before(until))
}

// batch checks invariants 5, 7 and 8 on what a batch decides.
func (c *checker) batch(s *session, k batchKey, b batchRow) {
	number := int(k.partition) - 1
	if b.end > int64(len(c.deliveries[number])) {
		c.fail(5, "partition %d is decided up to %d, and ends at %d", number, b.end, len(c.deliveries[number]))
		return
	}
	for o := b.first; o < b.end; o++ {
		if c.decided[spot{number, o}] {
			c.fail(5, "partition %d: delivery %d is decided again", number, o)
		}
		c.decided[spot{number, o}] = true
	}
	rejections, err := domain.ParseVerdicts(b.verdicts, b.first)
	if err != nil {
		c.fail(5, "partition %d: %v", number, err)
	}
	rejected := map[int64]bool{}
	for _, r := range rejections {
		rejected[r.Offset] = true
		c.reject(s, number, r, b)
	}
	for o := b.first; o < b.end; o++ {
		d := c.deliveries[number][o]
		if d.malformed || rejected[o] {
			continue
		}
		if _, ok := c.issues[domain.Key{Pool: c.w.keyOf(d.request.PoolID), RequestID: d.request.RequestID}]; !ok {
			if _, own := s.requests.own[domain.Key{Pool: c.w.keyOf(d.request.PoolID), RequestID: d.request.RequestID}]; !own {
				c.fail(3, "partition %d: delivery %d is decided, with neither a code nor a rejection", number, o)
			}
		}
	}
}

func (c *checker) reject(s *session, number int, r domain.Rejection, b batchRow) {
	d := c.deliveries[number][r.Offset].request
	c.verdicts[spot{number, r.Offset}] = verdictOf{r.Reason, b.at}
	c.w.count("rejected: " + r.Reason.String())
	var pool *poolRow
	if found := s.poolRows([]string{d.PoolID}); len(found) > 0 {
		pool = &found[0]
	}
	if pool == nil {
		if r.Reason != domain.PoolNotFound {
			c.fail(8, "delivery %d/%d of no pool is rejected as %s", number, r.Offset, r.Reason)
		}
		return
	}
	if s.looked == 0 && r.Reason != domain.RequestConflict && r.Reason != domain.Poison {
		c.fail(5, "delivery %d/%d is rejected as %s from memory: without a look under the locks that make it true", number, r.Offset, r.Reason)
	}
	have, ok := c.issues[domain.Key{Pool: pool.Key, RequestID: d.RequestID}]
	if ok && have.customer == d.CustomerID && have.when <= s.looked {
		c.fail(5, "delivery %d/%d is rejected as %s, though request %s has its code", number, r.Offset, r.Reason, d.RequestID)
	}
	switch r.Reason {
	case domain.PoolNotFound:
		c.fail(8, "delivery %d/%d is rejected for want of its pool, which is there", number, r.Offset)
	case domain.PoolNotActive:
		if pool.State == domain.Active {
			c.fail(8, "delivery %d/%d is rejected because of its pool, which is active", number, r.Offset)
		}
	case domain.RequestExpired:
		if d.ExpiresAt.IsZero() || b.at.Before(d.ExpiresAt) {
			c.fail(8, "delivery %d/%d is rejected as expired at %v, and expires at %v", number, r.Offset, b.at, d.ExpiresAt)
		}
	case domain.RequestConflict:
		if !ok || have.customer == d.CustomerID {
			c.fail(5, "delivery %d/%d is rejected as a conflict, and is none", number, r.Offset)
		}
	case domain.PoolExhausted, domain.NoCodeInWindow:
		c.want(s, pool, number, r, b.at)
	}
}

// want checks invariant 7 on a rejection for want of codes.
func (c *checker) want(s *session, p *poolRow, number int, r domain.Rejection, at time.Time) {
	var left, now int64
	for _, run := range s.runsOf(p.Key, func(runRow) bool { return true }) {
		l, _ := s.lots.get(lotKey{run.pool, run.lot})
		if w := l.window; within(at, time.Time{}, w.IssueEnd) && within(at, time.Time{}, w.AvailableTill) {
			left += run.hi - run.next
			if within(at, w.IssueStart, w.IssueEnd) && within(at, p.IssueStart, p.IssueEnd) {
				now += run.hi - run.next
			}
		}
	}
	switch {
	case r.Reason == domain.PoolExhausted && left > 0:
		c.fail(7, "delivery %d/%d hears of a sold out pool %s, which has %d codes", number, r.Offset, p.ID, left)
	case r.Reason == domain.NoCodeInWindow && (left == 0 || now > 0):
		c.fail(7, "delivery %d/%d hears of no code in window in pool %s, which has %d codes and %d now", number, r.Offset, p.ID, left, now)
	}
}

// stock checks invariant 6 on the lots that a transaction has touched.
func (c *checker) stock(s *session) {
	touched := map[lotKey]*bool{}
	for k := range s.runs.own {
		touched[lotKey{k.pool, k.lot}] = nil
	}
	for k := range s.lots.own {
		touched[k] = nil
	}
	for at := range s.issued.own {
		touched[lotKey{at.pool, at.lot}] = nil
	}
	for _, k := range sorted(touched, lotKey.compare) {
		l, ok := s.lots.get(k)
		if !ok {
			c.fail(6, "lot %v has runs, and is none", k)
			continue
		}
		p, _ := s.pools.get(k.pool)
		total, used, before := l.done+l.withdrawn, l.done, int64(0)
		for _, r := range s.runsOf(k.pool, func(r runRow) bool { return r.lot == k.no }) {
			if r.lo < before || r.next < r.lo || r.hi < r.next {
				c.fail(6, "runs of lot %v overlap at %d", k, r.lo)
			}
			before = r.hi
			total += r.hi - r.lo
			used += r.next - r.lo
		}
		if !p.MultiUse && total != l.size-l.moved {
			c.fail(6, "lot %v has %d codes, its runs tell of %d", k, l.size-l.moved, total)
		}
		if n := c.count[k]; n != used {
			c.fail(6, "of lot %v %d codes are issued, its runs tell of %d", k, n, used)
		}
	}
}

// appended sees records of the topics.
func (c *checker) appended(topic string, partition int, first int64, records []record) {
	for _, r := range records {
		switch topic {
		case outcomes:
			c.outcome(r)
		case deadLetters:
			c.letter(r)
		}
	}
}

func spotOf(r record, partition, offset string) (s spot, err error) {
	if s.partition, err = strconv.Atoi(r.headers[partition]); err == nil {
		s.offset, err = strconv.ParseInt(r.headers[offset], 10, 64)
	}
	return s, err
}

// outcome checks invariants 2, 4 and 5 on an answer.
func (c *checker) outcome(r record) {
	at, err := spotOf(r, "ce_requestpartition", "ce_requestoffset")
	if err != nil || r.headers["ce_requeststream"] != stream {
		c.fail(4, "an outcome of no delivery: %v", r.headers)
		return
	}
	now := answer{r.headers["ce_id"], r.headers["ce_time"], string(r.value)}
	if before, ok := c.answers[at]; ok && before != now {
		c.fail(5, "delivery %v is answered %v, and was answered %v", at, now, before)
	}
	if before, ok := c.values[now.id]; ok && before != now {
		c.fail(2, "two events of one ce_id: %v and %v", before, now)
	}
	c.answers[at], c.values[now.id] = now, now
	var told map[string]any
	if err := json.Unmarshal(r.value, &told); err != nil {
		c.fail(4, "delivery %v is answered with %q: %v", at, r.value, err)
		return
	}
	d := c.deliveries[at.partition][at.offset].request
	c.same(at, told, "request_id", d.RequestID)
	c.same(at, told, "pool_id", d.PoolID)
	c.same(at, told, "customer_id", d.CustomerID)
	if v, ok := c.verdicts[at]; ok {
		c.w.count("event: rejected")
		c.same(at, told, "reason", v.reason.String())
		c.same(at, told, "rejected_at", domain.EventTime(v.at))
		return
	}
	c.w.count("event: issued")
	i, ok := c.issues[domain.Key{Pool: c.w.keyOf(d.PoolID), RequestID: d.RequestID}]
	if !ok || !c.decided[at] {
		c.fail(4, "delivery %v is answered with a code, and nothing is stored of it", at)
		return
	}
	l := c.w.db.data.lots[lotKey{i.pool, i.lot}]
	c.same(at, told, "code", codeText(d.PoolID, i.lot, i.seq%l.size))
	c.same(at, told, "issued_at", domain.EventTime(i.at))
	c.same(at, told, "valid_from", domain.EventTime(i.from))
	if i.until.IsZero() {
		c.same(at, told, "valid_until", nil)
	} else {
		c.same(at, told, "valid_until", domain.EventTime(i.until))
	}
}

func (c *checker) same(at spot, told map[string]any, field string, want any) {
	if told[field] != want {
		c.fail(4, "delivery %v is answered with %s %v, and it is %v", at, field, told[field], want)
	}
}

func (c *checker) letter(r record) {
	at, err := spotOf(r, "dl_partition", "dl_offset")
	if err != nil {
		c.fail(3, "a dead letter of no delivery: %v", r.headers)
		return
	}
	c.letters[at] = true
	c.w.count("dead letter")
	v, rejected := c.verdicts[at]
	if d := c.deliveries[at.partition][at.offset]; !d.malformed && (!rejected || v.reason != domain.Poison) {
		c.fail(3, "delivery %v is a request, and goes to the dead letters", at)
	}
}

// offset checks invariant 3: below the group's offset everything is answered.
func (c *checker) offset(partition int, offset int64) {
	for o := range offset {
		at := spot{partition, o}
		_, told := c.answers[at]
		if !told && !c.letters[at] {
			c.fail(3, "partition %d: the group's offset is %d, and delivery %d is not answered", partition, offset, o)
			return
		}
	}
}

// end checks what must be true when everything is answered.
func (c *checker) end() {
	for p := range c.deliveries {
		c.offset(p, int64(len(c.deliveries[p])))
	}
	var tables []place
	for at := range c.w.db.data.issued {
		tables = append(tables, at)
	}
	if len(tables) != len(c.owners) {
		c.fail(4, "%d issuances are stored, %d were made", len(tables), len(c.owners))
	}
	for key, i := range c.issues {
		if now, ok := c.w.db.data.issued[i.place]; !ok || now != i.issueRow {
			c.fail(2, "the issuance of %v has changed", key)
		}
	}
}
