package issuing_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server of pgtest lives as long as the binary.
		goleak.IgnoreAnyFunction("promopool/internal/devstack.(*Postgres).watch"),
		goleak.IgnoreAnyFunction("promopool/internal/child.Start.func1"),
	)
}

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
	Logf(string, ...any)
}

// world is a database with logs of requests and what was answered to them.
// Every answer is held against those that the delivery had before.
type world struct {
	tester
	store  *postgres.Store
	sql    *pgxpool.Pool
	stream string
	count  int // of partitions

	mu      sync.Mutex
	logs    map[int][]domain.Request
	answers map[int]map[int64]domain.Outcome
	owners  map[string]string // request by code, in single-use pools
	multi   map[string]bool
	made    map[string]bool // pools whose codes are generated
	moved   map[string]bool // pools whose codes come from files, and move
}

var streams atomic.Int64

// newWorld is a new database; with settings of its own, as "name = value".
func newWorld(t *testing.T, settings ...string) *world {
	t.Helper()
	url := pgtest.Database(t, postgres.Migrate)
	for _, s := range settings {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), "ALTER DATABASE "+conn.Config().Database+" SET "+s)
		conn.Close(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := postgres.Open(t.Context(), url, "test", 24)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	sql, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sql.Close)
	if _, err := store.CreateCampaign(t.Context(), "test", domain.Campaign{ID: "summer", Name: "Summer"}, false); err != nil {
		t.Fatal(err)
	}
	return (&world{store: store, sql: sql}).on(t)
}

// on is a new world in the same database: another stream.
func (w *world) on(t tester) *world {
	return &world{
		tester: t, store: w.store, sql: w.sql, count: 12,
		stream: fmt.Sprintf("stream-%d", streams.Add(1)),
		logs:   map[int][]domain.Request{}, answers: map[int]map[int64]domain.Outcome{},
		owners: map[string]string{}, multi: map[string]bool{}, made: map[string]bool{}, moved: map[string]bool{},
	}
}

func (w *world) ctx() context.Context { return context.Background() }

func (w *world) Exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.sql.Exec(context.Background(), sql, args...); err != nil {
		w.Fatal(err)
	}
}

func (w *world) Int(sql string, args ...any) (n int64) {
	w.Helper()
	if err := w.sql.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

// Pool makes an active pool of n codes, none if 0.
func (w *world) Pool(id string, n int, edit ...func(*domain.Pool)) {
	w.Helper()
	p := domain.Pool{ID: id, CampaignID: "summer", Name: id, Description: "for tests", ParameterName: "code", Processing: domain.Internal}
	for _, e := range edit {
		e(&p)
	}
	w.multi[id] = p.MultiUse
	if _, err := w.store.CreatePool(context.Background(), "test", p, false); err != nil {
		w.Fatal(err)
	}
	if n > 0 {
		w.Fill(id, n)
	}
	if _, err := w.store.LaunchPool(context.Background(), "test", id, 0); err != nil {
		w.Fatal(err)
	}
}

func multiUse(p *domain.Pool) { p.MultiUse = true }

// Fill lays down a lot of n codes; window's times in order, nil for none.
func (w *world) Fill(id string, n int, window ...any) {
	w.Helper()
	window = append(window, nil, nil, nil, nil)[:4]
	ctx := context.Background()
	err := pgx.BeginFunc(ctx, w.sql, func(tx pgx.Tx) error {
		var lot int32
		if err := tx.QueryRow(ctx, "SELECT nextval('lot_numbers')::int").Scan(&lot); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO codes (pool, lot, seq, code)
			SELECT p.pool, $2, s, $1 || '-' || $2::int || '-' || s FROM pools p, generate_series(0, $3::bigint - 1) s WHERE p.id = $1`, id, lot, n); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT add_lot(pool, $2, $3, NULL, $4, $5, $6, $7) FROM pools WHERE id = $1", append([]any{id, lot, n}, window...)...)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) Archive(id string) {
	w.Helper()
	if _, err := w.store.ArchivePool(context.Background(), "test", id, 0); err != nil {
		w.Fatal(err)
	}
}

// Issuer is a process, on the real store or on one that fails.
func (w *world) Issuer(worker string, store issuing.Store) *process {
	if store == nil {
		store = w.store
	}
	reg := prometheus.NewRegistry()
	return &process{w: w, Issuer: issuing.New(store, worker, reg, zerolog.Nop()), reg: reg}
}

type process struct {
	*issuing.Issuer
	w   *world
	reg *prometheus.Registry
}

// Metric is the sum of a metric of the process, by name and one label.
func (p *process) Metric(name, label string) (sum float64) {
	families, err := p.reg.Gather()
	if err != nil {
		p.w.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label != "" && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() != label) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return sum
}

// part is a partition in the hands of a process.
type part struct {
	*issuing.Partition
	w  *world
	n  int
	at int64 // next delivery to be decided
}

// Open takes the partition over, to be read from offset at.
func (p *process) Open(n int, at int64) *part {
	p.w.Helper()
	opened, err := p.Issuer.Open(context.Background(), p.w.stream, n, p.w.count, at)
	if err != nil {
		p.w.Fatal(err)
	}
	return &part{opened, p.w, n, at}
}

func ask(pool, request string) domain.Request {
	return domain.Request{PoolID: pool, RequestID: request, CustomerID: "c-" + request}
}

// asks are n requests with ids of their own.
func asks(pool, prefix string, n int) []domain.Request {
	list := make([]domain.Request, n)
	for i := range list {
		list[i] = ask(pool, fmt.Sprintf("%s-%d", prefix, i))
	}
	return list
}

// Publish appends deliveries to the partition's log.
func (w *world) Publish(n int, requests ...domain.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range requests {
		r.Offset = int64(len(w.logs[n]))
		w.logs[n] = append(w.logs[n], r)
	}
}

func (w *world) end(n int) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(len(w.logs[n]))
}

// Step decides one batch of at most the given deliveries, once.
func (p *part) Step(atMost int64) error {
	p.w.mu.Lock()
	log := p.w.logs[p.n]
	end := min(p.at+atMost, int64(len(log)))
	requests := slices.Clone(log[p.at:end])
	p.w.mu.Unlock()
	if p.at >= end {
		return nil
	}
	outcomes, done, err := p.Issue(context.Background(), p.at, end, requests)
	if err != nil {
		return err
	}
	if done <= p.at || done > end || int64(len(outcomes)) != done-p.at {
		p.w.Errorf("partition %d: asked for %d–%d, answered up to %d with %d outcomes", p.n, p.at, end, done, len(outcomes))
		return errors.New("answered wrongly")
	}
	for i := range outcomes {
		p.w.answer(p.n, p.at+int64(i), outcomes[i])
	}
	p.at = done
	return nil
}

// answer holds an outcome against what was answered before.
func (w *world) answer(n int, offset int64, o domain.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers[n] == nil {
		w.answers[n] = map[int64]domain.Outcome{}
	}
	asked := w.logs[n][offset]
	if o.Request.RequestID != asked.RequestID || o.Request.Offset != offset {
		w.Errorf("partition %d, offset %d: an answer to %q at %d", n, offset, o.Request.RequestID, o.Request.Offset)
	}
	if before, ok := w.answers[n][offset]; ok {
		before.Request, before.Verdict = o.Request, o.Verdict
		if o.Issue != nil && before.Issue != nil {
			before.Issue = plain(before.Issue)
			o.Issue = plain(o.Issue)
		}
		if diff := cmp.Diff(before, o); diff != "" {
			w.Errorf("partition %d, offset %d, answered differently (-before +now):\n%s", n, offset, diff)
		}
		return
	}
	w.answers[n][offset] = o
	if o.Issue == nil {
		return
	}
	i := o.Issue
	want := fmt.Sprintf("%s-%d-%d", i.Pool.ID, i.Lot, i.Seq)
	if !w.multi[i.Pool.ID] && !w.made[i.Pool.ID] && !w.moved[i.Pool.ID] && i.Code != want { // else Check looks
		w.Errorf("partition %d, offset %d: got code %q, want %q", n, offset, i.Code, want)
	}
	if i.RequestID != asked.RequestID || i.CustomerID != asked.CustomerID || i.Pool.ID != asked.PoolID {
		w.Errorf("partition %d, offset %d: got %q's code of %s", n, offset, i.RequestID, i.Pool.ID)
	}
	if !w.multi[i.Pool.ID] {
		if other, ok := w.owners[i.Code]; ok && other != i.RequestID {
			w.Errorf("code %s went to %s and %s", i.Code, other, i.RequestID)
		}
		w.owners[i.Code] = i.RequestID
	}
}

// plain is the issuance as an event tells it.
func plain(i *domain.Issuance) *domain.Issuance {
	c := *i
	c.Pool = &domain.Pool{ID: i.Pool.ID, Key: i.Pool.Key, ParameterName: i.Pool.ParameterName}
	return &c
}

// Work decides the log to its end, as the consumer does: after any error that
// is not the end it resolves and goes on.
func (p *part) Work(atMost int64) error {
	doubt := false
	for tries := 0; p.at < p.w.end(p.n); tries++ {
		var err error
		if doubt {
			err = p.Resolve(context.Background(), p.at)
		}
		if err == nil {
			err = p.Step(atMost)
		}
		if errors.Is(err, issuing.ErrFenced) || errors.Is(err, issuing.ErrCorrupt) || errors.Is(err, domain.ErrLogChanged) {
			return err
		}
		if doubt = err != nil; doubt {
			p.w.Logf("partition %d, offset %d: %v", p.n, p.at, err)
			if tries > 300 {
				return fmt.Errorf("no end of it: %w", err)
			}
		}
	}
	return nil
}

// Want decides the log to its end and counts what it came to, by reason;
// "issued" for codes.
func (p *part) Want(want map[string]int) {
	p.w.Helper()
	first := p.at
	if err := p.Work(1000); err != nil {
		p.w.Fatal(err)
	}
	got := map[string]int{}
	p.w.mu.Lock()
	for at := first; at < p.at; at++ {
		got[name(p.w.answers[p.n][at])]++
	}
	p.w.mu.Unlock()
	if diff := cmp.Diff(want, got); diff != "" {
		p.w.Errorf("partition %d (-want +got):\n%s", p.n, diff)
	}
}

func name(o domain.Outcome) string {
	if o.Verdict == domain.Rejected {
		return o.Reason.String()
	}
	return "issued"
}

// Count is how many deliveries of all partitions were answered so.
func (w *world) Count(what string) (n int) {
	for _, answers := range w.answers {
		for _, o := range answers {
			if name(o) == what {
				n++
			}
		}
	}
	return n
}

// Check holds the database against the invariants and the answers.
func (w *world) Check() {
	w.Helper()
	ctx := context.Background()
	query, err := os.ReadFile("../postgres/testdata/broken.sql")
	if err != nil {
		w.Fatal(err)
	}
	rows, err := w.sql.Query(ctx, string(query))
	if err != nil {
		w.Fatal(err)
	}
	broken, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range broken {
		w.Errorf("%s", b)
	}
	// No phantom: what was answered is stored. That makes it one code a request.
	stored := w.stored(ctx)
	for n, answers := range w.answers {
		for offset, o := range answers {
			if o.Issue == nil {
				continue
			}
			got := *plain(o.Issue)
			if got.Pool = nil; w.made[o.Issue.Pool.ID] {
				got.Code = ""
			}
			if diff := cmp.Diff(stored[[2]string{o.Issue.Pool.ID, o.Issue.RequestID}], got); diff != "" {
				w.Errorf("partition %d, offset %d (-stored +answered):\n%s", n, offset, diff)
			}
		}
		if len(answers) != len(w.logs[n]) {
			w.Errorf("partition %d: %d of %d deliveries are answered", n, len(answers), len(w.logs[n]))
		}
	}
}

// stored reads all issuances, by pool and request.
func (w *world) stored(ctx context.Context) map[[2]string]domain.Issuance {
	w.Helper()
	rows, err := w.sql.Query(ctx, //nolint:rowserrcheck // ForEachRow does
		`SELECT p.id, i.lot, i.seq, i.request_id, i.customer_id, i.context, i.issued_at, i.valid_from, coalesce(i.valid_until, '0001-01-01'), coalesce(c.code, '')
		FROM issuances i JOIN pools p USING (pool) JOIN lots l USING (pool, lot)
		LEFT JOIN codes c ON c.pool = i.pool AND c.lot = i.lot AND c.seq = i.seq % l.size`)
	if err != nil {
		w.Fatal(err)
	}
	all := map[[2]string]domain.Issuance{}
	var id string
	var i domain.Issuance
	_, err = pgx.ForEachRow(rows, []any{&id, &i.Lot, &i.Seq, &i.RequestID, &i.CustomerID, &i.Context, &i.IssuedAt, &i.ValidFrom, &i.ValidUntil, &i.Code}, func() error {
		i.IssuedAt, i.ValidFrom, i.ValidUntil = i.IssuedAt.UTC(), i.ValidFrom.UTC(), i.ValidUntil.UTC()
		all[[2]string{id, i.RequestID}] = i
		i.Context = nil
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// Held is how many codes of the pool partitions hold.
func (w *world) Held(id string) int64 {
	return w.Int("SELECT coalesce(sum(hi - next), 0)::bigint FROM runs JOIN pools USING (pool) WHERE id = $1 AND partition IS NOT NULL", id)
}

// errLost stands for an answer that did not come.
var errLost = fmt.Errorf("%w: cut off by the test", issuing.ErrUnknown)

// faulty fails a step before or after its effect, as fault says.
type faulty struct {
	issuing.Store
	calls sync.Map // step → *atomic.Int64
	fault func(step string, effect func() error) error
}

func (f *faulty) do(step string, effect func() error) error {
	n, _ := f.calls.LoadOrStore(step, &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
	if f.fault == nil {
		return effect()
	}
	return f.fault(step, effect)
}

func (f *faulty) Calls(step string) int64 {
	n, ok := f.calls.Load(step)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func (f *faulty) Claim(ctx context.Context, stream string, number int, worker string, partitions int) (c issuing.Claim, err error) {
	err = f.do("claim", func() (err error) { c, err = f.Store.Claim(ctx, stream, number, worker, partitions); return err })
	return c, err
}

func (f *faulty) Resolve(ctx context.Context, old issuing.Claim, worker string) (c issuing.Claim, err error) {
	err = f.do("resolve", func() (err error) { c, err = f.Store.Resolve(ctx, old, worker); return err })
	return c, err
}

func (f *faulty) Ranges(ctx context.Context, partition int32, position int64, atMost int) (rs []domain.Range, err error) {
	err = f.do("ranges", func() (err error) { rs, err = f.Store.Ranges(ctx, partition, position, atMost); return err })
	return rs, err
}

func (f *faulty) PoolsByID(ctx context.Context, ids []string) (m map[string]*domain.Pool, err error) {
	err = f.do("pools", func() (err error) { m, err = f.Store.PoolsByID(ctx, ids); return err })
	return m, err
}

func (f *faulty) Held(ctx context.Context, partition int32) (m map[string]*issuing.Stock, err error) {
	err = f.do("held", func() (err error) { m, err = f.Store.Held(ctx, partition); return err })
	return m, err
}

func (f *faulty) Refill(ctx context.Context, partition int32, pool *domain.Pool, want int64) (s issuing.Stock, err error) {
	err = f.do("refill", func() (err error) { s, err = f.Store.Refill(ctx, partition, pool, want); return err })
	return s, err
}

func (f *faulty) Texts(ctx context.Context, runs []*domain.Run) (ts [][]string, err error) {
	err = f.do("texts", func() (err error) { ts, err = f.Store.Texts(ctx, runs); return err })
	return ts, err
}

func (f *faulty) GiveBack(ctx context.Context, partition, pool int32) error {
	return f.do("give back", func() error { return f.Store.GiveBack(ctx, partition, pool) })
}

func (f *faulty) LookUp(ctx context.Context, keys []domain.Key, pools map[int32]*domain.Pool) (m map[domain.Key]*domain.Issuance, now time.Time, err error) {
	err = f.do("look up", func() (err error) { m, now, err = f.Store.LookUp(ctx, keys, pools); return err })
	return m, now, err
}

func (f *faulty) Commit(ctx context.Context, entries []issuing.Entry, plan *domain.Plan) error {
	return f.do("commit", func() error { return f.Store.Commit(ctx, entries, plan) })
}

func (f *faulty) CommitLocked(ctx context.Context, l issuing.Locking, decide func(issuing.Locked) issuing.Decision) error {
	return f.do("commit locked", func() error { return f.Store.CommitLocked(ctx, l, decide) })
}
