package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/postgres/internal/conn"
	"promopool/internal/postgres/internal/db"
)

// importSession works on one import over a connection of its own. That holds
// the advisory lock of imports into the pool, so whatever it commits it commits
// as the only one; a process that was frozen and replaced finds it closed.
type importSession struct {
	conn *conn.Session
	q    *db.Queries // refuses to write
	pool int32
	job  importing.Job

	// multiUse is what Now has last seen of the pool.
	multiUse bool
	// lots are those that this session has made, by window: codes with the same
	// dates join them. Only this session adds to them.
	lots map[domain.Window]grown
	// rests are lots that it has made for what moves have left of others, by those.
	rests map[int32]grown
}

// grown is a lot and its size.
type grown struct {
	no   int32
	size int64
}

// mostLots bounds the memory for lots. More of them only means that codes with the
// same dates lie in several.
const mostLots = 100_000

// importSettings are a session's. Idle for a minute is a frozen process: its
// imports are another's from then on. A chunk waits longer for its pool than
// others do, since it would have to be written again, and holds nothing that
// anyone waits for.
const importSettings = `SET application_name = 'promopool import'; SET promopool.import_reader = '2'; SET idle_session_timeout = '60s'; SET lock_timeout = '5s'`

// importReader is the reader that an import needs (column reader), and this is.
const importReader = 2

// importSession is a connection that works on no import yet.
func (s *Store) importSession(ctx context.Context) (*importSession, error) {
	own, err := s.conns.Session(ctx, importSettings)
	if err != nil {
		return nil, err
	}
	return &importSession{conn: own, q: own.Reads(), lots: map[domain.Window]grown{}, rests: map[int32]grown{}}, nil
}

// NextImport claims the oldest import that nobody works on.
func (s *Store) NextImport(ctx context.Context) (importing.Session, error) {
	open, err := s.q.OpenImports(ctx)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	session, err := s.importSession(ctx)
	if err != nil {
		return nil, err
	}
	claimed := false
	defer func() {
		if !claimed {
			session.Close()
		}
	}()
	for _, o := range open {
		if claimed, err = session.claim(ctx, o.Task, o.Pool); claimed {
			return session, nil
		}
		if err != nil {
			return nil, fmt.Errorf("claim import %d: %w", o.Task, err)
		}
	}
	return nil, nil
}

func (s *importSession) claim(ctx context.Context, task int64, pool int32) (bool, error) {
	locked, err := s.q.LockImportsOf(ctx, pool)
	if err != nil || !locked {
		return false, err
	}
	row, err := answered(ctx, s.conn, crashpoint.ClaimImport, func(ctx context.Context, q *db.Queries) (db.ClaimImportRow, error) { return q.ClaimImport(ctx, task) })
	if errors.Is(err, pgx.ErrNoRows) { // ended since we looked
		return false, s.q.UnlockImportsOf(ctx, pool)
	}
	if err != nil {
		return false, err
	}
	layout, err := layoutOf(row.Layout)
	if err != nil {
		return false, err
	}
	options, err := optionsOf(row.Options)
	if err != nil {
		return false, err
	}
	s.pool = pool
	s.job = importing.Job{
		Task: task, PoolID: row.PoolID, Bytes: row.Bytes, MediaType: row.MediaType, Options: options,
		From: importing.Position{Offset: row.TextDone, Line: row.LinesDone}, Done: row.BytesDone,
		Layout: layout, Attempts: int(row.Attempts),
	}
	return true, nil
}

func (s *importSession) Job() importing.Job { return s.job }

func (s *importSession) Close() { s.conn.Close() }

func (s *importSession) Now(ctx context.Context) (time.Time, bool, error) {
	row, err := s.q.ImportClock(ctx, s.pool)
	if err == nil && !row.Open {
		err = importing.ErrPoolClosed
	}
	s.multiUse = row.MultiUse
	return fromStamp(row.Now), row.MultiUse, err
}

func (s *importSession) Find(ctx context.Context, codes []string) (map[string]importing.Found, error) {
	rows, err := s.q.CodesFound(ctx, db.CodesFoundParams{Pool: s.pool, Task: s.job.Task, Codes: codes})
	if err != nil {
		return nil, err
	}
	found := make(map[string]importing.Found, len(rows))
	for _, r := range rows {
		found[r.Code] = importing.Found{
			Place: domain.Place{Lot: r.Lot, Seq: r.Seq}, Named: r.Named, Issued: r.Issued, Withheld: domain.CodeState(r.Withheld),
			Window: window(r.IssueStart, r.IssueEnd, r.AvailableFrom, r.AvailableTill),
		}
	}
	return found, nil
}

// Commit writes a step. The pool's lock comes last, for a few milliseconds: others
// issue from the pool all the while.
func (s *importSession) Commit(ctx context.Context, step importing.Step) (importing.Result, error) {
	t := targets{}
	for _, l := range step.Lots {
		s.want(t, l.Window).more += int64(len(l.Codes))
	}
	if err := t.number(ctx, s.lotNumbers); err != nil {
		return importing.Result{}, err
	}
	res := importing.Result{Added: step.Added, Unchanged: int64(len(step.Unchanged)), Refused: int64(len(step.Refusals))}
	err := s.conn.InTx(ctx, crashpoint.CommitChunk, func(tx pgx.Tx, q *db.Queries) error {
		if step.Added > 0 {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"codes"}, []string{"pool", "lot", "seq", "code"}, s.codes(step.Lots, t))
			if err != nil {
				return fmt.Errorf("copy codes: %w", err)
			}
		}
		if err := s.copyRefusals(ctx, tx, step.Refusals); err != nil {
			return err
		}
		if err := s.noteMoves(ctx, tx, step.Moves); err != nil {
			return err
		}
		if len(step.Unchanged) > 0 {
			if err := q.NoteSeen(ctx, db.NoteSeenParams{Task: s.job.Task, Codes: step.Unchanged}); err != nil {
				return err
			}
		}
		if err := s.finish(ctx, q, step, &res, t); err != nil {
			return err
		}
		return q.MarkTextDone(ctx, db.MarkTextDoneParams{
			Task: s.job.Task, TextDone: step.End.Offset, Reader: importReader, SeenKept: len(step.Unchanged)+len(step.Moves) > 0,
		})
	})
	if err != nil {
		return importing.Result{}, importError(err)
	}
	t.keep(s)
	return res, nil
}

// noteMoves puts moves on the import's list.
func (s *importSession) noteMoves(ctx context.Context, tx pgx.Tx, moves []importing.Move) error {
	if len(moves) == 0 {
		return nil
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"import_moves"},
		[]string{"task", "code", "lot", "seq", "issue_start", "issue_end", "available_from", "available_till", "line", "row"},
		pgx.CopyFromSlice(len(moves), func(i int) ([]any, error) {
			m := &moves[i]
			return []any{
				s.job.Task, m.Code, m.From.Lot, m.From.Seq,
				stamp(m.Window.IssueStart), stamp(m.Window.IssueEnd), stamp(m.Window.AvailableFrom), stamp(m.Window.AvailableTill), m.Line, m.Row,
			}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy moves: %w", err)
	}
	return nil
}

// finish makes the lots stock and moves the task.
func (s *importSession) finish(ctx context.Context, q *db.Queries, step importing.Step, res *importing.Result, t targets) error {
	arg, err := s.chunkParams(step, *res, t)
	if err != nil {
		return err
	}
	told, err := q.ImportChunk(ctx, arg)
	res.Status = domain.ImportStatus(told)
	return err
}

// target is the lot that codes with the same dates go into.
type target struct {
	grown
	more int64
	at   int // among the step's, as they come
}

// targets are those of a step, by window.
type targets map[domain.Window]*target

// want is the lot of a step for a window. Lots of multi-use pools do not grow:
// their size says which code an ordinal means.
func (s *importSession) want(t targets, w domain.Window) *target {
	if t[w] == nil {
		t[w] = &target{at: len(t)}
		if !s.multiUse {
			t[w].grown = s.lots[w]
		}
	}
	return t[w]
}

// number gives new lots numbers, which next makes.
func (t targets) number(ctx context.Context, next func(ctx context.Context, n int32) ([]int32, error)) error {
	var fresh []*target
	for _, l := range t {
		if l.size == 0 {
			fresh = append(fresh, l)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.SortFunc(fresh, func(a, b *target) int { return cmp.Compare(a.at, b.at) })
	numbers, err := next(ctx, int32(len(fresh)))
	if err != nil {
		return err
	}
	for i, n := range numbers {
		fresh[i].no = n
	}
	return nil
}

func (s *importSession) lotNumbers(ctx context.Context, n int32) ([]int32, error) {
	return answered(ctx, s.conn, crashpoint.NumberLots, func(ctx context.Context, q *db.Queries) ([]int32, error) { return q.LotNumbers(ctx, n) })
}

// keep remembers what has become true.
func (t targets) keep(s *importSession) {
	if len(s.lots)+len(t) > mostLots {
		clear(s.lots)
	}
	for w, l := range t {
		if l.more > 0 {
			s.lots[w] = grown{l.no, l.size + l.more}
		}
	}
}

func (s *importSession) copyRefusals(ctx context.Context, tx pgx.Tx, refusals []domain.Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"import_refusals"}, []string{"task", "line", "reason", "value", "row"},
		pgx.CopyFromSlice(len(refusals), func(i int) ([]any, error) {
			r := &refusals[i]
			return []any{s.job.Task, r.Line, string(r.Reason), r.Value, r.Row}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy refusals: %w", err)
	}
	return nil
}

// codes are the rows of new codes.
func (s *importSession) codes(lots []importing.Lot, t targets) pgx.CopyFromSource {
	lot, n := 0, 0
	row := make([]any, 4)
	return pgx.CopyFromFunc(func() ([]any, error) {
		for lot < len(lots) && n == len(lots[lot].Codes) {
			lot, n = lot+1, 0
		}
		if lot == len(lots) {
			return nil, nil
		}
		into := t[lots[lot].Window]
		row[0], row[1], row[2], row[3] = s.pool, into.no, into.size+int64(n), lots[lot].Codes[n]
		n++
		return row, nil
	})
}

func (s *importSession) chunkParams(step importing.Step, res importing.Result, t targets) (db.ImportChunkParams, error) {
	layout, err := json.Marshal(step.Layout)
	p := db.ImportChunkParams{
		Task: s.job.Task, Pool: s.pool, At: stamp(step.At),
		BytesDone: step.Done, LinesDone: step.End.Line, Layout: layout, Rows: step.Rows - int64(len(step.Moves)), Added: step.Added,
		Moved: res.Moved, Unchanged: res.Unchanged, Refused: res.Refused, Last: step.Last,
	}
	for w, l := range t {
		if l.more == 0 { // all that were to come here are issued
			continue
		}
		p.LLot, p.LSize, p.LMore = append(p.LLot, l.no), append(p.LSize, l.size), append(p.LMore, l.more)
		p.LIssueStart = append(p.LIssueStart, stamp(w.IssueStart))
		p.LIssueEnd = append(p.LIssueEnd, stamp(w.IssueEnd))
		p.LAvailableFrom = append(p.LAvailableFrom, stamp(w.AvailableFrom))
		p.LAvailableTill = append(p.LAvailableTill, stamp(w.AvailableTill))
	}
	return p, err
}

func (s *importSession) Seen(ctx context.Context, codes []string) ([]string, error) {
	return s.q.CodesSeen(ctx, db.CodesSeenParams{Task: s.job.Task, Codes: codes})
}

// Rehearse touches the task and its own codes only, so nobody waits for it.
func (s *importSession) Rehearse(ctx context.Context, step importing.Step, codes []string) (importing.Result, error) {
	res := importing.Result{Moved: int64(len(step.Moves)), Refused: int64(len(step.Refusals))}
	layout, err := json.Marshal(step.Layout)
	if err != nil {
		return res, err
	}
	err = s.conn.InTx(ctx, crashpoint.RehearseChunk, func(tx pgx.Tx, q *db.Queries) error {
		if err := s.copyRefusals(ctx, tx, step.Refusals); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"import_seen"}, []string{"task", "code"},
			pgx.CopyFromSlice(len(codes), func(i int) ([]any, error) { return []any{s.job.Task, codes[i]}, nil }))
		if err != nil {
			return fmt.Errorf("copy codes of a dry run: %w", err)
		}
		told, err := q.RehearseStep(ctx, db.RehearseStepParams{
			Task: s.job.Task, At: stamp(step.At), BytesDone: step.Done, TextDone: step.End.Offset, LinesDone: step.End.Line, Reader: importReader,
			Layout: layout, Rows: step.Rows, Added: step.Added, Moved: res.Moved, Unchanged: int64(len(step.Unchanged)), Refused: res.Refused, Last: step.Last,
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return importing.ErrEnded
		}
		res.Status = domain.ImportStatus(told)
		return err
	})
	return res, importError(err)
}

func (s *importSession) Fail(ctx context.Context, why string) error {
	n, err := answered(ctx, s.conn, crashpoint.FailImport, func(ctx context.Context, q *db.Queries) (int64, error) {
		return q.FailImport(ctx, db.FailImportParams{Task: s.job.Task, Error: why})
	})
	if err == nil && n == 0 {
		err = importing.ErrEnded
	}
	return err
}
