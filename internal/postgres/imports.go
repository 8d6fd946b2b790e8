package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/postgres/internal/db"
)

// BeginImport opens an upload that nobody sees before it is submitted. It looks
// early whether the pool takes files, to spare their senders the way.
func (s *Store) BeginImport(ctx context.Context, u domain.Upload) (task int64, err error) {
	err = s.change(ctx, func(q *db.Queries, _ bool) error {
		// A row that an unanswered COMMIT has left is swept as any dead upload.
		task, err = q.BeginImport(ctx, db.BeginImportParams{PoolID: u.PoolID, FileName: u.FileName, MediaType: u.MediaType})
		if errors.Is(err, pgx.ErrNoRows) {
			if _, err := poolByID(ctx, q, u.PoolID); err != nil {
				return orNotFound(err)
			}
			return fmt.Errorf("%w: an archived pool takes no codes", domain.ErrState)
		}
		if err != nil {
			return err
		}
		pool, err := q.PoolOfImport(ctx, task)
		if err != nil {
			return err
		}
		return takesFiles(ctx, q, pool)
	})
	return task, err
}

// takesFiles returns domain.ErrGenerated where the pool does not.
func takesFiles(ctx context.Context, q *db.Queries, pool int32) error {
	generated, err := q.IsGenerated(ctx, pool)
	if err == nil && generated {
		err = domain.ErrGenerated
	}
	return err
}

// AppendImport keeps the next part of an upload.
func (s *Store) AppendImport(ctx context.Context, task, offset int64, part []byte) error {
	return s.change(ctx, func(q *db.Queries, maybe bool) error {
		n, err := q.GrowImport(ctx, db.GrowImportParams{N: int64(len(part)), Task: task, FirstByte: offset})
		switch {
		case err != nil:
			return err
		case n == 0 && maybe:
			return nil
		case n == 0:
			return fmt.Errorf("%w: it was not heard of for too long", domain.ErrFileBroken)
		}
		return q.AddImportPart(ctx, db.AddImportPartParams{Task: task, FirstByte: offset, Body: part})
	})
}

// SubmitImport hands an upload to the runners. From then on, or never, no codes
// of its pool are generated.
func (s *Store) SubmitImport(ctx context.Context, task int64) (domain.Import, error) {
	err := s.change(ctx, func(q *db.Queries, maybe bool) error {
		pool, err := q.LockPoolOfImport(ctx, task)
		if err == nil {
			err = takesFiles(ctx, q, pool)
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) { // a pool that is gone fails the import
			return err
		}
		n, err := q.SubmitImport(ctx, task)
		if err == nil && n == 0 && !maybe {
			return fmt.Errorf("%w: it was not heard of for too long", domain.ErrFileBroken)
		}
		return err
	})
	if err != nil {
		return domain.Import{}, err
	}
	return s.Import(ctx, task)
}

// AbandonImport forgets an upload that was not submitted.
func (s *Store) AbandonImport(ctx context.Context, task int64) error {
	n, err := s.q.AbandonImport(ctx, task)
	if err != nil || n == 0 {
		return asked(err)
	}
	return s.dropParts(ctx, task)
}

// Import returns a task.
func (s *Store) Import(ctx context.Context, task int64) (domain.Import, error) {
	row, err := s.q.ImportByTask(ctx, task)
	if err != nil {
		return domain.Import{}, asked(err)
	}
	return importOf(row.Import, row.ID)
}

// ListImports returns a pool's tasks below a number, the newest first.
func (s *Store) ListImports(ctx context.Context, poolID string, before int64, limit int) ([]domain.Import, error) {
	rows, err := s.q.ImportsOfPool(ctx, db.ImportsOfPoolParams{PoolID: poolID, Before: before, AtMost: int32(limit)})
	if err != nil {
		return nil, asked(err)
	}
	if len(rows) == 0 {
		_, err := poolByID(ctx, s.q, poolID)
		return nil, asked(err)
	}
	imports := make([]domain.Import, len(rows))
	for i, row := range rows {
		if imports[i], err = importOf(row.Import, row.ID); err != nil {
			return nil, err
		}
	}
	return imports, nil
}

func importOf(i db.Import, poolID string) (domain.Import, error) {
	layout, err := layoutOf(i.Layout)
	return domain.Import{
		Task: i.Task, Kind: domain.ImportKind(i.Kind), Pattern: i.Pattern, Alphabet: i.Alphabet,
		PoolID: poolID, FileName: i.FileName, MediaType: i.MediaType,
		Status: domain.ImportStatus(i.Status), Error: i.Error, Layout: layout,
		Bytes: i.Bytes, BytesDone: i.BytesDone, Rows: i.Rows, Added: i.Added, Moved: i.Moved, Unchanged: i.Unchanged, Refused: i.Refused,
		CreatedAt: timeOf(i.CreatedAt), StartedAt: timeOf(i.StartedAt), FinishedAt: timeOf(i.FinishedAt),
	}, err
}

func layoutOf(stored []byte) (*domain.Layout, error) {
	if stored == nil {
		return nil, nil
	}
	var l domain.Layout
	if err := json.Unmarshal(stored, &l); err != nil {
		return nil, fmt.Errorf("layout of an import: %w", err)
	}
	return &l, nil
}

func timeOf(t pgtype.Timestamptz) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// Refusals returns the refused rows of a task behind a line.
func (s *Store) Refusals(ctx context.Context, task, line int64, limit int) ([]domain.Refusal, error) {
	rows, err := s.q.RefusalsAfter(ctx, db.RefusalsAfterParams{Task: task, Line: line, AtMost: int32(limit)})
	if err != nil {
		return nil, asked(err)
	}
	refusals := make([]domain.Refusal, len(rows))
	for i, r := range rows {
		refusals[i] = domain.Refusal{Line: r.Line, Reason: domain.RefusalReason(r.Reason), Value: r.Value, Row: r.Row}
	}
	return refusals, nil
}

// ImportPart returns what is kept of a file from an offset on, as far as one
// row goes.
func (s *Store) ImportPart(ctx context.Context, task, offset int64) ([]byte, error) {
	part, err := s.q.PartOfImport(ctx, db.PartOfImportParams{Task: task, At: offset})
	if err != nil {
		return nil, asked(err)
	}
	if from := offset - part.FirstByte; from < int64(len(part.Body)) {
		return part.Body[from:], nil
	}
	return nil, io.EOF
}

// DropImportBody forgets the file of a task that has ended.
func (s *Store) DropImportBody(ctx context.Context, task int64) error {
	if err := s.dropParts(ctx, task); err != nil {
		return err
	}
	return asked(s.q.MarkImportDropped(ctx, task))
}

// partsAtOnce bounds a transaction that drops parts.
const partsAtOnce = 64

func (s *Store) dropParts(ctx context.Context, task int64) error {
	for {
		n, err := s.q.DropImportParts(ctx, db.DropImportPartsParams{Task: task, AtMost: partsAtOnce})
		if err != nil || n < partsAtOnce {
			return asked(err)
		}
	}
}

// SweepImports forgets uploads that have not grown for the given time, and the
// files that a dead process has left.
func (s *Store) SweepImports(ctx context.Context, stale time.Duration) error {
	uploads, err := s.q.StaleUploads(ctx, stale.Seconds())
	if err != nil {
		return asked(err)
	}
	for _, task := range uploads {
		if err := s.AbandonImport(ctx, task); err != nil {
			return err
		}
	}
	ended, err := s.q.ImportsToDrop(ctx)
	if err != nil {
		return asked(err)
	}
	for _, task := range ended {
		if err := s.DropImportBody(ctx, task); err != nil {
			return err
		}
	}
	orphans, err := s.q.OrphanedParts(ctx)
	if err != nil {
		return asked(err)
	}
	for _, task := range orphans {
		if err := s.dropParts(ctx, task); err != nil {
			return err
		}
	}
	return nil
}

// importSession works on one import over a connection of its own. That holds
// the advisory lock of imports into the pool, so whatever it commits it commits
// as the only one; a process that was frozen and replaced finds it closed.
type importSession struct {
	conn *pgx.Conn
	q    *db.Queries
	pool int32
	job  importing.Job
}

// importSettings are a session's. Idle for a minute is a frozen process: its
// imports are another's from then on. A chunk waits longer for its pool than
// others do, since it would have to be written again, and holds nothing that
// anyone waits for.
const importSettings = `SET application_name = 'promopool import'; SET idle_session_timeout = '60s'; SET lock_timeout = '5s'`

// NextImport claims the oldest import that nobody works on.
func (s *Store) NextImport(ctx context.Context) (importing.Session, error) {
	open, err := s.q.OpenImports(ctx)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack()
	session := &importSession{conn: conn, q: db.New(conn)}
	claimed := false
	defer func() {
		if !claimed {
			session.Close()
		}
	}()
	if _, err := conn.Exec(ctx, importSettings); err != nil {
		return nil, err
	}
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
	row, err := s.q.ClaimImport(ctx, task)
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
	s.pool = pool
	s.job = importing.Job{
		Task: task, PoolID: row.PoolID, From: importing.Position{Offset: row.BytesDone, Line: row.LinesDone},
		Layout: layout, Attempts: int(row.Attempts),
	}
	return true, nil
}

func (s *importSession) Job() importing.Job { return s.job }

func (s *importSession) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx)
}

func (s *importSession) Now(ctx context.Context) (time.Time, error) {
	row, err := s.q.ImportClock(ctx, s.pool)
	if err == nil && !row.Open {
		err = importing.ErrPoolClosed
	}
	return timeOf(row.Now), err
}

func (s *importSession) Taken(ctx context.Context, codes []string) (map[string]importing.Origin, error) {
	rows, err := s.q.CodesTaken(ctx, db.CodesTakenParams{Pool: s.pool, Task: s.job.Task, Codes: codes})
	if err != nil {
		return nil, err
	}
	taken := make(map[string]importing.Origin, len(rows))
	for _, r := range rows {
		taken[r.Code] = importing.FromElsewhere
		if r.SameImport {
			taken[r.Code] = importing.FromThisFile
		}
	}
	return taken, nil
}

// Commit writes a chunk. The pool's lock comes last, for a few milliseconds:
// others issue from the pool all the while.
func (s *importSession) Commit(ctx context.Context, step importing.Step) (status domain.ImportStatus, err error) {
	lots, err := s.q.LotNumbers(ctx, int32(len(step.Lots)))
	if err != nil {
		return "", err
	}
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if err := s.copy(ctx, tx, step, lots); err != nil {
			return err
		}
		arg, err := s.stepParams(step, lots)
		if err != nil {
			return err
		}
		told, err := s.q.WithTx(tx).ImportStep(ctx, arg)
		status = domain.ImportStatus(told)
		return err
	})
	return status, importError(err)
}

func (s *importSession) copy(ctx context.Context, tx pgx.Tx, step importing.Step, lots []int32) error {
	if step.Added > 0 {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"codes"}, []string{"pool", "lot", "seq", "code"}, s.codes(step.Lots, lots))
		if err != nil {
			return fmt.Errorf("copy codes: %w", err)
		}
	}
	if len(step.Refusals) > 0 {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"import_refusals"}, []string{"task", "line", "reason", "value", "row"},
			pgx.CopyFromSlice(len(step.Refusals), func(i int) ([]any, error) {
				r := &step.Refusals[i]
				return []any{s.job.Task, r.Line, string(r.Reason), r.Value, r.Row}, nil
			}))
		if err != nil {
			return fmt.Errorf("copy refusals: %w", err)
		}
	}
	return nil
}

// codes are the rows of new lots.
func (s *importSession) codes(lots []importing.Lot, numbers []int32) pgx.CopyFromSource {
	lot, seq := 0, 0
	row := make([]any, 4)
	return pgx.CopyFromFunc(func() ([]any, error) {
		for lot < len(lots) && seq == len(lots[lot].Codes) {
			lot, seq = lot+1, 0
		}
		if lot == len(lots) {
			return nil, nil
		}
		row[0], row[1], row[2], row[3] = s.pool, numbers[lot], int64(seq), lots[lot].Codes[seq]
		seq++
		return row, nil
	})
}

func (s *importSession) stepParams(step importing.Step, lots []int32) (db.ImportStepParams, error) {
	layout, err := json.Marshal(step.Layout)
	p := db.ImportStepParams{
		Task: s.job.Task, Pool: s.pool, At: stamp(step.At), LLot: lots,
		BytesDone: step.End.Offset, LinesDone: step.End.Line, Layout: layout,
		Rows: step.Rows, Added: step.Added, Refused: int64(len(step.Refusals)), Last: step.Last,
	}
	for _, l := range step.Lots {
		p.LSize = append(p.LSize, int64(len(l.Codes)))
		p.LIssueStart = append(p.LIssueStart, stamp(l.Window.IssueStart))
		p.LIssueEnd = append(p.LIssueEnd, stamp(l.Window.IssueEnd))
		p.LAvailableFrom = append(p.LAvailableFrom, stamp(l.Window.AvailableFrom))
		p.LAvailableTill = append(p.LAvailableTill, stamp(l.Window.AvailableTill))
	}
	return p, err
}

func (s *importSession) Fail(ctx context.Context, why string) error {
	n, err := s.q.FailImport(ctx, db.FailImportParams{Task: s.job.Task, Error: why})
	if err == nil && n == 0 {
		err = importing.ErrEnded
	}
	return err
}
