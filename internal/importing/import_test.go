package importing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// world is a database with a draft pool, and what imports into it.
type world struct {
	testing.TB
	url   string
	store *postgres.Store
	conn  *pgx.Conn // to look
	pool  domain.Pool
	wake  func()
}

func newWorld(t testing.TB) *world {
	w := &world{TB: t, url: pgtest.Database(t, postgres.Migrate), wake: func() {}}
	w.store = w.open("test")
	var err error
	if w.conn, err = pgx.Connect(t.Context(), w.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close(context.Background()) })
	if _, err := w.store.CreateCampaign(t.Context(), "test", domain.Campaign{ID: "spring", Name: "Spring"}, false); err != nil {
		t.Fatal(err)
	}
	w.pool = w.newPool("mugs", domain.Pool{})
	return w
}

func (w *world) open(name string) *postgres.Store {
	w.Helper()
	s, err := postgres.Open(w.Context(), w.url, name, 8)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	return s
}

func (w *world) newPool(id string, p domain.Pool) domain.Pool {
	w.Helper()
	p.ID, p.CampaignID, p.Name, p.Description = id, "spring", id, "for tests"
	p.ParameterName, p.Processing = "promo_code", domain.Internal
	p, err := w.store.CreatePool(w.Context(), "test", p, false)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// upload hands a file in for the pool.
func (w *world) upload(pool string, file io.Reader) domain.Import {
	w.Helper()
	in := importing.NewIntake(w.store, 1<<30, w.wake)
	i, err := in.Receive(w.Context(), domain.Upload{PoolID: pool, FileName: "codes.csv", MediaType: "text/csv"}, file)
	if err != nil {
		w.Fatal(err)
	}
	return i
}

// run starts a runner over the store, and stops it at the end or by stop.
func (w *world) run(s importing.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r := importing.New(s, zerolog.New(zerolog.NewTestWriter(w)), prometheus.NewRegistry())
	w.wake = r.Wake
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	w.Cleanup(stop)
	return stop
}

// end waits until the import has ended.
func (w *world) end(task int64) domain.Import {
	w.Helper()
	return w.until(task, func(i domain.Import) bool { return i.Status.Ended() })
}

func (w *world) until(task int64, enough func(domain.Import) bool) domain.Import {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Minute)
	for {
		i, err := w.store.Import(w.Context(), task)
		if err != nil {
			w.Fatal(err)
		}
		if enough(i) {
			return i
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("import %d is stuck: %+v", task, i)
		}
	}
}

func (w *world) exec(query string, args ...any) {
	w.Helper()
	if _, err := w.conn.Exec(w.Context(), query, args...); err != nil {
		w.Fatal(err)
	}
}

// issue takes the next n codes of a pool with one lot, as a batch does.
func (w *world) issue(pool string, n int) {
	w.Helper()
	w.exec(`WITH r AS (UPDATE runs SET next = next + $2 WHERE pool = (SELECT pool FROM pools WHERE id = $1) RETURNING *)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT r.pool, r.lot, s, clock_timestamp(), clock_timestamp(), 'r' || s, 'c' FROM r, generate_series(r.next - $2, r.next - 1) AS s`, pool, n)
}

func (w *world) count(query string, args ...any) (n int64) {
	w.Helper()
	if err := w.conn.QueryRow(w.Context(), query, args...).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

// check holds what must be true of a pool at every commit: its lots are whole,
// numbered without holes, each code once, and the tasks' counts say the same.
func (w *world) check() {
	w.Helper()
	for what, query := range map[string]string{
		"codes of no lot":         `SELECT count(*) FROM codes c WHERE NOT EXISTS (SELECT FROM lots l WHERE (l.pool, l.lot) = (c.pool, c.lot) AND c.seq < l.size)`,
		"lots with holes":         `SELECT count(*) FROM lots l WHERE l.size - l.moved <> (SELECT count(*) FROM codes c WHERE (c.pool, c.lot) = (l.pool, l.lot))`,
		"lots not in stock":       `SELECT count(*) FROM lots l JOIN pools p USING (pool) WHERE NOT p.multi_use AND l.size <> l.done + l.moved + (SELECT coalesce(sum(r.hi - r.lo), 0) FROM runs r WHERE (r.pool, r.lot) = (l.pool, l.lot))`,
		"stock without codes":     `SELECT count(*) FROM runs r JOIN pools p USING (pool) WHERE NOT p.multi_use AND r.hi - r.next <> (SELECT count(*) FROM codes c WHERE (c.pool, c.lot) = (r.pool, r.lot) AND c.seq >= r.next AND c.seq < r.hi)`,
		"stock with other dates":  `SELECT count(*) FROM runs r JOIN lots l USING (pool, lot) WHERE (r.issue_start, r.issue_end, r.available_till) <> (coalesce(l.issue_start, '-infinity'), coalesce(l.issue_end, 'infinity'), coalesce(l.available_till, 'infinity'))`,
		"counts that are wrong":   `SELECT count(*) FROM pools p WHERE (SELECT coalesce(sum(i.added), 0) FROM imports i WHERE i.pool = p.pool AND NOT i.dry_run) <> (SELECT coalesce(sum(l.size - l.moved), 0) FROM lots l WHERE l.pool = p.pool)`,
		"refusals that are wrong": `SELECT count(*) FROM imports i WHERE i.refused <> (SELECT count(*) FROM import_refusals f WHERE f.task = i.task)`,
		"reasons that are wrong": `SELECT count(*) FROM import_reasons r FULL JOIN (SELECT task, reason, count(*) AS n FROM import_refusals GROUP BY 1, 2) f
			USING (task, reason) WHERE r.n IS DISTINCT FROM f.n`,
	} {
		if n := w.count(query); n != 0 {
			w.Errorf("%s: %d", what, n)
		}
	}
}

// settled is check, and that nothing but the report is kept of what has ended.
func (w *world) settled() {
	w.Helper()
	w.check()
	deadline := time.Now().Add(10 * time.Second)
	for { // as every process does, and again where the runner is at the same rows
		err := w.store.SweepImports(w.Context(), time.Hour)
		if err == nil {
			break
		}
		if !errors.Is(err, domain.ErrAway) || time.Now().After(deadline) {
			w.Fatal(err)
		}
	}
	for w.count(`SELECT count(*) FROM import_parts`)+w.count(`SELECT count(*) FROM imports WHERE body_kept`)+w.count(`SELECT count(*) FROM import_seen`)+w.count(`SELECT count(*) FROM import_moves`) > 0 {
		if time.Now().After(deadline) {
			w.Fatal("files are kept")
		}
	}
}

// numbered is a file of n codes in one window.
func numbered(prefix string, n int) *bytes.Buffer {
	var b bytes.Buffer
	b.WriteString("code;issue_end\r\n")
	for i := range n {
		fmt.Fprintf(&b, "%s-%07d;2099-12-31\r\n", prefix, i)
	}
	return &b
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	file := "Code;IssueStartDateTimeUtc;IssueEndDateTimeUtc;AvailableFromDateTimeUtc;AvailableTillDateTimeUtc;Note\r\n" +
		"A1;2026-01-01;2098-01-01;;;x\r\n" + // line 2
		"B2;;2099-01-01;;;\r\n" +
		"A1;;;;;again\r\n" + // 4: twice
		"OLD;;2001-01-01 10:00;;;\r\n" + // 5: over
		"BAD;x;;;;\r\n" + // 6
		"C3;2026-01-01;2098-01-01;;;\r\n" +
		"=1+1;;;;;\r\n" +
		";;;;;no code" // 9
	i := w.end(w.upload("mugs", strings.NewReader(file)).Task)
	if i.Status != domain.ImportCompletedWithRefusal || i.Rows != 8 || i.Added != 4 || i.Refused != 4 || i.BytesDone != int64(len(file)) {
		t.Fatalf("got %+v", i)
	}
	if got := i.Layout.Ignored(); len(got) != 1 || got[0] != "Note" {
		t.Errorf("ignored: got %q, want Note", got)
	}
	w.settled()
	if n := w.count(`SELECT count(*) FROM lots WHERE pool = $1`, w.pool.Key); n != 3 {
		t.Errorf("got %d lots, want one per window", n)
	}
	if n := w.count(`SELECT seq FROM codes JOIN lots USING (pool, lot) WHERE code = 'C3' AND issue_end = '2098-01-01'`); n != 1 {
		t.Errorf("C3: got number %d, want the second of its window", n)
	}

	refusals, err := w.store.Refusals(t.Context(), i.Task, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range refusals {
		got = append(got, fmt.Sprintf("%d %s %s", r.Line, r.Reason, r.Value))
	}
	want := "4 duplicate_in_file A1|5 window_over 2001-01-01T10:00:00Z|6 bad_date x|9 empty_code "
	if g := strings.Join(got, "|"); g != want {
		t.Errorf("refusals:\n got %s\nwant %s", g, want)
	}

	// What was refused can be corrected and uploaded as it is.
	var rejected bytes.Buffer
	in := importing.NewIntake(w.store, 1<<20, func() {})
	if err := in.WriteRejected(t.Context(), i.Task, &rejected); err != nil {
		t.Fatal(err)
	}
	corrected := strings.NewReplacer("A1;", "A9;", "2001-", "2099-", "BAD;x", "GOOD;", "\n;", "\nD4;").Replace(rejected.String())
	again := w.end(w.upload("mugs", strings.NewReader(corrected)).Task)
	if again.Status != domain.ImportCompleted || again.Added != 4 {
		t.Errorf("uploaded again:\n%s\ngot %+v", corrected, again)
	}
	w.settled()
}

func TestImportKnownCodes(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	w.end(w.upload("mugs", strings.NewReader("P-0000001\nP-0004000\n")).Task)
	// Twice in one chunk, twice in two chunks, and in the pool.
	file := numbered("P", 5000)
	file.WriteString("P-0000002\nP-0004500\nP-0000001\nNEW\n")
	i := w.end(w.upload("mugs", file).Task)
	if i.Added != 4999 || i.Moved != 2 || i.Refused != 3 {
		t.Errorf("got %+v, want 4999 added, 2 moved and 3 refused", i)
	}
	refusals, err := w.store.Refusals(t.Context(), i.Task, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int64]domain.RefusalReason{
		5002: domain.DuplicateInFile, 5003: domain.DuplicateInFile, 5004: domain.DuplicateInFile,
	}
	for _, r := range refusals {
		if want[r.Line] != r.Reason {
			t.Errorf("line %d: got %s, want %s", r.Line, r.Reason, want[r.Line])
		}
	}
	// The same file again: nothing is new.
	again := w.end(w.upload("mugs", numbered("P", 5000)).Task)
	if again.Added != 0 || again.Unchanged != 5000 || again.Refused != 0 {
		t.Errorf("again: got %+v", again)
	}
	w.settled()
}

// generating is a file during which codes of its pool are generated.
type generating struct {
	w    *world
	file io.Reader
}

func (g *generating) Read(b []byte) (int, error) {
	n, err := g.file.Read(b)
	if err == nil {
		return n, nil
	}
	p, parseErr := domain.ParsePattern("########", "")
	if parseErr == nil {
		_, parseErr = g.w.store.Generate(g.w.Context(), "test", "mugs", domain.Generation{Pattern: p, Count: 1, MaxGuessOdds: 1})
	}
	if parseErr != nil {
		g.w.Error(parseErr)
	}
	return n, err
}

// TestGeneratedMeanwhile: an upload that comes to its end when the pool has
// generated codes is refused, and nothing of it stays.
func TestGeneratedMeanwhile(t *testing.T) {
	w := newWorld(t)
	in := importing.NewIntake(w.store, 1<<30, w.wake)
	_, err := in.Receive(t.Context(), domain.Upload{PoolID: "mugs", MediaType: "text/csv"}, &generating{w, strings.NewReader("A\n")})
	if !errors.Is(err, domain.ErrGenerated) {
		t.Errorf("got %v, want %v", err, domain.ErrGenerated)
	}
	var left int
	if err := w.conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM import_parts) + (SELECT count(*) FROM imports WHERE kind = 'file')").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
}
