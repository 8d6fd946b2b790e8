package issuing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"promopool/internal/domain"
	"promopool/internal/importing"
)

// row is a row of a file: a code, and until when it may be issued.
type row struct {
	code string
	till time.Time
}

// receive hands a file in whose rows the test reads itself.
func (w *world) receive(id string, file []byte) int64 {
	w.Helper()
	i, err := importing.NewIntake(w.store, 1<<30, func() {}).Receive(w.ctx(), domain.Upload{PoolID: id, MediaType: "text/csv"}, bytes.NewReader(file))
	if err != nil {
		w.Fatal(err)
	}
	return i.Task
}

// claim goes on with the import; what others have left is ended.
func (w *world) claim(task int64) importing.Session {
	w.Helper()
	for range 1000 {
		s, err := w.store.NextImport(w.ctx())
		if err != nil {
			w.Fatal(err)
		}
		switch {
		case s == nil: // the session before is still ending
		case s.Job().Task == task:
			return s
		default:
			if err := s.Fail(w.ctx(), "left behind"); err != nil {
				w.Fatal(err)
			}
			s.Close()
		}
		time.Sleep(time.Millisecond)
	}
	w.Fatalf("import %d cannot be claimed", task)
	return nil
}

// upload imports a file into a single-use pool: codes that are new and codes that
// the pool has, in steps between which batches are decided, and whose answers are
// lost now and then. What was said last of each code is in dates.
func (m *model) upload(t *rapid.T) {
	id := rapid.SampledFrom(m.pools[:2]).Draw(t, "pool")
	if m.state(id) == domain.Archived {
		t.Skip("archived")
	}
	m.w.moved[id] = true
	rows := m.rows(t, id)
	task := m.w.receive(id, bytes.Repeat([]byte{'x'}, len(rows)))
	s := m.w.claim(task)
	defer func() { s.Close() }()
	at, whole := s.Job().From.Offset, false
	for {
		now, _, err := s.Now(m.w.ctx())
		var step importing.Step
		if err == nil && !whole {
			step = m.step(t, s, now, rows, at)
		}
		rapid.SampledFrom([]func(*rapid.T){func(*rapid.T) {}, m.work, m.work, m.archive, m.edit, m.block, m.unblock, m.handCode}).Draw(t, "between")(t)
		lost := rapid.SampledFrom([]string{"", "", "", "before", "after"}).Draw(t, "lost")
		var res importing.Result
		if err == nil && lost != "before" {
			if whole {
				end := importing.Position{Offset: int64(len(rows)), Line: int64(len(rows))}
				res, err = s.Move(m.w.ctx(), importing.Step{At: now, End: end, Done: end.Offset, Layout: &domain.Layout{}, Last: true})
			} else {
				res, err = s.Commit(m.w.ctx(), step)
			}
		}
		switch {
		case errors.Is(err, importing.ErrPoolClosed):
			if err := s.Fail(m.w.ctx(), "closed"); err != nil {
				t.Fatal(err)
			}
			return
		case err != nil:
			t.Fatalf("import: %v", err)
		case lost == "before":
		case whole:
			m.movedAll(t, id, task, rows)
		default:
			at, whole = step.End.Offset, step.Last
			for _, l := range step.Lots {
				for _, c := range l.Codes {
					m.dates[[2]string{id, c}] = l.Window.IssueEnd
				}
			}
		}
		if res.Status.Ended() {
			return
		}
		if lost != "" {
			s.Close()
			s = m.w.claim(task)
			at, whole = s.Job().From.Offset, false
		}
	}
}

// rows are codes that the pool has, and some that it has perhaps.
func (m *model) rows(t *rapid.T, id string) []row {
	year := rapid.IntRange(2097, 2099)
	var rows []row
	have, err := m.w.sql.Query(m.w.ctx(), "SELECT code FROM codes JOIN pools USING (pool) WHERE id = $1 ORDER BY lot, seq OFFSET $2 LIMIT $3",
		id, rapid.IntRange(0, 900).Draw(t, "from"), rapid.IntRange(0, 60).Draw(t, "known"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := pgx.CollectRows(have, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	till := func() time.Time { return time.Date(year.Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, c := range known {
		rows = append(rows, row{c, till()})
	}
	first := rapid.IntRange(0, 100).Draw(t, "first")
	for k := range rapid.IntRange(0, 20).Draw(t, "new") {
		if c := fmt.Sprintf("%s-file-%d", id, first+k); !slices.Contains(known, c) {
			rows = append(rows, row{c, till()})
		}
	}
	if len(rows) == 0 {
		rows = append(rows, row{id + "-file-0", till()})
	}
	return rows
}

// step decides the next rows, as importing does.
func (m *model) step(t *rapid.T, s importing.Session, now time.Time, rows []row, at int64) importing.Step {
	end := min(at+rapid.Int64Range(1, 50).Draw(t, "rows"), int64(len(rows)))
	step := importing.Step{
		At: now, End: importing.Position{Offset: end, Line: end}, Done: end, Layout: &domain.Layout{}, Rows: end - at, Last: end == int64(len(rows)),
	}
	var codes []string
	for _, r := range rows[at:end] {
		codes = append(codes, r.code)
	}
	found, err := s.Find(m.w.ctx(), codes)
	if err != nil {
		t.Fatal(err)
	}
	lots := map[domain.Window][]string{}
	for i, r := range rows[at:end] {
		w := domain.Window{IssueEnd: r.till}
		move := importing.Move{Code: r.code, Window: w, Line: at + int64(i) + 1}
		have, known := found[r.code]
		move.From = have.Place
		switch {
		case have.Named:
			t.Fatalf("%s was named before", r.code)
		case !known:
			lots[w] = append(lots[w], r.code)
			step.Added++
		case have.Issued:
			step.Refusals = append(step.Refusals, move.Refusal(domain.AlreadyIssued))
		case have.Withheld != "":
			step.Refusals = append(step.Refusals, move.Refusal(domain.CodeIsBlocked))
		case have.Window == w:
			step.Unchanged = append(step.Unchanged, r.code)
		default:
			step.Moves = append(step.Moves, move)
		}
	}
	for w, codes := range lots {
		step.Lots = append(step.Lots, importing.Lot{Window: w, Codes: codes})
	}
	return step
}

// movedAll learns what became of the rows of a file that has come to its end, and
// that those refused were issued.
func (m *model) movedAll(t *rapid.T, id string, task int64, rows []row) {
	refusals, err := m.w.store.Refusals(m.w.ctx(), task, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[int64]bool{}
	for _, r := range refusals {
		refused[r.Line] = true
		where := map[domain.RefusalReason]string{
			domain.AlreadyIssued: "issuances i USING (pool, lot, seq)",
			// It may be unblocked by now.
			domain.CodeIsBlocked: "code_history h ON h.pool = c.pool AND h.lot = c.lot AND h.seq = c.seq AND h.action = 'blocked'",
		}[r.Reason]
		if n := m.w.Int("SELECT count(*) FROM codes c JOIN "+where+" JOIN pools p ON p.pool = c.pool WHERE p.id = $1 AND c.code = $2",
			id, rows[r.Line-1].code); n < 1 {
			t.Fatalf("line %d is refused by %s, and is not so", r.Line, r.Reason)
		}
	}
	for i, r := range rows {
		if !refused[int64(i)+1] {
			m.dates[[2]string{id, r.code}] = r.till
		}
	}
}

// gather lays free codes down anew.
func (m *model) gather(t *rapid.T) {
	id := rapid.SampledFrom(m.pools[:2]).Draw(t, "pool")
	if m.state(id) == domain.Archived {
		t.Skip("archived")
	}
	m.w.moved[id] = true
	m.w.Exec(`SELECT lay_anew(l.pool, l.lot, $2, nextval('lot_numbers')::int, 0, $3)
		FROM (SELECT l.pool, l.lot FROM lots l JOIN pools p USING (pool) WHERE p.id = $1 ORDER BY l.lot OFFSET $4 LIMIT 1) l`,
		id, rapid.Int64Range(0, 50).Draw(t, "from"), rapid.IntRange(1, 300).Draw(t, "codes"), rapid.IntRange(0, 3).Draw(t, "lot"))
}

// checkDates: every code has the dates that the last file that named it gave it.
func (m *model) checkDates(t *rapid.T) {
	for key, want := range m.dates {
		var got time.Time
		err := m.w.sql.QueryRow(m.w.ctx(), "SELECT l.issue_end FROM codes c JOIN lots l USING (pool, lot) JOIN pools p USING (pool) WHERE p.id = $1 AND c.code = $2",
			key[0], key[1]).Scan(&got)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s may be issued until %v, %v; want %v", key[1], got, err, want)
		}
	}
}

// TestMovesRace: files give random halves of a pool other dates, again and again,
// while all partitions issue from it, buffers are taken back and the backends of
// imports are ended. Every request gets its code, and every code is where the last
// file that could move it has put it.
func TestMovesRace(t *testing.T) {
	t.Parallel()
	const codes, files = 30_000, 3
	w := newWorld(t)
	w.Pool("p", codes)
	w.moved["p"] = true
	processes, parts := crew(w, 2, 6)
	ctx, stop := context.WithCancel(t.Context())
	var others, runners sync.WaitGroup
	for range 2 {
		r := importing.New(w.store, zerolog.Nop(), prometheus.NewRegistry())
		runners.Go(func() { _ = r.Run(ctx) })
	}
	defer runners.Wait()
	defer stop()
	done := make(chan struct{})
	others.Go(func() {
		defer close(done)
		var lot int64
		if err := w.sql.QueryRow(ctx, "SELECT min(lot) FROM lots").Scan(&lot); err != nil {
			t.Error(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for k := range files {
			var file bytes.Buffer
			file.WriteString("code;issue_end\n")
			for i := range codes {
				if r.IntN(2) == 0 {
					fmt.Fprintf(&file, "p-%d-%d;%d-01-01\n", lot, i, 2090+k)
				}
			}
			fmt.Fprintf(&file, "new-%d;%d-01-01\n", k, 2090+k)
			task := w.receive("p", file.Bytes())
			i := domain.Import{Status: domain.ImportWaiting}
			for err := error(nil); !i.Status.Ended(); time.Sleep(5 * time.Millisecond) {
				if i, err = w.store.Import(ctx, task); err != nil {
					t.Error(err)
					return
				}
			}
			if i.Added != 1 || i.Moved == 0 || i.Refused != i.Reasons[domain.AlreadyIssued] || i.Rows != int64(bytes.Count(file.Bytes(), []byte{'\n'}))-1 {
				t.Errorf("got %+v", i)
			}
			moved := w.Int("SELECT sum(l.size - l.moved)::bigint FROM lots l WHERE extract(year FROM l.issue_end) = $1", 2090+k)
			if want := i.Moved + 1; moved != want {
				t.Errorf("%d codes have the dates of file %d, want %d", moved, k, want)
			}
			t.Logf("file %d: %d moved, %d issued before", k, i.Moved, i.Refused)
		}
	})
	others.Go(func() {
		r := rand.New(rand.NewPCG(3, 4))
		for k := 1; ; k++ {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(20+r.IntN(200)) * time.Millisecond):
			}
			if k%3 == 0 {
				if _, err := w.store.UpdatePool(ctx, "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
					p.Validity = domain.Period{Days: k}
					return p, nil
				}); err != nil {
					t.Error(err)
				}
				continue
			}
			w.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'promopool import' ORDER BY random() LIMIT 1`)
		}
	})
	together(parts, func(p *part) error {
		for k := 0; k*3 < codes/2/6; k++ { // half of the codes at most
			select {
			case <-done:
				return nil
			case <-time.After(20 * time.Millisecond): // for as long as the files take
			}
			w.Publish(p.n, asks("p", fmt.Sprintf("%d-%d", p.n, k), 3)...)
			if err := p.Work(3); err != nil {
				return err
			}
		}
		return nil
	})
	others.Wait()
	for _, p := range processes {
		for _, cause := range []string{"cursor", "raced", "again", "blocked", "place_taken", "unknown"} {
			if n := p.Metric("promopool_decisions_again_total", cause); n > 0 {
				t.Logf("%v decided again: %s", n, cause)
			}
		}
	}
	n := 0
	for _, log := range w.logs {
		n += len(log)
	}
	if issued := w.Count("issued"); issued != n {
		t.Errorf("%d of %d requests were issued a code", issued, n)
	}
	t.Logf("%d issued meanwhile", n)
	w.Check()
}

// noted is an import of the pool at the end of its file, with moves of the codes
// noted, and how they are made true.
func (w *world) noted(id string, codes ...string) (importing.Session, func() (importing.Result, error)) {
	w.Helper()
	task := w.receive(id, []byte("x"))
	s := w.claim(task)
	now, _, err := s.Now(w.ctx())
	if err != nil {
		w.Fatal(err)
	}
	found, err := s.Find(w.ctx(), codes)
	if err != nil || len(found) != len(codes) {
		w.Fatalf("%d of %d codes found, %v", len(found), len(codes), err)
	}
	step := importing.Step{At: now, End: importing.Position{Offset: 1, Line: 1}, Done: 1, Layout: &domain.Layout{}, Rows: int64(len(codes)), Last: true}
	end := step
	for i, c := range codes {
		m := importing.Move{Code: c, From: found[c].Place, Window: domain.Window{IssueEnd: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}, Line: int64(i) + 1}
		step.Moves = append(step.Moves, m)
	}
	if res, err := s.Commit(w.ctx(), step); err != nil || res.Status.Ended() {
		w.Fatalf("got %+v, %v", res, err)
	}
	return s, func() (importing.Result, error) { return s.Move(w.ctx(), end) }
}

// TestMoveBusy: a batch that has frozen with codes of the pool in its hands keeps
// an import from moving them, and the import nobody from the pool.
func TestMoveBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Pool("p", 10)
	lot := w.Int("SELECT lot FROM lots")
	s, move := w.noted("p", fmt.Sprintf("p-%d-3", lot))
	defer s.Close()
	frozen, err := w.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frozen.Exec(t.Context(), "SELECT FROM runs FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := move(); !errors.Is(err, importing.ErrBusy) {
		t.Fatalf("got %v, want %v", err, importing.ErrBusy)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the pool was locked for %v", took)
	}
	w.Exec("SELECT FROM pools FOR UPDATE NOWAIT")
	if err := frozen.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, err := move(); err != nil || res.Moved != 1 || res.Status != domain.ImportCompleted {
		t.Errorf("got %+v, %v", res, err)
	}
	w.Check()
}

// TestMoveOfMany: a draft whose codes are for many uses for a while, between the
// row that names a code and its move. They have other places afterwards.
func TestMoveOfMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := domain.Pool{ID: "p", CampaignID: "summer", Name: "p", Description: "for tests", ParameterName: "code", Processing: domain.Internal}
	if _, err := w.store.CreatePool(t.Context(), "test", p, false); err != nil {
		t.Fatal(err)
	}
	w.Fill("p", 10)
	use := func(many bool) {
		t.Helper()
		if _, err := w.store.UpdatePool(t.Context(), "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
			p.MultiUse = many
			return p, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(seq int) string { return fmt.Sprintf("p-%d-%d", w.Int("SELECT min(lot) FROM codes"), seq) }
	codes := []string{name(2), name(5), name(7)}
	s, move := w.noted("p", codes[0])
	if res, err := move(); err != nil || res.Moved != 1 {
		t.Fatalf("got %+v, %v", res, err)
	}
	s.Close()

	s, move = w.noted("p", codes[1])
	use(true)
	use(false)
	if res, err := move(); err != nil || res.Moved != 1 {
		t.Errorf("for many uses for a while: got %+v, %v", res, err)
	}
	s.Close()
	w.Check()

	s, move = w.noted("p", codes[2])
	use(true)
	if _, err := move(); err == nil {
		t.Error("a code for many uses has moved")
	}
	if _, _, err := s.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, err := move(); err != nil || res.Refused != 1 {
		t.Errorf("for many uses: got %+v, %v", res, err)
	}
	s.Close()
	w.multi["p"] = true
	w.Check()
}
