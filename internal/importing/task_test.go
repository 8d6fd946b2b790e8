package importing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"promopool/internal/domain"
	"promopool/internal/importing"
)

func TestImportCancelled(t *testing.T) {
	w := newWorld(t)
	waiting := w.upload("mugs", numbered("W", 10)).Task
	for range 2 {
		i, err := w.store.CancelImport(t.Context(), waiting)
		if err != nil || i.Status != domain.ImportCancelled || i.FinishedAt.IsZero() || i.Rows != 0 {
			t.Fatalf("got %+v, %v", i, err)
		}
	}
	w.run(w.store)
	done := w.end(w.upload("mugs", numbered("D", 10)).Task)
	if i, err := w.store.CancelImport(t.Context(), done.Task); !errors.Is(err, domain.ErrImportEnded) || i.Status != domain.ImportCompleted {
		t.Errorf("got %+v, %v, want that it has ended", i, err)
	}
	receiving, err := w.store.BeginImport(t.Context(), domain.Upload{PoolID: "mugs"})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range []int64{receiving, 99} {
		if _, err := w.store.CancelImport(t.Context(), task); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("import %d: got %v, want not found", task, err)
		}
	}
	if err := w.store.AbandonImport(t.Context(), receiving); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if n := w.count(`SELECT count(*) FROM codes`); n != 10 {
		t.Errorf("got %d codes, want those of the second file", n)
	}
}

// Cancelled in another process: what was in stays, nothing comes after, and
// the next import into the pool begins.
func TestImportCancelledElsewhere(t *testing.T) {
	w := newWorld(t)
	task := w.upload("mugs", numbered("E", 500_000)).Task
	w.child()
	w.until(task, func(i domain.Import) bool { return i.Added > 0 })
	cancelled, err := w.store.CancelImport(t.Context(), task)
	if err != nil || cancelled.Added == 0 || cancelled.Added >= 500_000 {
		t.Fatalf("got %+v, %v", cancelled, err)
	}
	began := time.Now()
	next := w.end(w.upload("mugs", numbered("N", 10)).Task)
	if next.Added != 10 {
		t.Errorf("the next one: got %+v", next)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the next import waited %v", took)
	}
	if n := w.count(`SELECT count(*) FROM codes`); n != cancelled.Added+10 {
		t.Errorf("got %d codes, want the %d that were in and 10", n, cancelled.Added)
	}
	w.settled()
}

// Whatever comes first, the kill or the cancel: from its answer on nothing
// comes in.
func TestImportCancelKilled(t *testing.T) {
	const n = 300_000
	w := newWorld(t)
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 5 {
		c := w.child()
		task := w.upload("mugs", numbered(fmt.Sprintf("Q%d", round), n)).Task
		w.until(task, func(i domain.Import) bool { return i.Added > 0 })
		var both sync.WaitGroup
		both.Go(func() {
			time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			c.kill()
		})
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		cancelled, err := w.store.CancelImport(t.Context(), task)
		both.Wait()
		if err != nil || cancelled.Added == n {
			t.Fatalf("got %+v, %v", cancelled, err)
		}
		stop := w.run(w.store)
		w.end(w.upload("mugs", numbered(fmt.Sprintf("R%d", round), 10)).Task) // the pool's next is done, so that one is over
		stop()
		if i := w.end(task); i.Status != domain.ImportCancelled || i.Added != cancelled.Added {
			t.Errorf("got %+v, want %d added", i, cancelled.Added)
		}
		w.check()
	}
	w.settled()
}

// spoilt is a file of n rows of which every second is refused, and how many
// for which reason. rows are what is left.
func spoilt(n int) (file *bytes.Buffer, reasons map[domain.RefusalReason]int64, rows int64) {
	file, reasons = new(bytes.Buffer), map[domain.RefusalReason]int64{}
	file.WriteString("code;issue_end\n")
	bad := []struct {
		row    string
		reason domain.RefusalReason
	}{
		{";2099-01-01", domain.EmptyCode}, {"X%d;tomorrow", domain.BadDate}, {"X%d;2001-01-01", domain.WindowOver},
		{"X%d;;more", domain.TooManyColumns}, {"S-0000000;2099-12-31", domain.DuplicateInFile}, {strings.Repeat("x", 201) + ";", domain.CodeTooLong},
	}
	for i := range n {
		fmt.Fprintf(file, "S-%07d;2099-12-31\n", i)
		b := bad[i%len(bad)]
		file.WriteString(strings.ReplaceAll(b.row, "%d", fmt.Sprint(i)) + "\n")
		reasons[b.reason]++
	}
	return file, reasons, int64(n)
}

// The process is killed at 20 random points; every code is in once, and the
// report is exact.
func TestImportKilledAtRandom(t *testing.T) {
	w := newWorld(t)
	file, reasons, n := spoilt(100_000)
	task := w.upload("mugs", file).Task
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		c := w.child()
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		c.kill()
		w.check()
	}
	w.child()
	i := w.end(task)
	if i.Status != domain.ImportCompletedWithRefusal || i.Added != n || i.Refused != n || i.Rows != 2*n {
		t.Errorf("got %+v, want %d added and refused", i, n)
	}
	if !maps.Equal(i.Reasons, reasons) {
		t.Errorf("reasons: got %v, want %v", i.Reasons, reasons)
	}
	w.settled()
}

// The pace is that of the work: an hour in which nobody worked is none of it.
func TestImportPace(t *testing.T) {
	const n = 150_000
	w := newWorld(t)
	task := w.upload("mugs", numbered("P", n)).Task
	if i := w.until(task, func(domain.Import) bool { return true }); i.Pace != (domain.Pace{}) {
		t.Errorf("waiting: got %+v", i.Pace)
	}
	c := w.child()
	i := w.until(task, func(i domain.Import) bool { return i.Added > 0 })
	rate, ok := i.RowsPerSecond()
	left, foretold := i.Left()
	if !ok || rate <= 0 || !foretold || left <= 0 || left > time.Hour {
		t.Errorf("running: got %v rows/s, %t, %v left, %t", rate, ok, left, foretold)
	}
	c.kill()
	if _, err := w.conn.Exec(t.Context(), `UPDATE imports SET pace_at = pace_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	i = w.until(task, func(domain.Import) bool { return true })
	if rate, ok := i.RowsPerSecond(); ok {
		t.Errorf("nobody works: got %v rows/s", rate)
	}
	w.child()
	i = w.end(task)
	if i.Pace.Busy <= 0 || i.Pace.Busy > i.AskedAt.Sub(i.StartedAt) {
		t.Errorf("got %v of work since %v, it is %v", i.Pace.Busy, i.StartedAt, i.AskedAt)
	}
	w.settled()
}

func TestFileKept(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	in := importing.NewIntake(w.store, 1<<30, w.wake)
	in.Keep = time.Hour
	file := numbered("F", 100_000).Bytes() // in several parts
	i, err := in.Receive(t.Context(), domain.Upload{PoolID: "mugs", MediaType: "text/csv", Actor: "anna"}, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if i.Actor != "anna" || !i.FileKept || !i.KeptUntil.IsZero() {
		t.Errorf("accepted: got %+v", i)
	}
	task := i.Task
	read := func() ([]byte, error) {
		var b bytes.Buffer
		err := in.WriteFile(t.Context(), task, &b)
		return b.Bytes(), err
	}
	i = w.end(task)
	if err := w.store.SweepImports(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if b, err := read(); err != nil || !bytes.Equal(b, file) {
		t.Errorf("got %d bytes, %v, want the file of %d", len(b), err, len(file))
	}
	if want := i.FinishedAt.Add(time.Hour); !i.FileKept || !i.KeptUntil.Equal(want) {
		t.Errorf("got %v, %v, want kept until %v", i.FileKept, i.KeptUntil, want)
	}

	// Its time is over; and of one the process that dropped it died on the way.
	if _, err := w.conn.Exec(t.Context(), `UPDATE imports SET finished_at = finished_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	other, err := in.Receive(t.Context(), domain.Upload{PoolID: "mugs"}, strings.NewReader("OTHER\n"))
	if err != nil {
		t.Fatal(err)
	}
	w.end(other.Task)
	if _, err := w.conn.Exec(t.Context(), `UPDATE imports SET dropped_at = clock_timestamp() WHERE task = $1`, other.Task); err != nil {
		t.Fatal(err)
	}
	w.settled()
	i = w.end(task)
	if b, err := read(); !errors.Is(err, domain.ErrFileGone) || len(b) != 0 || i.FileKept || i.KeptUntil.IsZero() {
		t.Errorf("got %d bytes, %v, %+v, want it gone", len(b), err, i)
	}
}

// With the pool go the files of its uploads, also of one that is under way.
func TestFileOfPoolDeleted(t *testing.T) {
	w := newWorld(t)
	in := importing.NewIntake(w.store, 1<<30, w.wake)
	in.Keep = time.Hour
	stop := w.run(w.store)
	for _, file := range []io.Reader{numbered("A", 10), numbered("B", 10)} {
		i, err := in.Receive(t.Context(), domain.Upload{PoolID: "mugs"}, file)
		if err != nil {
			t.Fatal(err)
		}
		w.end(i.Task)
	}
	stop()
	waiting, err := in.Receive(t.Context(), domain.Upload{PoolID: "mugs"}, numbered("C", 10))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.DeletePool(t.Context(), "test", "mugs", 0); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`SELECT count(DISTINCT task) FROM import_parts`); n != 1 {
		t.Errorf("%d files are left, want that of the one that waits", n)
	}
	w.run(w.store)
	if i := w.end(waiting.Task); i.Status != domain.ImportFailed || i.PoolID != "mugs" {
		t.Errorf("got %+v", i)
	}
	w.settled()
}

// Nobody sees an upload that is not complete, and a file that goes while it is
// read is not taken for a whole one.
func TestFileGoesWhileRead(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	in := importing.NewIntake(w.store, 1<<30, w.wake)
	in.Keep = time.Hour
	i, err := in.Receive(t.Context(), domain.Upload{PoolID: "mugs"}, numbered("G", 100_000))
	if err != nil {
		t.Fatal(err)
	}
	w.end(i.Task)
	dropping := writerFunc(func(b []byte) (int, error) {
		_, err := w.conn.Exec(context.Background(), `UPDATE imports SET finished_at = finished_at - interval '1 hour'`)
		return len(b), errors.Join(err, w.store.SweepImports(context.Background(), time.Hour))
	})
	if err := in.WriteFile(t.Context(), i.Task, dropping); !errors.Is(err, domain.ErrFileGone) {
		t.Errorf("got %v, want that the file is gone", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
