package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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
	options, err := json.Marshal(u.Options)
	if err != nil {
		return 0, err
	}
	err = s.change(ctx, func(q *db.Queries, _ bool) error {
		// A row that an unanswered COMMIT has left is swept as any dead upload.
		task, err = q.BeginImport(ctx, db.BeginImportParams{
			PoolID: u.PoolID, FileName: u.FileName, MediaType: u.MediaType, Options: options, Reader: importReader,
			Actor: string(cmp.Or(u.Actor, domain.Anonymous)), KeepSeconds: int64(u.Keep.Seconds()),
		})
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
	return importOf(row)
}

// CancelImport ends a task that has not ended. What is in stays; nothing comes
// in any more from its return on. Cancelling a cancelled one changes nothing;
// another that has ended is domain.ErrImportEnded. It returns the task.
func (s *Store) CancelImport(ctx context.Context, task int64) (domain.Import, error) {
	err := s.change(ctx, func(q *db.Queries, _ bool) error {
		_, err := q.CancelImport(ctx, task)
		return err
	})
	if err != nil {
		return domain.Import{}, err
	}
	i, err := s.Import(ctx, task)
	if err == nil && i.Status != domain.ImportCancelled {
		err = domain.ErrImportEnded
	}
	return i, err
}

// ListImports returns tasks that fit below a number, the newest first. A pool
// that is gone is known by its last id.
func (s *Store) ListImports(ctx context.Context, which domain.ImportFilter, before int64, limit int) ([]domain.Import, error) {
	rows, err := s.q.ImportsBefore(ctx, db.ImportsBeforeParams{
		PoolID: which.PoolID, Status: string(which.Status), Kind: string(which.Kind), Actor: string(which.Actor), Before: before, AtMost: int32(limit),
	})
	if err != nil {
		return nil, asked(err)
	}
	imports := make([]domain.Import, len(rows))
	for i, row := range rows {
		if imports[i], err = importOf(db.ImportByTaskRow(row)); err != nil {
			return nil, err
		}
	}
	return imports, nil
}

// ImportsOfPool is ListImports for a pool that must be there: domain.ErrNotFound.
func (s *Store) ImportsOfPool(ctx context.Context, which domain.ImportFilter, before int64, limit int) ([]domain.Import, error) {
	rows, err := s.q.ImportsOfPool(ctx, db.ImportsOfPoolParams{
		PoolID: which.PoolID, Status: string(which.Status), Kind: string(which.Kind), Actor: string(which.Actor), Before: before, AtMost: int32(limit),
	})
	if err != nil {
		return nil, asked(err)
	}
	if len(rows) == 0 {
		_, err := poolByID(ctx, s.q, which.PoolID)
		return nil, asked(err)
	}
	imports := make([]domain.Import, len(rows))
	for i, row := range rows {
		if imports[i], err = importOf(db.ImportByTaskRow(row)); err != nil {
			return nil, err
		}
	}
	return imports, nil
}

func importOf(row db.ImportByTaskRow) (domain.Import, error) {
	r := row.Import
	i := domain.Import{
		Task: r.Task, Kind: domain.ImportKind(r.Kind), Pattern: r.Pattern, Alphabet: r.Alphabet, PoolID: row.ID, FileName: r.FileName, MediaType: r.MediaType, Actor: domain.Actor(r.Actor),
		Status: domain.ImportStatus(r.Status), Error: r.Error,
		Bytes: r.Bytes, BytesDone: r.BytesDone, Rows: r.Rows, Added: r.Added, Moved: r.Moved, Unchanged: r.Unchanged, Refused: r.Refused,
		CreatedAt: timeOf(r.CreatedAt), StartedAt: timeOf(r.StartedAt), FinishedAt: timeOf(r.FinishedAt), AskedAt: timeOf(row.AskedAt),
		Pace: domain.Pace{
			At: timeOf(r.PaceAt), Seconds: r.PaceSeconds, Rows: r.PaceRows, Bytes: r.PaceBytes,
			Busy: time.Duration(r.BusySeconds * float64(time.Second)),
		},
		FileKept: r.BodyKept && !r.DroppedAt.Valid,
	}
	switch {
	case i.Kind != domain.FromFile:
	case r.DroppedAt.Valid:
		i.KeptUntil = timeOf(r.DroppedAt)
	case !r.BodyKept: // by a program that kept none
		i.KeptUntil = i.FinishedAt
	case i.Status.Ended():
		i.KeptUntil = i.FinishedAt.Add(time.Duration(r.KeepSeconds) * time.Second)
	}
	var err error
	if i.Layout, err = layoutOf(r.Layout); err != nil {
		return i, err
	}
	if i.Options, err = optionsOf(r.Options); err != nil {
		return i, err
	}
	if row.Reasons != nil {
		if err := json.Unmarshal(row.Reasons, &i.Reasons); err != nil {
			return i, fmt.Errorf("reasons of import %d: %w", i.Task, err)
		}
	}
	return i, nil
}

func optionsOf(stored []byte) (o domain.ImportOptions, err error) {
	if err := json.Unmarshal(stored, &o); err != nil {
		return o, fmt.Errorf("options of an import: %w", err)
	}
	return o, nil
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

// DropImportBody forgets the file of a task that has ended, if the time for
// which it is kept is over or its pool is gone.
func (s *Store) DropImportBody(ctx context.Context, task int64) error {
	n, err := s.q.LetFileGo(ctx, task)
	if err != nil || n == 0 {
		return asked(err)
	}
	// What a crash leaves here is marked, and swept.
	if err := s.dropParts(ctx, task); err != nil {
		return err
	}
	return asked(s.q.MarkImportDropped(ctx, task))
}

// dropFilesOf forgets the files of a pool that is gone, but those of imports
// that have not noticed yet.
func (s *Store) dropFilesOf(ctx context.Context, pool int32) error {
	tasks, err := s.q.FilesOfPool(ctx, pool)
	if err != nil {
		return asked(err)
	}
	for _, task := range tasks {
		if err := s.DropImportBody(ctx, task); err != nil {
			return err
		}
	}
	return nil
}

// seenAtOnce bounds a transaction that drops codes seen in a file.
const seenAtOnce = 50_000

// DropSeen forgets the codes that are remembered of an import's file.
func (s *Store) DropSeen(ctx context.Context, task int64) error {
	for {
		n, err := s.q.DropMoves(ctx, db.DropMovesParams{Task: task, AtMost: seenAtOnce})
		if err != nil {
			return asked(err)
		}
		if n < seenAtOnce {
			break
		}
	}
	for {
		n, err := s.q.DropSeenCodes(ctx, db.DropSeenCodesParams{Task: task, AtMost: seenAtOnce})
		if err != nil {
			return asked(err)
		}
		if n < seenAtOnce {
			return asked(s.q.MarkSeenDropped(ctx, task))
		}
	}
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

// SweepImports forgets uploads that have not grown for the given time, files
// that are kept no longer, and what dead processes have left of DropSeen.
func (s *Store) SweepImports(ctx context.Context, stale time.Duration) error {
	staleUploads := func(ctx context.Context) ([]int64, error) { return s.q.StaleUploads(ctx, stale.Seconds()) }
	for _, sweep := range []struct {
		tasks func(ctx context.Context) ([]int64, error)
		drop  func(ctx context.Context, task int64) error
	}{
		{staleUploads, s.AbandonImport}, {s.q.FilesToDrop, s.DropImportBody}, {s.q.SeenToDrop, s.DropSeen}, {s.q.OrphanedParts, s.dropParts},
	} {
		tasks, err := sweep.tasks(ctx)
		if err != nil {
			return asked(err)
		}
		for _, task := range tasks {
			if err := sweep.drop(ctx, task); err != nil {
				return err
			}
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
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack()
	session := &importSession{conn: conn, q: db.New(conn), lots: map[domain.Window]grown{}, rests: map[int32]grown{}}
	if _, err := conn.Exec(ctx, importSettings); err != nil {
		session.Close()
		return nil, err
	}
	return session, nil
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

func (s *importSession) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx)
}

func (s *importSession) Now(ctx context.Context) (time.Time, bool, error) {
	row, err := s.q.ImportClock(ctx, s.pool)
	if err == nil && !row.Open {
		err = importing.ErrPoolClosed
	}
	s.multiUse = row.MultiUse
	return timeOf(row.Now), row.MultiUse, err
}

func (s *importSession) Find(ctx context.Context, codes []string) (map[string]importing.Found, error) {
	rows, err := s.q.CodesFound(ctx, db.CodesFoundParams{Pool: s.pool, Task: s.job.Task, Codes: codes})
	if err != nil {
		return nil, err
	}
	found := make(map[string]importing.Found, len(rows))
	for _, r := range rows {
		found[r.Code] = importing.Found{
			Place: domain.Place{Lot: r.Lot, Seq: r.Seq}, Named: r.Named, Issued: r.Issued,
			Window: domain.Window{
				IssueStart: fromStamp(r.IssueStart), IssueEnd: fromStamp(r.IssueEnd),
				AvailableFrom: fromStamp(r.AvailableFrom), AvailableTill: fromStamp(r.AvailableTill),
			},
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
	if err := s.number(ctx, t); err != nil {
		return importing.Result{}, err
	}
	res := importing.Result{Added: step.Added, Unchanged: int64(len(step.Unchanged)), Refused: int64(len(step.Refusals))}
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
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

// movesAtOnce bounds a transaction that moves codes: the pool is locked while it
// lasts, and a row of runs written for each.
const movesAtOnce = 1_000

// Move makes moves true that are noted, and then lays what they have left of their
// lots together, so that the pieces do not grow many.
func (s *importSession) Move(ctx context.Context, last importing.Step) (importing.Result, error) {
	t := targets{}
	var res importing.Result
	var moves []importing.Move
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		rows, err := q.NextMoves(ctx, db.NextMovesParams{Task: s.job.Task, Pool: s.pool, AtMost: movesAtOnce})
		if err != nil {
			return err
		}
		for _, r := range rows {
			m := importing.Move{Code: r.Code, From: domain.Place{Lot: r.Lot, Seq: r.Seq}, Line: r.Line, Row: r.Row, Window: domain.Window{
				IssueStart: fromStamp(r.IssueStart), IssueEnd: fromStamp(r.IssueEnd),
				AvailableFrom: fromStamp(r.AvailableFrom), AvailableTill: fromStamp(r.AvailableTill),
			}}
			s.want(t, m.Window)
			moves = append(moves, m)
		}
		if err := s.number(ctx, t); err != nil {
			return err
		}
		refused, err := s.move(ctx, q, moves, t)
		if err != nil {
			return err
		}
		res.Refused = int64(len(refused))
		res.Moved = int64(len(moves) - len(refused))
		if err := s.copyRefusals(ctx, tx, refused); err != nil {
			return err
		}
		last.Rows = int64(len(moves))
		return s.finish(ctx, q, last, &res, t)
	})
	if err != nil {
		return importing.Result{}, importError(err)
	}
	t.keep(s)
	// Crash point: what is left lies in pieces. That is slower, not wrong, and Gather
	// mends it, as it does where the pool was busy.
	if err := importError(s.layRests(ctx, moves)); err != nil && !res.Status.Ended() && !errors.Is(err, importing.ErrBusy) {
		return importing.Result{}, err
	}
	return res, nil
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

// number gives new lots their numbers.
func (s *importSession) number(ctx context.Context, t targets) error {
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
	numbers, err := s.q.LotNumbers(ctx, int32(len(fresh)))
	if err != nil {
		return err
	}
	for i, n := range numbers {
		fresh[i].no = n
	}
	return nil
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

// move takes codes out of where they are and lays them behind the step's own. It
// returns refusals for those that are issued.
func (s *importSession) move(ctx context.Context, q *db.Queries, moves []importing.Move, t targets) (refused []domain.Refusal, _ error) {
	if s.multiUse { // since the rows were read
		for i := range moves {
			refused = append(refused, moves[i].Refusal(domain.DatesFixed))
		}
		return refused, nil
	}
	if len(moves) == 0 {
		return nil, nil
	}
	var from db.TakeOutParams
	from.Pool = s.pool
	for i := range moves {
		from.Lots, from.Seqs = append(from.Lots, moves[i].From.Lot), append(from.Seqs, moves[i].From.Seq)
	}
	taken, err := q.TakeOut(ctx, from)
	if err != nil {
		return nil, err
	}
	free := make([]bool, len(moves))
	to := db.MoveCodesParams{Pool: s.pool}
	// In the order in which they lay, whatever the list's was.
	slices.SortFunc(taken, func(a, b int32) int {
		x, y := moves[a-1].From, moves[b-1].From
		return cmp.Or(cmp.Compare(x.Lot, y.Lot), cmp.Compare(x.Seq, y.Seq))
	})
	for _, idx := range taken {
		i := idx - 1
		free[i] = true
		l := t[moves[i].Window]
		to.Lots, to.Seqs = append(to.Lots, from.Lots[i]), append(to.Seqs, from.Seqs[i])
		to.IntoLots, to.IntoSeqs = append(to.IntoLots, l.no), append(to.IntoSeqs, l.size+l.more)
		l.more++
	}
	for i := range moves {
		if !free[i] {
			refused = append(refused, moves[i].Refusal(domain.AlreadyIssued))
		}
	}
	if len(taken) == 0 {
		return refused, nil
	}
	return refused, q.MoveCodes(ctx, to)
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

// layRests lays what the moves have left of their lots, from the first that moved
// on, down together where it lies in small pieces. Codes behind it are done with:
// moves come from a lot's end.
func (s *importSession) layRests(ctx context.Context, moves []importing.Move) error {
	if s.multiUse {
		return nil
	}
	first := map[int32]int64{}
	for i := range moves {
		from := moves[i].From
		if seq, ok := first[from.Lot]; !ok || from.Seq < seq {
			first[from.Lot] = from.Seq
		}
	}
	arg := db.SmallPiecesParams{Pool: s.pool, Pieces: movesAtOnce / 10, Mean: smallPiece}
	for lot, seq := range first {
		arg.Lots, arg.FromSeqs = append(arg.Lots, lot), append(arg.FromSeqs, seq)
	}
	scattered, err := s.q.SmallPieces(ctx, arg)
	if err != nil {
		return err
	}
	for _, lot := range scattered {
		if err := s.layAnew(ctx, lot, first[lot]); err != nil {
			return err
		}
	}
	return nil
}

// smallPiece is the mean length below which pieces are better laid down anew.
const smallPiece = 20

// layAnew lays the free codes of a lot from a number on down in one piece.
func (s *importSession) layAnew(ctx context.Context, lot int32, from int64) error {
	into := s.rests[lot]
	if into.size == 0 {
		n, err := s.q.LotNumbers(ctx, 1)
		if err != nil {
			return err
		}
		into.no = n[0]
	}
	for {
		n, err := s.q.LayAnew(ctx, db.LayAnewParams{Pool: s.pool, Lot: lot, FromSeq: from, IntoLot: into.no, Size: into.size, AtMost: movesAtOnce})
		if err != nil || n == 0 {
			return err
		}
		into.size += n
		s.rests[lot] = into
	}
}

// Gather lays free codes of lots that lie in many small pieces down in one, which
// an import that was cancelled or died has left.
func (s *Store) Gather(ctx context.Context) error {
	lots, err := s.q.ScatteredLots(ctx)
	if err != nil || len(lots) == 0 {
		return asked(err)
	}
	session, err := s.importSession(ctx)
	if err != nil {
		return asked(err)
	}
	defer session.Close()
	for _, l := range lots {
		locked, err := session.q.LockImportsOf(ctx, l.Pool)
		if err != nil {
			return asked(err)
		}
		if !locked {
			continue // the import will see to it
		}
		session.pool = l.Pool
		if err := session.layAnew(ctx, l.Lot, 0); err != nil {
			return err
		}
		if err := session.q.UnlockImportsOf(ctx, l.Pool); err != nil {
			return asked(err)
		}
	}
	return nil
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
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if err := s.copyRefusals(ctx, tx, step.Refusals); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"import_seen"}, []string{"task", "code"},
			pgx.CopyFromSlice(len(codes), func(i int) ([]any, error) { return []any{s.job.Task, codes[i]}, nil }))
		if err != nil {
			return fmt.Errorf("copy codes of a dry run: %w", err)
		}
		told, err := s.q.WithTx(tx).RehearseStep(ctx, db.RehearseStepParams{
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
	n, err := s.q.FailImport(ctx, db.FailImportParams{Task: s.job.Task, Error: why})
	if err == nil && n == 0 {
		err = importing.ErrEnded
	}
	return err
}
