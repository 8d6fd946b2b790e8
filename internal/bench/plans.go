package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/devstack"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres"
)

// PlansConfig says how plans are measured.
type PlansConfig struct {
	Rounds   int
	Progress io.Writer
}

// Plans measures what wrong statistics cost the statements of the hot path: the
// same work on databases that hold the same, whose planner was told the truth
// in one and something else in the others. They take turns, so that ratios do
// not depend on what else the machine does.
func Plans(ctx context.Context, c PlansConfig) (_ *PlansReport, err error) {
	p, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Settings: map[string]string{"autovacuum": "off"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	libraries := make([]*library, len(poisons))
	for i, s := range poisons {
		fmt.Fprintf(c.Progress, "fill a database, its planner told of: %s\n", s.what)
		l, err := openLibrary(ctx, p.URL, fmt.Sprintf("plans_%d", i))
		if err != nil {
			return nil, err
		}
		defer l.close()
		if err := s.prepare(ctx, l); err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
		libraries[i] = l
	}
	rates := make([][][]float64, len(works)) // by work, library, round
	for w, work := range works {
		rates[w] = make([][]float64, len(libraries))
		for s, l := range libraries {
			if _, err := work.do(l, ctx); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", work.what, poisons[s].what, err)
			}
		}
	}
	for round := range c.Rounds {
		fmt.Fprintf(c.Progress, "round %d of %d\n", round+1, c.Rounds)
		for w, work := range works {
			for s, l := range libraries {
				start := time.Now()
				n, err := work.do(l, ctx)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", work.what, poisons[s].what, err)
				}
				rates[w][s] = append(rates[w][s], float64(n)/time.Since(start).Seconds())
			}
		}
	}
	return plansReport(rates), nil
}

// poisons are what the planner is told. All leave the same rows behind.
var poisons = []struct {
	what    string
	prepare func(context.Context, *library) error
}{
	{"the truth", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.tiny, l.others, l.ours, l.analyze, l.use)
	}},
	{"nothing, ever", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.tiny, l.others, l.ours, l.use)
	}},
	{"empty tables, plans kept from then", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.analyze, l.tiny, l.use, l.others, l.ours)
	}},
	{"other pools only", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.others, l.analyze, l.tiny, l.use, l.ours)
	}},
	{"our pools only, much elsewhere since", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.tiny, l.ours, l.use, l.analyze, l.use, l.others)
	}},
	{"one other pool, when nobody held codes", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.giant, l.analyze, l.tiny, l.use, l.others, l.ours)
	}},
	{"many pages with next to no rows", func(ctx context.Context, l *library) error {
		return inOrder(ctx, l.tiny, l.others, l.ours, l.hollow, l.use)
	}},
}

func inOrder(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	workBatch = 1000
	manyPools = 200
)

// works are what the hot path does, and at last, for comparison, what people
// ask. do returns how much it did.
var works = []struct {
	what, unit string
	do         func(*library, context.Context) (int, error)
}{
	{"issue from a hot ample pool", "requests", func(l *library, ctx context.Context) (int, error) {
		l.hot = l.hot[:0]
		return l.issue(ctx, 8, func(int) string { return "hot" })
	}},
	{"repeat what was issued", "requests", (*library).repeat},
	{"issue from a hot scarce pool", "requests", func(l *library, ctx context.Context) (int, error) {
		return l.issue(ctx, 4, func(int) string { return "scarce" })
	}},
	{"issue from 200 small pools", "requests", func(l *library, ctx context.Context) (int, error) {
		return l.issue(ctx, 2, func(i int) string { return fmt.Sprintf("many-%d", i%manyPools) })
	}},
	{"take over and replay a batch", "batches", (*library).replay},
	{"look up stock, issuance, code", "look-ups", func(l *library, ctx context.Context) (int, error) { return l.look(ctx, "hot", 50) }},
}

// library is one database with the same content as the others.
type library struct {
	db       *pgx.Conn
	store    *postgres.Store
	issuer   *issuing.Issuer
	part     *issuing.Partition
	at       int64 // the next offset
	requests maker
	last     []domain.Request   // of the last batch, which ends at at
	hot      [][]domain.Request // the last batches from the hot pool
}

func openLibrary(ctx context.Context, server, name string) (*library, error) {
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		return nil, err
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, err
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	u.Path = "/" + name
	if err := postgres.Migrate(ctx, u.String()); err != nil {
		return nil, err
	}
	l := &library{requests: newMaker("")}
	// Few connections, so that each keeps its plans from before.
	if l.store, err = postgres.Open(ctx, u.String(), "plans", 2); err != nil {
		return nil, err
	}
	if l.db, err = pgx.Connect(ctx, u.String()); err != nil {
		return nil, err
	}
	l.issuer = issuing.New(l.store, "plans", prometheus.NewRegistry(), zerolog.Nop())
	if l.part, err = l.issuer.Open(ctx, "plans", 0, partitions, 0); err != nil {
		return nil, err
	}
	return l, l.exec(ctx, `INSERT INTO campaigns (id, name, created_at) VALUES ('c', 'Campaign', now())`)
}

func (l *library) close() {
	l.part.Close()
	l.store.Close()
	l.db.Close(context.Background())
}

func (l *library) exec(ctx context.Context, sql string, args ...any) error {
	_, err := l.db.Exec(ctx, sql, args...)
	return err
}

// pools makes n active pools, PREFIX or PREFIX-0…, with codes of which the
// first are issued.
func (l *library) pools(ctx context.Context, prefix string, n, codes, issued int, mode string) error {
	if err := l.exec(ctx, `INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at, state, launched_at, mode)
		SELECT CASE WHEN $2::int = 1 THEN $1::text ELSE $1 || '-' || g END, campaign, 'Pool', 'for a measurement', 'promo_code', false, false, false, 'internal', now(), 'active', now(), $3::text
		  FROM campaigns, generate_series(0, $2 - 1) g`, prefix, n, mode); err != nil {
		return err
	}
	return l.exec(ctx, `WITH l AS (
			INSERT INTO lots (pool, lot, size, done, revision, created_at)
			SELECT pool, nextval('lot_numbers'), $2::bigint, $3::bigint, 1, now() FROM pools WHERE id = $1::text OR id LIKE $1 || '-%' RETURNING pool, lot),
		r AS (INSERT INTO runs (pool, lot, lo, next, hi, grant_no) SELECT pool, lot, $3, $3, $2, 0 FROM l),
		i AS (INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT pool, lot, s, now(), now(), 'old-' || lpad(s::text, 8, '0'), 'customer-' || s % 1000 FROM l, generate_series(0, $3 - 1) s)
		INSERT INTO codes (pool, lot, seq, code) SELECT pool, lot, s, 'CODE-' || pool || '-' || s FROM l, generate_series(0, $2 - 1) s`, prefix, codes, issued)
}

func (l *library) tiny(ctx context.Context) error { return l.pools(ctx, "tiny", 1, 6000, 0, "ample") }

func (l *library) giant(ctx context.Context) error {
	return l.pools(ctx, "giant", 1, 100_000, 90_000, "ample")
}

func (l *library) others(ctx context.Context) error {
	if err := l.pools(ctx, "other", 20, 8000, 7000, "ample"); err != nil {
		return err
	}
	return l.exec(ctx, `INSERT INTO batches (partition, first_offset, end_offset, decided_at)
		SELECT p, o * 10, o * 10 + 10, now() FROM generate_series(100, 120) p, generate_series(1, 2000) o`)
}

func (l *library) ours(ctx context.Context) error {
	if err := l.pools(ctx, "hot", 1, 600_000, 50_000, "ample"); err != nil {
		return err
	}
	if err := l.pools(ctx, "scarce", 1, 100_000, 20_000, "scarce"); err != nil {
		return err
	}
	return l.pools(ctx, "many", manyPools, 400, 100, "scarce")
}

func (l *library) analyze(ctx context.Context) error { return l.exec(ctx, "ANALYZE") }

// hollow makes the statistics those of an ANALYZE that came while a load was
// not committed, or a deletion was not vacuumed: many pages, next to no rows.
func (l *library) hollow(ctx context.Context) error {
	if err := l.analyze(ctx); err != nil {
		return err
	}
	for _, sql := range []string{
		"SET allow_system_table_mods = on",
		"UPDATE pg_class SET reltuples = 1 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
		"DELETE FROM pg_statistic s USING pg_class c WHERE c.oid = s.starelid AND c.relnamespace = 'public'::regnamespace",
	} {
		if err := l.exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// use runs every statement often enough for connections to keep its plan.
func (l *library) use(ctx context.Context) error {
	for range 8 {
		if _, err := l.issueBatch(ctx, 20, func(int) string { return "tiny" }); err != nil {
			return err
		}
		if _, err := l.issueBatch(ctx, 2, func(int) string { return "absent" }); err != nil {
			return err
		}
		if _, err := l.replay(ctx); err != nil {
			return err
		}
		if _, err := l.look(ctx, "tiny", 1); err != nil {
			return err
		}
	}
	return nil
}

func (l *library) issueBatch(ctx context.Context, n int, pool func(int) string) ([]domain.Outcome, error) {
	batch := make([]domain.Request, n)
	for i := range batch {
		l.requests.pool = pool(i)
		batch[i] = l.requests.request(0)
	}
	if pool(0) == "hot" {
		l.hot = append(l.hot, batch)
	}
	return l.decide(ctx, batch)
}

// decide has a batch decided at the next offsets.
func (l *library) decide(ctx context.Context, batch []domain.Request) ([]domain.Outcome, error) {
	l.last = slices.Clone(batch)
	for i := range l.last {
		l.last[i].Offset = l.at + int64(i)
	}
	first := l.at
	l.at += int64(len(batch))
	outcomes, done, err := l.part.Issue(ctx, first, l.at, l.last)
	if err == nil && done != l.at {
		err = fmt.Errorf("decided to %d of %d", done, l.at)
	}
	return outcomes, err
}

func (l *library) issue(ctx context.Context, batches int, pool func(int) string) (int, error) {
	for range batches {
		outcomes, err := l.issueBatch(ctx, workBatch, pool)
		if err == nil {
			err = each(outcomes, domain.Issued)
		}
		if err != nil {
			return 0, err
		}
	}
	return batches * workBatch, nil
}

func (l *library) repeat(ctx context.Context) (int, error) {
	for _, batch := range l.hot {
		outcomes, err := l.decide(ctx, batch)
		if err == nil {
			err = each(outcomes, domain.Repeated)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(l.hot) * workBatch, nil
}

func each(outcomes []domain.Outcome, want domain.Verdict) error {
	for i := range outcomes {
		if got := outcomes[i].Verdict; got != want {
			return fmt.Errorf("verdict %d (%v), want %d", got, outcomes[i].Reason, want)
		}
	}
	return nil
}

// replay takes the partition over and answers its last batch again.
func (l *library) replay(ctx context.Context) (int, error) {
	const times = 5
	for range times {
		first := l.at - int64(len(l.last))
		l.part.Close()
		var err error
		if l.part, err = l.issuer.Open(ctx, "plans", 0, partitions, first); err != nil {
			return 0, err
		}
		if _, done, err := l.part.Issue(ctx, first, l.at, l.last); err != nil || done != l.at {
			return 0, fmt.Errorf("replayed to %d of %d: %w", done, l.at, err)
		}
	}
	return times, nil
}

func (l *library) look(ctx context.Context, pool string, times int) (int, error) {
	p, err := l.store.Pool(ctx, pool)
	if err != nil {
		return 0, err
	}
	for i := range times {
		if _, err := l.store.Stock(ctx, pool); err != nil {
			return 0, err
		}
		if _, err := l.store.Issuance(ctx, pool, fmt.Sprintf("old-%08d", i)); err != nil && !errors.Is(err, domain.ErrNotFound) {
			return 0, err
		}
		if _, err := l.store.Code(ctx, pool, fmt.Sprintf("CODE-%d-%d", p.Key, i)); err != nil {
			return 0, err
		}
	}
	return times, nil
}

// PlansReport is what wrong statistics cost.
type PlansReport struct {
	Works []WorkReport `json:"works"`
}

// WorkReport is one kind of work: its rate where the planner knows the truth,
// and the medians over the rounds of the other rates by that.
type WorkReport struct {
	What     string     `json:"what"`
	Unit     string     `json:"unit"`
	True     float64    `json:"true_per_second"`
	Poisoned []Poisoned `json:"poisoned"`
}

// Poisoned is a ratio to the rate on true statistics.
type Poisoned struct {
	Statistics string  `json:"statistics"`
	Ratio      float64 `json:"ratio"`
}

func plansReport(rates [][][]float64) *PlansReport {
	median := func(values []float64) float64 {
		v := slices.Sorted(slices.Values(values))
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	report := &PlansReport{}
	for w, work := range works {
		fresh := rates[w][0]
		r := WorkReport{What: work.what, Unit: work.unit, True: median(fresh)}
		for s := 1; s < len(poisons); s++ {
			ratios := make([]float64, len(fresh))
			for round := range ratios {
				ratios[round] = rates[w][s][round] / fresh[round]
			}
			r.Poisoned = append(r.Poisoned, Poisoned{poisons[s].what, median(ratios)})
		}
		report.Works = append(report.Works, r)
	}
	return report
}

// Worst is the smallest ratio on the hot path, and where.
func (r *PlansReport) Worst() (ratio float64, where string) {
	ratio = 1
	for _, w := range r.Works[:len(r.Works)-1] {
		for _, p := range w.Poisoned {
			if p.Ratio < ratio {
				ratio, where = p.Ratio, fmt.Sprintf("%s, the planner told of %s", w.What, p.Statistics)
			}
		}
	}
	return ratio, where
}

// WriteJSON writes the report for programs.
func (r *PlansReport) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people.
func (r *PlansReport) WriteTable(out io.Writer) error {
	fmt.Fprintf(out, "rates on wrong statistics, divided by the rate on true ones\n\n")
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "the planner was told of\tthe truth")
	for i := range poisons[1:] {
		fmt.Fprintf(t, "\t%d", i+1)
	}
	fmt.Fprintln(t, "\t")
	for _, w := range r.Works {
		fmt.Fprintf(t, "%s\t%.0f %s/s", w.What, w.True, w.Unit)
		for _, p := range w.Poisoned {
			fmt.Fprintf(t, "\t%.2f", p.Ratio)
		}
		fmt.Fprintln(t, "\t")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for i, p := range poisons[1:] {
		fmt.Fprintf(out, "  %d  %s\n", i+1, p.what)
	}
	return nil
}
