package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres/internal/conn"
	"promopool/internal/postgres/internal/db"
	"promopool/internal/redeeming"
)

// TestPlans: whatever the planner is told of the tables, every statement of the
// hot path finds its rows by the whole key of an index. What that is worth in
// requests a second is measured by promopool bench plans.
func TestPlans(t *testing.T) {
	// The tables that grow with every request, and what their indexes must be
	// asked by. One that is not here must not be used on the hot path at all.
	large := map[string]bool{"issuances": true, "codes": true, "batches": true}
	keys := map[string][]string{
		"issuances_request_key": {"pool", "request_id"},
		"issuances_pkey":        {"pool", "lot", "seq"},
		"codes_pkey":            {"pool", "lot", "seq"},
		"batches_pkey":          {"partition"},
		"codes_code_key":        {"pool", "code"},
	}
	// And with every redemption.
	for index, columns := range map[string][]string{
		"redemptions_pkey": {"pool", "redemption_id"}, "redemptions_once_key": {"pool", "lot", "seq"}, "redemptions_place_idx": {"pool", "lot", "seq"},
		"redemptions_use_idx": {"pool", "lot", "seq", "customer_id"}, "refused_redemptions_pkey": {"pool_id", "redemption_id", "content"},
		"code_uses_pkey": {"pool", "lot", "seq"}, "withdrawn_pkey": {"pool", "lot", "seq"}, "blocks_pkey": {"pool", "lot", "seq"},
	} {
		keys[index] = columns
	}
	for _, table := range []string{"redemptions", "refused_redemptions", "code_uses", "withdrawn", "blocks"} {
		large[table] = true
	}
	// And, behind issuing, the lists of customers.
	large["customer_codes"] = true
	keys["customer_codes_pkey"] = []string{"volume", "customer_id"}
	keys["redemptions_customer_idx"], keys["refused_redemptions_customer_idx"] = []string{"customer_id"}, []string{"customer_id"}
	keys["redemptions_tried_idx"] = []string{"pool", "lot", "seq"}
	// Moreover of an import, which has the pool's lock meanwhile and of whose rows
	// there may be as many as codes.
	large["import_moves"], large["import_seen"] = true, true
	importKeys := map[string][]string{
		"runs_pkey":              {"pool", "lot", "lo"},
		"lots_pkey":              {"pool", "lot"},
		"import_moves_pkey":      {"task", "code"},
		"import_moves_place_idx": {"task"},
		"import_seen_pkey":       {"task", "code"},
	}

	for _, poison := range []struct {
		name string
		fill func(w *plansWorld)
	}{
		{"Truth", func(w *plansWorld) { w.tiny(); w.others(); w.hot(); w.exec("ANALYZE"); w.work("hot") }},
		{"Nothing", func(w *plansWorld) { w.tiny(); w.others(); w.hot(); w.work("hot") }},
		{"Empty", func(w *plansWorld) {
			w.exec("ANALYZE")
			w.tiny()
			w.work("tiny")
			w.others()
			w.hot()
			w.work("hot")
		}},
		{"OthersOnly", func(w *plansWorld) {
			w.others()
			w.exec("ANALYZE")
			w.tiny()
			w.work("tiny")
			w.hot()
			w.work("hot")
		}},
		{"Hollow", func(w *plansWorld) { w.tiny(); w.others(); w.hot(); w.hollow(); w.work("hot") }},
		{"OursOnly", func(w *plansWorld) {
			w.tiny()
			w.hot()
			w.work("hot")
			w.exec("ANALYZE")
			w.others()
			w.work("hot")
		}},
	} {
		t.Run(poison.name, func(t *testing.T) {
			w := newPlansWorld(t)
			poison.fill(w)
			w.plans.mu.Lock()
			defer w.plans.mu.Unlock()
			if len(w.plans.nodes) == 0 {
				t.Fatal("no plan was seen")
			}
			for where, n := range w.plans.nodes {
				if n.Type == "Seq Scan" && large[n.Relation] {
					t.Errorf("%s reads the whole of %s", where, n.Relation)
				}
				columns := keys[n.Index]
				if strings.HasPrefix(where, ofImport) && columns == nil && !strings.Contains(where, "FROM fresh") { // asks of uploaded lots nothing
					columns = importKeys[n.Index]
				}
				if large[n.Relation] && n.Index != "" && columns == nil {
					t.Errorf("%s uses %s", where, n.Index)
				}
				if last := "t.pool = p_pool AND t.lot = l.lot ORDER BY"; n.Index == "runs_pkey" && strings.Contains(where, last) {
					columns = []string{"pool", "lot"} // the last run of a lot
				}
				for _, column := range columns {
					if !regexp.MustCompile(`\b` + column + `\b`).MatchString(n.Cond) {
						t.Errorf("%s asks %s by %q, not by %s", where, n.Index, n.Cond, column)
					}
				}
			}
		})
	}
}

// plansWorld is a database that tells how it does what it is asked.
type plansWorld struct {
	t      *testing.T
	store  *Store
	db     *pgx.Conn
	part   *issuing.Partition
	issuer *issuing.Issuer
	at     int64
	plans  planLog

	imported, sold int
}

// planLog collects plans as auto_explain tells them: a notice per statement,
// those inside functions too.
type planLog struct {
	mu    sync.Mutex
	on    bool                // guarded by mu
	of    string              // guarded by mu; goes before what is seen
	nodes map[string]planNode // guarded by mu; by where they were seen
}

type planNode struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []planNode
}

func (l *planLog) notice(_ *pgconn.PgConn, n *pgconn.Notice) {
	_, plan, ok := strings.Cut(n.Message, "plan:\n")
	if !ok {
		return
	}
	var told struct {
		Query string `json:"Query Text"`
		Plan  planNode
	}
	if err := json.Unmarshal([]byte(plan), &told); err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		l.add(strings.Join(strings.Fields(told.Query), " "), told.Plan)
	}
}

func (l *planLog) add(query string, n planNode) {
	l.nodes[fmt.Sprintf("%s%.900s [%s %s %s]", l.of, query, n.Type, n.Relation, n.Index)] = n
	for _, c := range n.Plans {
		l.add(query, c)
	}
}

func newPlansWorld(t *testing.T) *plansWorld {
	w := &plansWorld{t: t, plans: planLog{nodes: map[string]planNode{}}}
	url := pgtest.Database(t, Migrate)
	conns, err := conn.Open(t.Context(), url, "test", 3, func(cfg *pgx.ConnConfig) {
		cfg.OnNotice = w.plans.notice
		maps.Copy(cfg.RuntimeParams, map[string]string{
			"client_min_messages": "log", "session_preload_libraries": "auto_explain",
			"auto_explain.log_min_duration": "0", "auto_explain.log_nested_statements": "on", "auto_explain.log_format": "json",
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conns.Close)
	if err := conns.Reads().Ping(t.Context()); err != nil {
		t.Skipf("this PostgreSQL has no auto_explain: %v", err)
	}
	w.store = newStore(conns)
	if w.db, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close(context.Background()) })
	for _, table := range []string{"codes", "issuances", "runs", "lots", "pools", "batches", "partitions", "imports", "import_moves", "import_seen", "lot_changes", "redemptions", "refused_redemptions", "code_uses", "withdrawn", "blocks", "customer_codes", "unlisted"} {
		w.exec("ALTER TABLE " + table + " SET (autovacuum_enabled = off)")
	}
	w.exec(`INSERT INTO campaigns (id, name, created_at) VALUES ('c', 'Campaign', now())`)
	w.issuer = issuing.New(w.store, "plans", prometheus.NewRegistry(), zerolog.Nop())
	if w.part, err = w.issuer.Open(t.Context(), "plans", 0, 12, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.part.Close)
	return w
}

func (w *plansWorld) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// pools makes n active pools with codes, of which some are issued.
func (w *plansWorld) pools(id string, n, codes, issued int, mode string) {
	w.t.Helper()
	w.exec(`INSERT INTO pools (id, campaign, name, description, parameter_name, notify, multi_use, check_issued, processing, created_at, state, launched_at, mode)
		SELECT $1 || '-' || g, campaign, 'Pool', 'for a test', 'promo_code', false, false, false, 'internal', now(), 'active', now(), $3::text
		  FROM campaigns, generate_series(1, $2::int) g`, id, n, mode)
	w.exec(`WITH l AS (
			INSERT INTO lots (pool, lot, size, revision, created_at)
			SELECT pool, nextval('lot_numbers'), $2::bigint, 1, now() FROM pools WHERE id LIKE $1 || '-%' RETURNING pool, lot),
		r AS (INSERT INTO runs (pool, lot, lo, next, hi, grant_no) SELECT pool, lot, $3::bigint, $3, $2, 0 FROM l),
		i AS (INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT pool, lot, s, now(), now(), 'old-' || s, 'someone' FROM l, generate_series(0, $3 - 1) s)
		INSERT INTO codes (pool, lot, seq, code) SELECT pool, lot, s, 'CODE-' || s FROM l, generate_series(0, $2 - 1) s`, id, codes, issued)
}

// sales makes redemptions of the first half of pools' issued codes, and of a code
// for many uses of a pool of its own.
func (w *plansWorld) sales(id string) {
	w.t.Helper()
	w.plans.mu.Lock()
	w.plans.on = false
	w.plans.mu.Unlock()
	w.pools(id+"-theirs", 1, 10, 0, "ample")
	w.exec("UPDATE pools SET processing = 'external' WHERE id = $1 || '-theirs-1'", id)
	w.exec(`INSERT INTO redemptions (pool, redemption_id, code, lot, seq, decided_at, reason, external, checked, multi_use)
		SELECT i.pool, 'old-' || i.seq, 'CODE-' || i.seq, i.lot, i.seq, now(), 0, false, false, false
		  FROM issuances i JOIN pools p USING (pool) WHERE p.id LIKE $1 || '-%' AND i.seq % 2 = 0`, id)
	w.pools(id+"-many", 1, 10, 0, "ample")
	w.exec("UPDATE pools SET multi_use = true, redemption_limit = 1000000, redemption_limit_per_customer = 2 WHERE id = $1 || '-many-1'", id)
	w.exec(`INSERT INTO redemptions (pool, redemption_id, code, lot, seq, customer_id, decided_at, reason, external, checked, multi_use)
		SELECT l.pool, 'old-' || n, 'CODE-0', l.lot, 0, 'c-' || n, now(), 0, false, false, true
		  FROM lots l JOIN pools p USING (pool), generate_series(1, 5000) n WHERE p.id = $1 || '-many-1'`, id)
	w.exec(`INSERT INTO code_uses (pool, lot, seq, uses) SELECT l.pool, l.lot, 0, 5000 FROM lots l JOIN pools p USING (pool) WHERE p.id = $1 || '-many-1'`, id)
	w.exec(`INSERT INTO refused_redemptions (pool_id, redemption_id, content, code, decided_at, reason) SELECT $1, 'old-' || n, '', 'x', now(), 1 FROM generate_series(1, 2000) n`, id)
}

func (w *plansWorld) tiny() { w.pools("tiny", 1, 9000, 0, "ample") }
func (w *plansWorld) others() {
	w.pools("other", 10, 3000, 2500, "ample")
	w.sales("other")
	w.batches()
}
func (w *plansWorld) hot() {
	w.pools("hot", 1, 30_000, 5000, "ample")
	w.sales("hot")
	w.pools("scarce", 1, 4000, 1000, "scarce")
	w.pools("hot-small", 50, 100, 20, "scarce")
}

// hollow makes the statistics those of an ANALYZE that came while a load was
// not committed: many pages, next to no rows.
func (w *plansWorld) hollow() {
	w.exec("ANALYZE")
	w.exec("SET allow_system_table_mods = on; UPDATE pg_class SET reltuples = 1 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'; " +
		"DELETE FROM pg_statistic s USING pg_class c WHERE c.oid = s.starelid AND c.relnamespace = 'public'::regnamespace")
}

func (w *plansWorld) batches() {
	w.exec(`INSERT INTO batches (partition, first_offset, end_offset, decided_at) SELECT p, o * 10, o * 10 + 10, now() FROM generate_series(100, 110) p, generate_series(1, 500) o`)
}

// work does all that the hot path does, often enough for a connection to keep
// its plans, and looks at how when the pool is the hot one.
func (w *plansWorld) work(pool string) {
	w.t.Helper()
	w.plans.mu.Lock()
	w.plans.on = pool == "hot"
	w.plans.mu.Unlock()
	for range 7 {
		first := w.at
		requests := w.issue(30, func(int) string { return pool + "-1" })
		w.issue(3, func(int) string { return "absent" })
		if pool == "hot" {
			w.issue(20, func(int) string { return "scarce-1" })
			w.issue(20, func(i int) string { return fmt.Sprintf("hot-small-%d", 1+i%50) })
		}
		part, err := w.issuer.Open(w.t.Context(), "plans", 0, 12, first)
		if err != nil {
			w.t.Fatal(err)
		}
		w.part.Close()
		w.part = part
		if _, _, err := part.Issue(w.t.Context(), first, first+int64(len(requests)), requests); err != nil {
			w.t.Fatal(err)
		}
		w.redeem(pool)
		w.customers(first)
		p, err := w.store.Pool(w.t.Context(), pool+"-1")
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.store.Refill(w.t.Context(), 1, &p, 50); err != nil {
			w.t.Fatal(err)
		}
		// An export is not the hot path, but reads the same tables beside it.
		for _, only := range []domain.CodeState{"", domain.CodeIssued} {
			if _, err := w.store.Codes(w.t.Context(), &p, only, domain.Place{Seq: -1}, 100); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.plans.mu.Lock()
	w.plans.of = ofImport
	w.plans.mu.Unlock()
	w.imports(pool+"-1", 6000+3000*w.imported)
	w.imported++
	w.plans.mu.Lock()
	w.plans.of = ""
	w.plans.mu.Unlock()
}

// redeem redeems codes that were issued, redeemed, and are nobody's, codes for many
// uses where there are some, and none.
func (w *plansWorld) redeem(pool string) {
	w.t.Helper()
	var asks []redeeming.Ask
	ask := func(pool, id, code, customer string) {
		asks = append(asks, redeeming.Ask{Tell: true, RedemptionRequest: domain.RedemptionRequest{PoolID: pool, RedemptionID: id, Code: code, CustomerID: customer}})
	}
	w.sold++
	id := fmt.Sprint("s-", w.sold)
	ask(pool+"-1", id+"-issued", fmt.Sprint("CODE-", 1+2*w.sold), "someone")
	ask(pool+"-1", id+"-again", fmt.Sprint("CODE-", 2*w.sold), "")
	ask(pool+"-1", id+"-unissued", fmt.Sprint("CODE-", 8999-w.sold), "")
	ask(pool+"-1", "old-2", "CODE-2", "")
	ask(pool+"-1", "old-2", "another", "")
	ask(pool+"-1", id+"-none", "none", "")
	ask(pool, "old-1", "x", "")
	if pool == "hot" {
		ask(pool+"-theirs-1", id, "CODE-0", "")
		for n := range 5 {
			ask(pool+"-many-1", fmt.Sprint(id, "-", n), "CODE-0", fmt.Sprint("c-", n))
		}
	}
	if _, err := w.store.Redeem(w.t.Context(), asks); err != nil {
		w.t.Fatal(err)
	}
	for _, id := range []string{id + "-issued", "old-4"} {
		if _, _, err := w.store.RollBack(w.t.Context(), "anna", pool+"-1", id, ""); err != nil && !errors.Is(err, domain.ErrNotFound) {
			w.t.Fatal(err)
		}
	}
	if _, err := w.store.CheckRedemption(w.t.Context(), asks[0].RedemptionRequest); err != nil {
		w.t.Fatal(err)
	}
}

// customers lists codes, asks for those of a customer and erases the customer.
func (w *plansWorld) customers(n int64) {
	w.t.Helper()
	customer := fmt.Sprint("one of many ", n)
	w.plans.mu.Lock()
	on := w.plans.on
	w.plans.on = false
	w.plans.mu.Unlock()
	w.exec("UPDATE issuances SET customer_id = $1 WHERE ctid = ANY (ARRAY(SELECT i.ctid FROM issuances i WHERE i.customer_id = 'someone' AND i.request_id LIKE 'r-%' LIMIT 20))", customer)
	w.plans.mu.Lock()
	w.plans.on = on
	w.plans.mu.Unlock()
	for range 2 {
		if _, err := w.store.ListCodes(w.t.Context(), 30); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.store.CustomerCodes(w.t.Context(), customer, domain.IssuePlace{}, 10); err != nil {
			w.t.Fatal(err)
		}
	}
	e, err := w.store.BeginErasure(w.t.Context(), "anna", customer)
	for more := err == nil; more && err == nil; {
		more, err = w.store.ErasePiece(w.t.Context(), e, 10)
	}
	if err == nil {
		_, err = w.store.Erased(w.t.Context(), issuing.Claim{Stream: "plans"}, []string{customer, "someone"})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// ofImport goes before the plans of imports.
const ofImport = "import: "

// imports adds codes to a pool and moves some, from the first on, in one session
// and so often that it keeps its plans.
func (w *plansWorld) imports(pool string, first int) {
	w.t.Helper()
	ctx := w.t.Context()
	task, err := w.store.BeginImport(ctx, domain.Upload{PoolID: pool, MediaType: "text/csv"})
	if err == nil {
		err = w.store.AppendImport(ctx, task, 0, make([]byte, 1000))
	}
	if err == nil {
		_, err = w.store.SubmitImport(ctx, task)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := w.store.NextImport(ctx)
	if err != nil || s == nil {
		w.t.Fatal(s, err)
	}
	defer s.Close()
	defer func() {
		if err := s.Fail(ctx, "enough"); err != nil {
			w.t.Fatal(err)
		}
	}()
	now, _, err := s.Now(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	end := func(k int) domain.Window {
		return domain.Window{IssueEnd: time.Date(2090+k, 1, 1, 0, 0, 0, 0, time.UTC)}
	}
	step := importing.Step{At: now, Layout: &domain.Layout{}}
	const rounds = 8
	for round := range int64(rounds) {
		step.End, step.Done = importing.Position{Offset: round + 1, Line: round + 1}, round+1
		var codes []string
		for k := range 200 {
			codes = append(codes, fmt.Sprintf("CODE-%d", first+int(round)*300+k))
		}
		found, err := s.Find(ctx, codes)
		if err != nil {
			w.t.Fatal(err)
		}
		step.Moves, step.Unchanged = nil, nil
		for k, c := range codes {
			switch have, ok := found[c]; {
			case !ok || have.Issued || have.Named:
				w.t.Fatalf("%s: got %+v", c, have)
			case k%10 == 0:
				step.Unchanged = append(step.Unchanged, c)
			default:
				step.Moves = append(step.Moves, importing.Move{Code: c, From: have.Place, Window: end(k % 3)})
			}
		}
		step.Lots = []importing.Lot{
			{Window: end(0), Codes: []string{fmt.Sprintf("new-%d-%d-a", first, round), fmt.Sprintf("new-%d-%d-b", first, round)}}, {Window: end(4), Codes: []string{fmt.Sprintf("new-%d-%d-c", first, round)}},
		}
		step.Added, step.Rows = 3, int64(3+len(codes))
		if _, err := s.Commit(ctx, step); err != nil {
			w.t.Fatal(err)
		}
		res, err := s.Move(ctx, importing.Step{At: now, End: step.End, Done: step.Done, Layout: step.Layout})
		if err != nil || res.Moved != int64(len(step.Moves)) {
			w.t.Fatalf("moved %d of %d, %v", res.Moved, len(step.Moves), err)
		}
	}
	if err := s.(*importSession).layAnew(ctx, s.(*importSession).lots[end(0)].no, 0); err != nil {
		w.t.Fatal(err)
	}
	if _, err := s.(*importSession).q.SmallPieces(ctx, db.SmallPiecesParams{Pool: s.(*importSession).pool, Lots: []int32{1, 2, 3}, FromSeqs: []int64{0, 0, 0}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *plansWorld) issue(n int, pool func(int) string) []domain.Request {
	w.t.Helper()
	requests := make([]domain.Request, n)
	for i := range requests {
		requests[i] = domain.Request{Offset: w.at + int64(i), PoolID: pool(i), RequestID: fmt.Sprintf("r-%d", w.at+int64(i)), CustomerID: "someone"}
	}
	first := w.at
	w.at += int64(n)
	if _, _, err := w.part.Issue(context.WithoutCancel(w.t.Context()), first, w.at, requests); err != nil {
		w.t.Fatal(err)
	}
	return requests
}
