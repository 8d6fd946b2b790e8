package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// BeginImport opens an upload that nobody sees before it is submitted. It looks
// early whether the pool takes files, to spare their senders the way.
func (s *Store) BeginImport(ctx context.Context, u domain.Upload) (task int64, err error) {
	options, err := json.Marshal(u.Options)
	if err != nil {
		return 0, err
	}
	err = s.change(ctx, crashpoint.BeginImport, func(q *db.Queries, _ bool) error {
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
	return s.change(ctx, crashpoint.AppendImport, func(q *db.Queries, maybe bool) error {
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
	err := s.change(ctx, crashpoint.SubmitImport, func(q *db.Queries, maybe bool) error {
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
	n, err := answered(ctx, s.conns, crashpoint.AbandonImport, func(ctx context.Context, q *db.Queries) (int64, error) { return q.AbandonImport(ctx, task) })
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
	err := s.change(ctx, crashpoint.CancelImport, func(q *db.Queries, _ bool) error {
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
	return importsOf(rows)
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
	return importsOf(rows)
}

func importsOf[R db.ImportsBeforeRow | db.ImportsOfPoolRow](rows []R) (imports []domain.Import, err error) {
	imports = make([]domain.Import, len(rows))
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
		CreatedAt: fromStamp(r.CreatedAt), StartedAt: fromStamp(r.StartedAt), FinishedAt: fromStamp(r.FinishedAt), AskedAt: fromStamp(row.AskedAt),
		Pace: domain.Pace{
			At: fromStamp(r.PaceAt), Seconds: r.PaceSeconds, Rows: r.PaceRows, Bytes: r.PaceBytes,
			Busy: time.Duration(r.BusySeconds * float64(time.Second)),
		},
		FileKept: r.BodyKept && !r.DroppedAt.Valid,
	}
	switch {
	case i.Kind != domain.FromFile:
	case r.DroppedAt.Valid:
		i.KeptUntil = fromStamp(r.DroppedAt)
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
	n, err := answered(ctx, s.conns, crashpoint.LetFileGo, func(ctx context.Context, q *db.Queries) (int64, error) { return q.LetFileGo(ctx, task) })
	if err != nil || n == 0 {
		return asked(err)
	}
	// What a crash leaves here is marked, and swept.
	if err := s.dropParts(ctx, task); err != nil {
		return err
	}
	return asked(s.conns.One(ctx, crashpoint.MarkFileDropped, func(ctx context.Context, q *db.Queries) error { return q.MarkImportDropped(ctx, task) }))
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
	err := inPieces(seenAtOnce, func() (int64, error) {
		return answered(ctx, s.conns, crashpoint.DropMoves, func(ctx context.Context, q *db.Queries) (int64, error) {
			return q.DropMoves(ctx, db.DropMovesParams{Task: task, AtMost: seenAtOnce})
		})
	})
	if err == nil {
		err = inPieces(seenAtOnce, func() (int64, error) {
			return answered(ctx, s.conns, crashpoint.DropSeen, func(ctx context.Context, q *db.Queries) (int64, error) {
				return q.DropSeenCodes(ctx, db.DropSeenCodesParams{Task: task, AtMost: seenAtOnce})
			})
		})
	}
	if err != nil {
		return err
	}
	return asked(s.conns.One(ctx, crashpoint.MarkSeenDropped, func(ctx context.Context, q *db.Queries) error { return q.MarkSeenDropped(ctx, task) }))
}

// partsAtOnce bounds a transaction that drops parts.
const partsAtOnce = 64

func (s *Store) dropParts(ctx context.Context, task int64) error {
	return inPieces(partsAtOnce, func() (int64, error) {
		return answered(ctx, s.conns, crashpoint.DropParts, func(ctx context.Context, q *db.Queries) (int64, error) {
			return q.DropImportParts(ctx, db.DropImportPartsParams{Task: task, AtMost: partsAtOnce})
		})
	})
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
