package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// ImportConfig says how filling pools from files is measured.
type ImportConfig struct {
	Config
	// Codes is how many a file has.
	Codes int
}

// Import measures filling a pool from a file, uploaded as staff upload it, beside
// one COPY of the same rows, over one connection as an import has, into an empty
// table with the columns and indexes of the table of codes.
func Import(ctx context.Context, c ImportConfig) (*Figures, error) {
	return inRounds(ctx, c.Config, func(ctx context.Context, w *world, f *Figures, n int) error {
		file, err := codesFile(c.Codes, uint64(n))
		if err != nil {
			return fmt.Errorf("file of codes: %w", err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		i := importRound{world: w, file: file, codes: c.Codes, pool: fmt.Sprintf("import-%d", n)}
		steps := []func(context.Context, *Figures) error{i.copyPlainly, i.importCodes}
		if n%2 == 1 {
			steps[0], steps[1] = steps[1], steps[0]
		}
		for _, step := range steps {
			if err := w.settle(ctx); err != nil {
				return err
			}
			if err := step(ctx, f); err != nil {
				return err
			}
		}
		f.add("import, of copy", "", i.imported/i.copied)
		return nil
	})
}

// importRound is one round of Import.
type importRound struct {
	*world
	file             *os.File
	codes            int
	pool             string
	imported, copied float64 // rows a second
}

// codesFile writes codes at random, one a line, behind a header.
func codesFile(n int, seed uint64) (*os.File, error) {
	f, err := os.CreateTemp("", "promopool-bench-*.csv")
	if err != nil {
		return nil, err
	}
	to := bufio.NewWriterSize(f, 1<<20)
	_, _ = to.WriteString("code\n") // Flush tells
	const alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	source := rand.NewPCG(seed, 2)
	var line [14]byte
	line[13] = '\n'
	for range n {
		bits := source.Uint64()
		for i := range 12 {
			line[i] = alphabet[bits>>(5*i)%32]
		}
		line[12] = alphabet[bits>>59]
		_, _ = to.Write(line[:])
	}
	return f, errors.Join(to.Flush(), f.Sync())
}

// copyPlainly copies the file's codes into a table of their own.
func (i *importRound) copyPlainly(ctx context.Context, f *Figures) error {
	db, err := pgx.Connect(ctx, i.database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, "CREATE TABLE plain (LIKE codes INCLUDING ALL)"); err != nil {
		return err
	}
	if _, err := i.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	began, before := time.Now(), spend(0)
	done, err := db.PgConn().CopyFrom(ctx, &copyRows{lines: bufio.NewReaderSize(i.file, 1<<20)}, "COPY plain (pool, lot, seq, code) FROM STDIN")
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if done.RowsAffected() != int64(i.codes) {
		return fmt.Errorf("copied %d of %d rows", done.RowsAffected(), i.codes)
	}
	i.copied = float64(i.codes) / time.Since(began).Seconds()
	f.add("copy", "rows/s", i.copied)
	i.say("  copy   %v", Rate{i.copied, spend(0).since(before).per(float64(i.codes))})
	_, err = db.Exec(ctx, "DROP TABLE plain")
	return err
}

// copyRows makes rows of COPY of the lines of a file.
type copyRows struct {
	lines *bufio.Reader
	seq   int64 // of the next row, from 1: the first line is a header
	buf   []byte
	given int // of buf
	err   error
}

func (c *copyRows) Read(p []byte) (int, error) {
	if c.given == len(c.buf) {
		c.buf, c.given = c.buf[:0], 0
		for len(c.buf) < 60<<10 && c.err == nil {
			var line []byte
			if line, c.err = c.lines.ReadSlice('\n'); c.err == nil && c.seq > 0 {
				c.buf = append(strconv.AppendInt(append(c.buf, "1\t1\t"...), c.seq-1, 10), '\t')
				c.buf = append(c.buf, line...)
			}
			c.seq++
		}
	}
	if c.given == len(c.buf) {
		return 0, c.err
	}
	n := copy(p, c.buf[c.given:])
	c.given += n
	return n, nil
}

// importCodes has the service import the file, while codes are asked for.
func (i *importRound) importCodes(ctx context.Context, f *Figures) error {
	if err := i.activePool(ctx, i.pool); err != nil {
		return err
	}
	if err := i.with(ctx, func(s *served, base string) error {
		if err := i.upload(ctx, f, s.process.Pid(), base); err != nil {
			return err
		}
		peak, err := memoryMiB(s.process.Pid(), "VmHWM")
		f.add("memory of the service at its most", "MiB", peak)
		return err
	}); err != nil {
		return err
	}
	return i.empty(ctx)
}

func (i *importRound) upload(ctx context.Context, f *Figures, service int, base string) error {
	if _, err := i.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	size, err := i.file.Stat()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/pools/"+i.pool+"/imports", io.NopCloser(i.file))
	if err != nil {
		return err
	}
	req.ContentLength = size.Size()
	req.Header.Set("Content-Type", "text/csv")
	var first, ended, through time.Time
	began, before := time.Now(), spend(service)
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		first, err = i.firstCode(ctx, i.pool)
		return err
	})
	both.Go(func() error {
		var task filling
		if err := do(req, &task); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		through = time.Now()
		var err error
		ended, err = filled(ctx, base, task, int64(i.codes))
		return err
	})
	if err := both.Wait(); err != nil {
		return err
	}
	i.imported = float64(i.codes) / ended.Sub(began).Seconds()
	f.add("import, upload included", "rows/s", i.imported)
	f.add("upload", "s", through.Sub(began).Seconds())
	f.add("first code issued, from the start of the upload", "s", first.Sub(began).Seconds())
	i.say("  import %v", Rate{i.imported, spend(service).since(before).per(float64(i.codes))})
	i.say("         upload %.2f s, first code after %.2f s", through.Sub(began).Seconds(), first.Sub(began).Seconds())
	return nil
}

// empty makes sure that the codes are there, and takes them away, so that the
// next round begins as this one did.
func (i *importRound) empty(ctx context.Context) error {
	var n int
	if err := i.db.QueryRow(ctx, "SELECT count(*) FROM codes").Scan(&n); err != nil {
		return err
	}
	if n != i.codes {
		return fmt.Errorf("%d codes are stored, want %d: the figures are worth nothing", n, i.codes)
	}
	_, err := i.db.Exec(ctx, "TRUNCATE codes, lots, runs, import_parts; UPDATE imports SET body_kept = false; UPDATE pools SET state = 'archived', mode = 'scarce', archived_at = now() WHERE state = 'active'")
	return err
}
