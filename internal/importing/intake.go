package importing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"promopool/internal/domain"
)

// partSize is how much of an upload is in a row of the database; two parts are in memory.
const partSize = 512 << 10

// UploadStore keeps files that arrive.
type UploadStore interface {
	// BeginImport opens an upload, seen by nobody until it is submitted.
	// domain.ErrNotFound: there is no such pool; domain.ErrState: it is archived;
	// domain.ErrGenerated: its codes are generated.
	BeginImport(ctx context.Context, u domain.Upload) (task int64, err error)
	// AppendImport keeps a part durably.
	AppendImport(ctx context.Context, task, offset int64, part []byte) error
	// SubmitImport hands the upload to the runners. domain.ErrGenerated.
	SubmitImport(ctx context.Context, task int64) (domain.Import, error)
	// AbandonImport forgets an upload. Safe to repeat.
	AbandonImport(ctx context.Context, task int64) error
	// Import returns a submitted import. domain.ErrNotFound.
	Import(ctx context.Context, task int64) (domain.Import, error)
	// Refusals returns those behind a line, in the file's order, none when
	// there are no more.
	Refusals(ctx context.Context, task, line int64, limit int) ([]domain.Refusal, error)
	// ImportPart returns what is kept of the file from an offset on, some
	// hundred kilobytes; io.EOF at its end. domain.ErrNotFound.
	ImportPart(ctx context.Context, task, offset int64) ([]byte, error)
}

// Intake takes uploads in, and gives back what is kept of them.
type Intake struct {
	// Keep is how long a file is kept behind the end of its import. 0: not at all.
	Keep time.Duration

	store UploadStore
	limit int64
	wake  func()
}

// NewIntake returns an intake that refuses files of more than limit bytes and
// calls wake when one is here.
func NewIntake(store UploadStore, limit int64, wake func()) *Intake {
	return &Intake{store: store, limit: limit, wake: wake}
}

// Receive keeps a file in the database as it streams in, and returns when it is
// there in full: from then on it is imported, whatever becomes of this process.
// Of an upload that breaks off nothing stays.
func (in *Intake) Receive(ctx context.Context, u domain.Upload, file io.Reader) (domain.Import, error) {
	if u.Size > in.limit {
		return domain.Import{}, in.tooLarge()
	}
	u.Keep = in.Keep
	task, err := in.store.BeginImport(ctx, u)
	if err != nil {
		return domain.Import{}, err
	}
	if err := in.keep(ctx, task, file); err != nil {
		// The sender may be gone, and its context with it. What cannot be
		// forgotten now is swept later.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return domain.Import{}, errors.Join(err, in.store.AbandonImport(ctx, task))
	}
	i, err := in.store.SubmitImport(ctx, task)
	if errors.Is(err, domain.ErrGenerated) {
		return domain.Import{}, errors.Join(err, in.store.AbandonImport(ctx, task))
	}
	if err != nil {
		return domain.Import{}, err
	}
	in.wake()
	return i, nil
}

// keep stores a file part by part. The next part comes in while one is stored.
func (in *Intake) keep(ctx context.Context, task int64, file io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	parts, free := make(chan []byte), make(chan []byte, 2)
	for range cap(free) {
		free <- make([]byte, partSize)
	}
	var broken error // why reading ended early; set before parts is closed
	go func() {
		defer close(parts)
		broken = in.cut(ctx, file, free, parts)
	}()
	// Whoever reads the body must be done with it when the handler returns.
	defer func() {
		for range parts {
			// until it is closed
		}
	}()
	defer cancel()
	var offset int64
	for part := range parts {
		if err := in.store.AppendImport(ctx, task, offset, part); err != nil {
			return err
		}
		offset += int64(len(part))
		free <- part[:partSize]
	}
	if broken == nil && offset == 0 {
		return domain.ErrFileEmpty
	}
	return broken
}

// cut reads a file into parts that are free, until its end or ctx's.
func (in *Intake) cut(ctx context.Context, file io.Reader, free <-chan []byte, parts chan<- []byte) error {
	var size int64
	for last := false; !last; {
		var part []byte
		select {
		case part = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := fill(part, file)
		if last = errors.Is(err, io.EOF); err != nil && !last {
			return fmt.Errorf("%w: %w", domain.ErrFileBroken, err)
		}
		if size += int64(n); size > in.limit {
			return in.tooLarge()
		}
		if n == 0 {
			break
		}
		select {
		case parts <- part[:n]:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (in *Intake) tooLarge() error {
	return fmt.Errorf("%w: at most %d bytes", domain.ErrFileTooLarge, in.limit)
}

// fill reads until part is full. Unlike io.ReadFull it keeps the end of a file
// (io.EOF) apart from one that broke off (net/http: io.ErrUnexpectedEOF).
func fill(part []byte, file io.Reader) (n int, err error) {
	for n < len(part) && err == nil {
		var m int
		m, err = file.Read(part[n:])
		n += m
	}
	return n, err
}

// WriteRejected writes the refused rows of an import as they came, as CSV with
// two columns more: line and reason. It can be corrected and uploaded as it is.
func (in *Intake) WriteRejected(ctx context.Context, task int64, w io.Writer) error {
	i, err := in.store.Import(ctx, task)
	if err != nil {
		return err
	}
	out := newRejected(w, i.Layout)
	for line := int64(0); ; {
		page, err := in.store.Refusals(ctx, task, line, 1000)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return out.close()
		}
		for _, r := range page {
			if err := out.write(r); err != nil {
				return err
			}
			line = r.Line
		}
	}
}

// WriteFile writes the file of an import as it came, part by part.
// domain.ErrFileGone: it is not kept, or was let go meanwhile.
func (in *Intake) WriteFile(ctx context.Context, task int64, w io.Writer) error {
	i, err := in.store.Import(ctx, task)
	if err != nil {
		return err
	}
	for offset := int64(0); offset < i.Bytes; {
		part, err := in.store.ImportPart(ctx, task, offset)
		if errors.Is(err, io.EOF) || errors.Is(err, domain.ErrNotFound) {
			return domain.ErrFileGone
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		offset += int64(len(part))
	}
	return nil
}
