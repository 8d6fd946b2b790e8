package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

const partitions = 3

// world is topics and a database as a correct service leaves them, written by
// hand, so that they can be written wrongly too.
type world struct {
	t      *testing.T
	client *kafka.Client
	names  topics.Names
	prefix string
	stream string
	url    string
	db     *pgx.Conn
	out    *producer.Producer

	// Something that is not a row was changed since the world was built: an event, an
	// offset, what is remembered here.
	spoiled bool

	now  time.Time
	ends [partitions]int64 // of the request topic
	keys [partitions]int   // partitions.partition

	// what good leaves
	summer, dry, later, many, season, made, barred, shared, hand, valid *domain.Pool
	first                                                               delivery         // of r-1
	r1, r2                                                              *domain.Issuance // of pool summer
	refused                                                             delivery         // exhausted
	refusedAt                                                           time.Time
	flying                                                              delivery         // decided, the group's offset does not say so
	lots                                                                map[string]int32 // the first of each pool
	scant                                                               *domain.Pool     // ran low, and is exhausted
}

// delivery is a record of the request topic.
type delivery struct {
	part int
	off  int64
	req  domain.Request
	rec  producer.Record
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, prefix: kafkatest.Prefix(t), url: pgtest.Recycled(t, postgres.Migrate), lots: map[string]int32{}}
	w.names = topics.Named(w.prefix)
	w.client = topics.Client([]string{kafkatest.ForTest(t)})
	t.Cleanup(func() { topics.Close(w.client) })
	w.must(topics.Ensure(ctx, w.client, w.names, partitions))
	requests, err := topics.Describe(ctx, w.client, w.names.Requests)
	w.must(err)
	w.stream = requests.Stream
	w.out = producer.New(w.client, nil, zerolog.Nop(), prometheus.NewRegistry())
	w.db, err = pgx.Connect(ctx, w.url)
	w.must(err)
	t.Cleanup(func() { w.db.Close(context.Background()) })
	for p := range partitions {
		w.must(w.db.QueryRow(ctx, "INSERT INTO partitions (stream, number) VALUES ($1, $2) RETURNING partition", w.stream, p).Scan(&w.keys[p]))
	}
	w.exec("SET synchronous_commit = off")
	w.exec("UPDATE service SET partitions = 1")
	w.exec("INSERT INTO campaigns (id, name, created_at) VALUES ('camp', 'Campaign', now() - interval '2 hours')")
	w.now = time.Now().UTC().Add(-time.Hour).Truncate(time.Microsecond)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	_, err := w.db.Exec(w.t.Context(), sql, args...)
	w.must(err)
}

func (w *world) tick() time.Time {
	w.now = w.now.Add(10 * time.Millisecond)
	return w.now
}

func (w *world) pool(id string, multiUse bool) *domain.Pool {
	w.t.Helper()
	p := &domain.Pool{ID: id, CampaignID: "camp", ParameterName: "promo_code", MultiUse: multiUse}
	w.must(w.db.QueryRow(w.t.Context(), `
		INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, state, mode, created_at, launched_at)
		SELECT $1, campaign, 'Pool', 'A pool', 'promo_code', false, $2, false, 'internal', 'active', 'ample', created_at, created_at FROM campaigns
		RETURNING pool`, id, multiUse).Scan(&p.Key))
	return p
}

// window sets the pool's own issue window and remembers it, clearly later than
// what was before and earlier than what follows.
func (w *world) window(p *domain.Pool, start, end time.Time) {
	w.t.Helper()
	w.edit(p, func(p *domain.Pool) { p.IssueStart, p.IssueEnd = start, end })
}

// edit changes the pool's own window or validity and remembers it, likewise.
func (w *world) edit(p *domain.Pool, change func(*domain.Pool)) {
	w.t.Helper()
	w.spoiled = true
	before := *p
	change(p)
	changes, err := json.Marshal(before.Edits(p))
	w.must(err)
	w.now = w.now.Add(2 * time.Second)
	w.exec("UPDATE pools SET issue_start = $2, issue_end = $3, validity = nullif($4, '') WHERE pool = $1", p.Key, null(p.IssueStart), null(p.IssueEnd), p.Validity.String())
	w.exec("INSERT INTO history (at, actor, action, pool, changes) VALUES ($1, 'test', 'pool.edited', $2, $3::text::jsonb)", w.now, p.Key, string(changes))
	w.now = w.now.Add(2 * time.Second)
}

func (w *world) lot(p *domain.Pool, size int, win domain.Window) int32 {
	w.t.Helper()
	var lot int32
	w.must(w.db.QueryRow(w.t.Context(), "SELECT nextval('lot_numbers')").Scan(&lot))
	w.exec("INSERT INTO codes (pool, lot, seq, code) SELECT $1::int, $2::int, n, format('%s-%s-%s', $1::int, $2::int, n) FROM generate_series(0, $3::int - 1) n", p.Key, lot, size)
	w.exec("SELECT add_lot($1, $2, $3, NULL, $4, $5, $6, $7)", p.Key, lot, size, null(win.IssueStart), null(win.IssueEnd), null(win.AvailableFrom), null(win.AvailableTill))
	if _, ok := w.lots[p.ID]; !ok {
		w.lots[p.ID] = lot
	}
	return lot
}

// grow adds one code, "late", to the pool's first lot.
func (w *world) grow(p *domain.Pool) {
	w.t.Helper()
	w.exec("INSERT INTO codes (pool, lot, seq, code) SELECT pool, lot, size, 'late' FROM lots WHERE pool = $1 AND lot = $2", p.Key, w.lots[p.ID])
	w.exec(`SELECT add_codes(pool, NULL, created_at, ARRAY[lot], ARRAY[size], ARRAY[1::bigint],
		ARRAY[issue_start], ARRAY[issue_end], ARRAY[available_from], ARRAY[available_till]) FROM lots WHERE pool = $1 AND lot = $2`, p.Key, w.lots[p.ID])
}

// copyWindows lets runs follow lots whose windows were changed.
func (w *world) copyWindows() {
	w.t.Helper()
	w.exec(`UPDATE runs r SET issue_start = coalesce(l.issue_start, '-infinity'), issue_end = coalesce(l.issue_end, 'infinity'),
		available_till = coalesce(l.available_till, 'infinity') FROM lots l WHERE l.pool = r.pool AND l.lot = r.lot`)
}

// block blocks a code of the pool's first lot; wants tells whether it was not yet.
func (w *world) block(p *domain.Pool, seq int) {
	w.t.Helper()
	w.exec("SELECT block_code($1, $2, $3, 'anna', 'leaked')", p.Key, w.lots[p.ID], seq)
}

func (w *world) unblock(p *domain.Pool, seq int) {
	w.t.Helper()
	w.exec("SELECT unblock_code($1, $2, $3, 'anna', '')", p.Key, w.lots[p.ID], seq)
}

// pass uses the next ordinal of a multi-use pool's first lot up without issuing it.
func (w *world) pass(p *domain.Pool) {
	w.t.Helper()
	w.exec("UPDATE runs SET next = next + 1 WHERE pool = $1 AND lot = $2 AND partition IS NULL", p.Key, w.lots[p.ID])
}

// generate makes a lot of the only pattern of a pool, whose key is all zeros.
func (w *world) generate(p *domain.Pool, size int) {
	w.t.Helper()
	w.exec(`SELECT generate_lot(p.pool, coalesce(g.generator, gen_random_uuid()), 'S-#####', $2, $3, coalesce(g.made, 0), $4, NULL, NULL, NULL, NULL, 'generation', 'test', NULL)
		FROM pools p LEFT JOIN generators g ON g.pool = p.pool WHERE p.pool = $1`, p.Key, domain.Plain, make([]byte, domain.GeneratorKeySize), size)
}

// generated is the code of a number.
func (w *world) generated(number int64) string {
	w.t.Helper()
	p, err := domain.ParsePattern("S-#####", "")
	w.must(err)
	g, err := domain.NewGenerator(p, make([]byte, domain.GeneratorKeySize))
	w.must(err)
	return g.Codes(number, 1)[0]
}

func null(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// send publishes a request.
func (w *world) send(part int, r domain.Request) delivery {
	w.t.Helper()
	value := map[string]any{"request_id": r.RequestID, "pool_id": r.PoolID, "customer_id": r.CustomerID}
	if !r.ExpiresAt.IsZero() {
		value["expires_at"] = domain.EventTime(r.ExpiresAt)
	}
	if r.Context != nil {
		value["context"] = json.RawMessage(r.Context)
	}
	b, err := json.Marshal(value)
	w.must(err)
	d := w.sendRaw(part, b)
	d.req = r
	d.req.Offset = d.off
	return d
}

func (w *world) sendRaw(part int, value []byte) delivery {
	w.t.Helper()
	rec := producer.Record{Key: []byte("key"), Value: value, Time: w.now}
	w.publish(w.names.Requests, part, rec)
	w.ends[part]++
	return delivery{part: part, off: w.ends[part] - 1, rec: rec}
}

func (w *world) publish(topic string, part int, rec producer.Record) {
	w.t.Helper()
	w.spoiled = true
	w.must(w.out.Publish(w.t.Context(), topic, part, []producer.Record{rec}))
}

// ask sends a request that is decided, and not told.
func (w *world) ask(r domain.Request) delivery {
	w.t.Helper()
	d := w.send(0, r)
	w.batch(d, nil, nil)
	return d
}

// issue gives the delivery the next free code of the lot and tells it.
func (w *world) issue(d delivery, p *domain.Pool, lot int32) *domain.Issuance {
	w.t.Helper()
	i := w.give(d.req, p, lot)
	w.batch(d, nil, nil)
	w.tell(d, i)
	return i
}

// give stores an issuance of the next free code of the lot.
func (w *world) give(r domain.Request, p *domain.Pool, lot int32) *domain.Issuance {
	w.t.Helper()
	ctx := w.t.Context()
	at := w.tick()
	i := &domain.Issuance{Pool: p, RequestID: r.RequestID, CustomerID: r.CustomerID, Context: r.Context, IssuedAt: at}
	i.Lot = lot
	w.must(w.db.QueryRow(ctx, `
		UPDATE runs SET next = next + 1
		 WHERE (pool, lot, lo) = (SELECT pool, lot, lo FROM runs WHERE pool = $1 AND lot = $2 AND partition IS NULL AND next < hi ORDER BY lo LIMIT 1)
		RETURNING next - 1`, p.Key, lot).Scan(&i.Seq))
	var l domain.Lot
	var from, till *time.Time
	var number *int64
	w.must(w.db.QueryRow(ctx, `
		SELECT coalesce(c.code, ''), l.gen_from + $3 % l.size, l.available_from, l.available_till
		  FROM lots l LEFT JOIN codes c ON c.pool = l.pool AND c.lot = l.lot AND c.seq = $3 % l.size WHERE l.pool = $1 AND l.lot = $2`,
		p.Key, lot, i.Seq).Scan(&i.Code, &number, &from, &till))
	if number != nil {
		i.Code = w.generated(*number)
	}
	if from != nil {
		l.AvailableFrom = *from
	}
	if till != nil {
		l.AvailableTill = *till
	}
	i.ValidFrom, i.ValidUntil = p.Valid(&l, at)
	w.exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, valid_until, request_id, customer_id, context) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		p.Key, lot, i.Seq, at, i.ValidFrom, null(i.ValidUntil), i.RequestID, i.CustomerID, i.Context)
	w.exec("INSERT INTO customer_codes (volume, customer_id, issued_at, pool, lot, seq) VALUES (1, $1, $2, $3, $4, $5)", i.CustomerID, at, p.Key, lot, i.Seq)
	return i
}

// batch stores the decision on one delivery.
func (w *world) batch(d delivery, rejections []domain.Rejection, evidence []domain.Evidence) {
	w.t.Helper()
	var e *string
	if evidence != nil {
		b, err := json.Marshal(evidence)
		w.must(err)
		s := string(b)
		e = &s
	}
	w.exec("INSERT INTO batches (partition, first_offset, end_offset, decided_at, verdicts, evidence) VALUES ($1, $2::bigint, $2::bigint + 1, $3, $4, $5::text::jsonb)",
		w.keys[d.part], d.off, w.now, domain.AppendVerdicts(nil, d.off, rejections), e)
	w.exec("UPDATE partitions SET next_offset = greatest(next_offset, $2::bigint), batch_no = batch_no + 1 WHERE partition = $1", w.keys[d.part], d.off+1)
}

func (w *world) headers(d delivery, kind, id, pool string, at time.Time) []kafka.Header {
	var h []kafka.Header
	for _, kv := range [][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", id}, {"ce_type", kind}, {"ce_source", domain.Source}, {"ce_time", domain.EventTime(at)},
		{"ce_subject", pool}, {"ce_dataschema", domain.DataSchema(kind)}, {"content-type", "application/json"},
		{"ce_requeststream", w.stream}, {"ce_requestpartition", strconv.Itoa(d.part)}, {"ce_requestoffset", strconv.FormatInt(d.off, 10)},
	} {
		h = append(h, kafka.Header{Key: kv[0], Value: []byte(kv[1])})
	}
	return h
}

func (w *world) issuedEvent(d delivery, i *domain.Issuance) producer.Record {
	return producer.Record{
		Key: []byte("key"), Value: domain.AppendIssued(nil, i), Time: w.now,
		Headers: w.headers(d, domain.TypeCodeIssued, domain.IssuedEventID(i.Pool.ID, i.RequestID), i.Pool.ID, i.IssuedAt),
	}
}

func (w *world) tell(d delivery, i *domain.Issuance) {
	w.t.Helper()
	w.publish(w.names.Outcomes, d.part, w.issuedEvent(d, i))
}

func (w *world) rejectedEvent(d delivery, why domain.Reason, at time.Time) producer.Record {
	o := domain.Outcome{Request: &d.req, Verdict: domain.Rejected, Reason: why, DecidedAt: at}
	return producer.Record{
		Key: []byte("key"), Value: domain.AppendRejected(nil, &o), Time: w.now,
		Headers: w.headers(d, domain.TypeCodeRejected, domain.RejectedEventID(w.stream, d.part, d.off), d.req.PoolID, at),
	}
}

// reject decides against the delivery and tells it. left is the evidence where
// the reason needs some.
func (w *world) reject(d delivery, why domain.Reason, p *domain.Pool, left int64) {
	w.t.Helper()
	at := w.tick()
	var evidence []domain.Evidence
	if why == domain.PoolExhausted || why == domain.NoCodeInWindow {
		e := domain.Evidence{Pool: p.Key, Left: left, At: at}
		w.must(w.db.QueryRow(w.t.Context(), "SELECT revision FROM pools WHERE pool = $1", p.Key).Scan(&e.Revision))
		e.IssueStart, e.IssueEnd = p.IssueStart, p.IssueEnd
		evidence = append(evidence, e)
	}
	w.batch(d, []domain.Rejection{{Offset: d.off, Hash: d.req.Hash(), Reason: why}}, evidence)
	if why == domain.Poison {
		w.bury(d)
		return
	}
	w.publish(w.names.Outcomes, d.part, w.rejectedEvent(d, why, at))
}

func (w *world) bury(d delivery) {
	w.t.Helper()
	rec := d.rec
	rec.Headers = []kafka.Header{
		{Key: "dl_reason", Value: []byte("not_json")}, {Key: "dl_topic", Value: []byte(w.names.Requests)},
		{Key: "dl_stream", Value: []byte(w.stream)}, {Key: "dl_partition", Value: []byte(strconv.Itoa(d.part))}, {Key: "dl_offset", Value: []byte(strconv.FormatInt(d.off, 10))},
	}
	w.publish(w.names.DeadLetters, 0, rec)
}

func request(pool, id, customer string) domain.Request {
	return domain.Request{PoolID: pool, RequestID: id, CustomerID: customer}
}

// commit moves the group's offsets to what was sent so far.
func (w *world) commit() {
	w.t.Helper()
	w.spoiled = true
	var commits []kafka.OffsetCommit
	for p, end := range w.ends {
		commits = append(commits, kafka.OffsetCommit{Partition: p, Offset: end})
	}
	w.must(patiently(w.t.Context(), func() error {
		res, err := w.client.OffsetCommit(w.t.Context(), &kafka.OffsetCommitRequest{
			GroupID: w.names.IssuingGroup, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{w.names.Requests: commits},
		})
		if err != nil {
			return err
		}
		for _, p := range res.Topics[w.names.Requests] {
			err = errors.Join(err, p.Error)
		}
		return err
	}))
}

// good does a bit of everything, rightly.
func (w *world) good() {
	w.t.Helper()
	w.summer, w.dry, w.later, w.many = w.pool("summer", false), w.pool("dry", false), w.pool("later", false), w.pool("many", true)
	w.exec("INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at) SELECT 'draft', campaign, 'Draft', '', 'c', false, false, false, 'internal', created_at FROM campaigns")
	w.lot(w.summer, 10, domain.Window{IssueEnd: w.now.Add(24 * time.Hour), AvailableFrom: w.now.Add(12 * time.Hour), AvailableTill: w.now.Add(48 * time.Hour)})
	w.lot(w.summer, 5, domain.Window{IssueEnd: w.now.Add(-time.Minute)})
	w.lot(w.dry, 2, domain.Window{})
	w.lot(w.later, 3, domain.Window{IssueStart: w.now.Add(24 * time.Hour)})
	w.lot(w.many, 3, domain.Window{})
	w.made = w.pool("made", false)
	for range 2 {
		w.generate(w.made, 1_000_000)
	}

	r1 := request("summer", "r-1", "c-1")
	r1.Context = []byte(`{"workflow": "welcome", "step":3}`)
	w.first = w.send(0, r1)
	w.r1 = w.issue(w.first, w.summer, w.lots["summer"])
	w.r2 = w.issue(w.send(0, request("summer", "r-2 „quoted“", "c-2")), w.summer, w.lots["summer"])
	w.issue(w.send(1, request("summer", "r-3", "c-3")), w.summer, w.lots["summer"])
	// A partition holds some, and has issued one of them.
	w.exec("SELECT refill($1, $2, 3)", w.keys[1], w.summer.Key)

	again := w.send(2, request("summer", "r-1", "c-1"))
	w.batch(again, nil, nil)
	w.tell(again, w.r1)
	w.tell(again, w.r1) // published twice
	w.reject(w.send(2, request("summer", "r-1", "c-9")), domain.RequestConflict, nil, 0)

	for n := range 2 {
		w.issue(w.send(1, request("dry", fmt.Sprint("d-", n), "c-1")), w.dry, w.lots["dry"])
	}
	w.refused = w.send(0, request("dry", "d-2", "c-1"))
	w.reject(w.refused, domain.PoolExhausted, w.dry, 0)
	w.refusedAt = w.now
	w.tick()
	w.issue(w.send(0, request("dry", "d-2", "c-1")), w.dry, w.lot(w.dry, 2, domain.Window{}))

	w.reject(w.send(1, request("later", "l-1", "c-1")), domain.NoCodeInWindow, w.later, 3)
	for n := range 5 {
		w.issue(w.send(2, request("many", fmt.Sprint("m-", n), "c-1")), w.many, w.lots["many"])
	}
	for n := range 2 {
		var lot int32
		w.must(w.db.QueryRow(w.t.Context(), "SELECT lot FROM lots WHERE pool = $1 ORDER BY lot OFFSET $2 LIMIT 1", w.made.Key, n).Scan(&lot))
		w.issue(w.send(1, request("made", fmt.Sprint("g-", n), "c-1")), w.made, lot)
	}
	w.reject(w.send(0, request("nowhere", "n-1", "c-1")), domain.PoolNotFound, nil, 0)
	w.reject(w.send(0, request("draft", "n-1", "c-1")), domain.PoolNotActive, nil, 0)
	late := request("summer", "late", "c-1")
	late.ExpiresAt = w.now.Add(-time.Second)
	w.reject(w.send(0, late), domain.RequestExpired, nil, 0)

	w.season = w.pool("season", false)
	w.exec(`INSERT INTO history (at, actor, action, pool, changes)
		SELECT created_at, 'test', 'pool.created', pool, '{"name": {"from": null, "to": "Pool"}}' FROM pools WHERE pool = $1`, w.season.Key)
	w.lot(w.season, 5, domain.Window{})
	w.issue(w.send(0, request("season", "s-0", "c-1")), w.season, w.lots["season"])
	w.window(w.season, time.Time{}, w.now.Add(-time.Hour))
	w.reject(w.send(0, request("season", "s-1", "c-1")), domain.NoCodeInWindow, w.season, 4)
	w.window(w.season, w.now.Add(-time.Hour), w.now.Add(time.Hour))
	w.issue(w.send(0, request("season", "s-1", "c-1")), w.season, w.lots["season"])
	w.window(w.season, w.now.Add(24*time.Hour), time.Time{})
	w.reject(w.send(0, request("season", "s-2", "c-1")), domain.NoCodeInWindow, w.season, 3)

	w.valid = w.pool("valid", false)
	w.lot(w.valid, 2, domain.Window{})
	w.issue(w.send(0, request("valid", "v-0", "c-1")), w.valid, w.lots["valid"])
	w.edit(w.valid, func(p *domain.Pool) { p.Validity = domain.Period{Months: 1, Clock: time.Hour} })
	w.issue(w.send(0, request("valid", "v-1", "c-1")), w.valid, w.lots["valid"])

	w.bar()
	w.byHand()

	for _, value := range [][]byte{[]byte("no JSON"), nil, {}} {
		bad := w.sendRaw(1, value)
		w.batch(bad, nil, nil)
		w.bury(bad)
	}
	w.reject(w.send(1, request("summer", "poison", "c-1")), domain.Poison, nil, 0)

	w.scarcity()
	w.commit()
	w.flying = w.send(2, request("summer", "flying", "c-1"))
	w.issue(w.flying, w.summer, w.lots["summer"])
	w.send(2, request("summer", "waiting", "c-1"))
}

// bar blocks codes: of a single-use pool an issued one and the others, the last
// for a while; of a multi-use one each in turn, and then all.
func (w *world) bar() {
	w.t.Helper()
	w.barred, w.shared = w.pool("barred", false), w.pool("shared", true)
	w.lot(w.barred, 4, domain.Window{})
	w.issue(w.send(0, request("barred", "b-0", "c-1")), w.barred, w.lots["barred"])
	for seq := range 4 {
		w.block(w.barred, seq)
	}
	w.reject(w.send(0, request("barred", "b-1", "c-1")), domain.PoolExhausted, w.barred, 0)
	w.unblock(w.barred, 3)
	w.tick()
	w.issue(w.send(0, request("barred", "b-1", "c-1")), w.barred, w.lots["barred"])

	w.lot(w.shared, 2, domain.Window{})
	take := func(n int) {
		w.issue(w.send(0, request("shared", fmt.Sprint("h-", n), "c-1")), w.shared, w.lots["shared"])
	}
	take(0)
	take(1)
	w.block(w.shared, 0)
	w.pass(w.shared)
	take(2)
	w.pass(w.shared)
	w.unblock(w.shared, 0)
	w.block(w.shared, 1)
	w.pass(w.shared)
	take(3)
	w.block(w.shared, 0)
	w.reject(w.send(0, request("shared", "h-4", "c-1")), domain.PoolExhausted, w.shared, 0)
	w.unblock(w.shared, 0)
	w.pass(w.shared)
	w.tick()
	take(4)
}

// byHand issues codes by hand: one that is told, one that still waits in the
// outbox, one of a request that had expired over Kafka, and one of a code that many
// may use, told again over Kafka.
func (w *world) byHand() {
	w.t.Helper()
	w.hand = w.pool("hand", false)
	w.lot(w.hand, 5, domain.Window{})
	w.tellByHand(w.issueByHand(w.hand, "h-1"))
	w.issueByHand(w.hand, "h-2")
	w.exec(`INSERT INTO outbox (topic, key, id, type, at, subject, value)
		VALUES ('code-outcomes', 'c-1', $1, $2, $3, 'hand', '{"request_id": "h-2"}')`, domain.IssuedEventID("hand", "h-2"), domain.TypeCodeIssued, w.now)
	late := request("hand", "h-3", "c-1")
	late.ExpiresAt = w.now
	w.reject(w.send(0, late), domain.RequestExpired, nil, 0)
	w.tick()
	w.tellByHand(w.issueByHand(w.hand, "h-3"))
	w.pass(w.shared)
	many := w.issueByHand(w.shared, "h-9")
	w.tellByHand(many)
	again := w.send(0, request("shared", "h-9", "c-1"))
	w.batch(again, nil, nil)
	w.tell(again, many)
}

// issueByHand gives a request by HTTP the next code of the pool's first lot.
func (w *world) issueByHand(p *domain.Pool, id string) *domain.Issuance {
	w.t.Helper()
	i := w.give(request(p.ID, id, "c-1"), p, w.lots[p.ID])
	w.exec(`INSERT INTO code_history (pool, lot, seq, at, actor, action, request_id)
		SELECT pool, lot, CASE WHEN $5 THEN $3 % size ELSE $3 END, $4, 'anna', 'issued', $6 FROM lots WHERE pool = $1 AND lot = $2`,
		p.Key, i.Lot, i.Seq, i.IssuedAt, p.MultiUse, id)
	return i
}

// tellByHand publishes the event of an issue by hand.
func (w *world) tellByHand(i *domain.Issuance) {
	w.t.Helper()
	rec := w.issuedEvent(w.first, i)
	rec.Headers = append(rec.Headers[:len(rec.Headers)-3], kafka.Header{Key: "ce_outboxnumber", Value: []byte("17")})
	w.publish(w.names.Outcomes, 1, rec)
}

func (w *world) audit() Report {
	w.t.Helper()
	r, err := Run(w.t.Context(), Config{Client: w.client, Prefix: w.prefix, DatabaseURL: w.url})
	w.must(err)
	return r
}

// want checks which rules the audit finds broken.
func (w *world) want(rules ...string) Report {
	w.t.Helper()
	r := w.audit()
	got := []string{}
	for _, c := range r.Checks {
		for _, f := range c.Findings {
			got = append(got, fmt.Sprintf("%d %s", c.Number, f.Rule))
			if f.Count < 1 || len(f.Samples) < 1 || f.What == "" || f.Do == "" {
				w.t.Errorf("finding without its parts: %+v", f)
			}
		}
	}
	slices.Sort(got)
	want := append([]string{}, rules...)
	slices.Sort(want)
	var b bytes.Buffer
	w.must(r.WriteText(&b))
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("broken rules (-want +got):\n%s\n%s", diff, b.String())
	} else if len(want) > 0 {
		w.t.Logf("\n%s", b.String())
	}
	return r
}
