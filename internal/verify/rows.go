package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

const chunkBytes = 64 << 10

// rows writes table rows in PostgreSQL's binary COPY format. Each goroutine
// that fills a table has its own.
type rows struct {
	b    []byte
	n    int64
	emit func([]byte) error
}

// begin starts a row of the given number of columns.
func (w *rows) begin(columns int) *rows {
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(columns))
	w.n++
	return w
}

func (w *rows) size(n int) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(n)) }

func (w *rows) null() *rows {
	w.b = append(w.b, 0xff, 0xff, 0xff, 0xff)
	return w
}

func (w *rows) int32(v int) *rows {
	w.size(4)
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(v))
	return w
}

func (w *rows) int64(v int64) *rows {
	w.size(8)
	w.b = binary.BigEndian.AppendUint64(w.b, uint64(v))
	return w
}

func (w *rows) bool(v bool) *rows {
	w.size(1)
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
	return w
}

func (w *rows) text(s string) *rows {
	w.size(len(s))
	w.b = append(w.b, s...)
	return w
}

func (w *rows) textOrNull(s string) *rows {
	if s == "" {
		return w.null()
	}
	return w.text(s)
}

func (w *rows) uuid(u [16]byte) *rows {
	w.size(16)
	w.b = append(w.b, u[:]...)
	return w
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// time writes a timestamptz; the zero time is null.
func (w *rows) time(t time.Time) *rows {
	if t.IsZero() {
		return w.null()
	}
	return w.int64(t.UnixMicro() - epoch)
}

// done is called after each row, and hands on a chunk now and then.
func (w *rows) done() error {
	if len(w.b) < chunkBytes {
		return nil
	}
	return w.flush()
}

func (w *rows) flush() error {
	if len(w.b) == 0 {
		return nil
	}
	b := w.b
	w.b = make([]byte, 0, chunkBytes+4096)
	return w.emit(b)
}

// load copies rows into a table. fill may have several goroutines write, each
// to rows of its own that it flushes at the end.
func (a *audit) load(ctx context.Context, table string, fill func(ctx context.Context, newRows func() *rows) error) (int64, error) {
	g, ctx := errgroup.WithContext(ctx)
	chunks := make(chan []byte, 4)
	g.Go(func() error {
		defer close(chunks)
		return fill(ctx, func() *rows {
			return &rows{emit: func(b []byte) error {
				select {
				case chunks <- b:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}}
		})
	})
	var copied int64
	g.Go(func() error {
		tag, err := a.session.PgConn().CopyFrom(ctx, &copyReader{ctx: ctx, chunks: chunks, head: []byte(copyHeader)}, "COPY "+table+" FROM STDIN BINARY")
		if err != nil {
			return fmt.Errorf("load %s: %w", table, err)
		}
		copied = tag.RowsAffected()
		return nil
	})
	return copied, g.Wait()
}

const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

// copyReader is a COPY stream made of a header, the chunks and a trailer.
type copyReader struct {
	ctx    context.Context
	chunks <-chan []byte
	head   []byte
	ended  bool
}

func (r *copyReader) Read(p []byte) (int, error) {
	for len(r.head) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		select {
		case b, ok := <-r.chunks:
			if r.head = b; !ok {
				r.head, r.ended = []byte(copyTrailer), true
			}
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}
