package importing_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/httpapi"
	"promopool/internal/importing"
	"promopool/internal/postgres"
)

// faulty is a store whose sessions fail at one commit: before it is sent, or
// with its answer lost.
type faulty struct {
	*postgres.Store
	at    int32 // counted over all sessions
	after bool
	n     atomic.Int32
}

var errLost = errors.New("connection lost")

func (f *faulty) NextImport(ctx context.Context) (importing.Session, error) {
	s, err := f.Store.NextImport(ctx)
	if s == nil || err != nil {
		return nil, err
	}
	return &faultySession{Session: s, f: f}, nil
}

type faultySession struct {
	importing.Session
	f *faulty
}

func (s *faultySession) Commit(ctx context.Context, step importing.Step) (importing.Result, error) {
	return s.lose(func() (importing.Result, error) { return s.Session.Commit(ctx, step) })
}

func (s *faultySession) Rehearse(ctx context.Context, step importing.Step, codes []string) (importing.Result, error) {
	return s.lose(func() (importing.Result, error) { return s.Session.Rehearse(ctx, step, codes) })
}

// lose fails at the chosen commit.
func (s *faultySession) lose(commit func() (importing.Result, error)) (importing.Result, error) {
	fails := s.f.n.Add(1) == s.f.at
	if fails && !s.f.after {
		return importing.Result{}, errLost
	}
	res, err := commit()
	if err == nil && fails {
		return importing.Result{}, errLost
	}
	return res, err
}

func TestImportResumed(t *testing.T) {
	const n = 52_500 // chunks of 2,000, 50,000 and 500
	for at := int32(1); at <= 3; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("Commit%dAfter%t", at, after), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				task := w.upload("mugs", numbered("R", n)).Task
				w.run(&faulty{Store: w.store, at: at, after: after})
				if i := w.end(task); i.Status != domain.ImportCompleted || i.Added != n || i.Rows != n {
					t.Errorf("got %+v", i)
				}
				w.settled()
			})
		}
	}
}

// The backends of imports are ended at random while two runners work on three
// imports, two of them into one pool and with codes in common.
func TestImportTerminated(t *testing.T) {
	const n = 60_000
	w := newWorld(t)
	w.newPool("caps", domain.Pool{MultiUse: true})
	first := w.upload("mugs", numbered("T", n)).Task
	second := w.upload("mugs", io.MultiReader(numbered("U", n), numbered("T", n))).Task
	other := w.upload("caps", numbered("T", n)).Task
	w.run(w.store)
	w.run(w.open("second"))

	done := make(chan struct{})
	var kills sync.WaitGroup
	kills.Go(func() {
		r := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(50+r.IntN(300)) * time.Millisecond):
			}
			if _, err := w.conn.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'promopool import' ORDER BY random() LIMIT 1`); err != nil {
				t.Error(err)
			}
		}
	})
	got := []domain.Import{w.end(first), w.end(second), w.end(other)}
	close(done)
	kills.Wait()
	for i, want := range []domain.Import{{Added: n}, {Added: n, Unchanged: n, Refused: 1}, {Added: n}} {
		if got[i].Added != want.Added || got[i].Unchanged != want.Unchanged || got[i].Refused != want.Refused {
			t.Errorf("import %d: got %+v, want %d added, %d unchanged and %d refused", i, got[i], want.Added, want.Unchanged, want.Refused)
		}
	}
	w.settled()
}

// runnerVariable makes this test binary a process that imports until killed.
const runnerVariable = "PROMOPOOL_TEST_RUNNER"

func TestMain(m *testing.M) {
	if url := os.Getenv(runnerVariable); url != "" {
		fmt.Fprintln(os.Stderr, importUntilKilled(url))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func importUntilKilled(url string) error {
	store, err := postgres.Open(context.Background(), url, "child", 8)
	if err != nil {
		return err
	}
	r := importing.New(store, zerolog.Nop(), prometheus.NewRegistry())
	mux := http.NewServeMux()
	httpapi.ImportRoutes(importing.NewIntake(store, 1<<30, r.Wake), store, zerolog.Nop())(mux)
	fmt.Println(httptest.NewServer(mux).URL)
	return r.Run(context.Background())
}

// child is a process that takes uploads and imports. kill is SIGKILL.
type child struct {
	url  string
	pid  int
	kill func()
}

func (w *world) child() child {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), runnerVariable+"="+w.url)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	kill := sync.OnceFunc(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	w.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.Fatalf("child: %q, %v", line, err)
	}
	return child{url: strings.TrimSpace(line), pid: cmd.Process.Pid, kill: kill}
}

// peak is the most memory that the process ever had, in MiB.
func (c child) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	var kib int
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

var rows = flag.Int("rows", 200_000, "size of the file of TestImportLarge; 2000000 for the figure that is published")

// A large file, uploaded over HTTP, imported by the process that took it until
// that is killed half way, and then by another.
func TestImportLarge(t *testing.T) {
	n := int64(*rows)
	w := newWorld(t)
	first := w.child()
	file, writer := io.Pipe()
	go func() { writer.CloseWithError(writeRandomFile(writer, *rows)) }()
	began := time.Now()
	r, err := http.Post(first.url+"/v1/pools/mugs/imports", "text/csv", file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusAccepted {
		t.Fatal(r.Status)
	}
	t.Logf("uploaded in %.1f s", time.Since(began).Seconds())

	accepted := time.Now()
	w.until(1, func(i domain.Import) bool { return i.Added > 0 })
	t.Logf("first codes can be issued after %d ms", time.Since(accepted).Milliseconds())
	half := w.until(1, func(i domain.Import) bool { return i.Added >= n/2 || i.Status.Ended() })
	took := time.Since(accepted)
	t.Logf("%d rows in %.1f s, %.0f rows/s", half.Added, took.Seconds(), float64(half.Added)/took.Seconds())
	peak := first.peak(t)
	first.kill()
	w.check()

	second := w.child()
	resumed := time.Now()
	i := w.end(1)
	took = time.Since(resumed)
	t.Logf("killed; the other %d rows in %.1f s, %.0f rows/s", n-half.Added, took.Seconds(), float64(n-half.Added)/took.Seconds())
	peak = max(peak, second.peak(t))
	t.Logf("peak memory %d MiB", peak)
	if peak >= 300 {
		t.Errorf("peak memory: got %d MiB, want less than 300", peak)
	}
	if i.Added != n || i.Refused != 0 || i.Rows != n {
		t.Errorf("got %+v, want %d added", i, n)
	}
	w.settled()
	if got := w.count(`SELECT count(DISTINCT code) FROM codes`); got != n {
		t.Errorf("got %d codes, want %d", got, n)
	}
}

var (
	killedRows = flag.Int("killed-rows", 60_000, "new codes in the file of TestImportKilled; 1000000 for the promise")
	kills      = flag.Int("kills", 6, "how often TestImportKilled kills; 20 for the promise")
)

// TestImportKilled: the process that imports is killed again and again, at points
// spread over the whole of the work: the rows that add, those that name what the
// pool has, and the moves that follow them. Two files wait for one pool.
func TestImportKilled(t *testing.T) {
	n := *killedRows
	w := newWorld(t)
	stop := w.run(w.store)
	w.end(w.upload("mugs", dated("O", 0, n/5, always("2098-01-01"))).Task)
	stop()
	w.issue("mugs", 10)

	// One in five of the old codes stays, the others move, but those that are issued.
	file := numbered("K", n)
	old := dated("O", 0, n/5, func(i int) string {
		if i%5 == 0 {
			return "2098-01-01"
		}
		return "2097-01-01"
	})
	if _, err := old.ReadString('\n'); err != nil { // its header
		t.Fatal(err)
	}
	file.Write(old.Bytes())
	file.WriteString("K-0000001;2099-12-31\nO-0000011;2096-01-01\nO-0000015;2096-01-01\nbad;x\nlast;2099-12-31")
	first := w.upload("mugs", file).Task
	second := w.upload("mugs", numbered("S", n/10)).Task
	rows := int64(n + n/5 + 5)

	r := rand.New(rand.NewPCG(7, uint64(n)))
	points := make([]int64, *kills)
	for i := range points {
		points[i] = r.Int64N(rows)
	}
	slices.Sort(points)
	for _, point := range points {
		c := w.child()
		w.until(first, func(i domain.Import) bool {
			return i.Rows >= point && i.Status != domain.ImportWaiting || i.Status.Ended()
		})
		time.Sleep(rand.N(20 * time.Millisecond)) // in the middle of what follows
		c.kill()
		w.check()
	}
	w.child()
	i := w.end(first)
	moved := int64(n/5 - n/25 - 8)
	if i.Added != int64(n+1) || i.Moved != moved || i.Unchanged != int64(n/25-2) || i.Refused != 14 || i.Rows != rows {
		t.Errorf("after %d kills: got %+v; want %d added, %d moved, %d unchanged, 14 refused", len(points), i, n+1, moved, n/25-2)
	}
	want := map[domain.RefusalReason]int64{domain.AlreadyIssued: 10, domain.DuplicateInFile: 3, domain.BadDate: 1}
	if diff := cmp.Diff(want, i.Reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if i := w.end(second); i.Added != int64(n/10) || i.Refused != 0 {
		t.Errorf("the second: got %+v", i)
	}
	if got := w.count(`SELECT count(*) FROM codes JOIN lots USING (pool, lot) WHERE issue_end = '2097-01-01'`); got != moved {
		t.Errorf("%d codes have the dates of the file, want %d", got, moved)
	}
	w.settled()
}

// Codes can be issued while the rest loads, and a pool's lock is held for
// moments only.
func TestImportWhileIssuing(t *testing.T) {
	const n = 100_000
	w := newWorld(t)
	if _, err := w.store.LaunchPool(t.Context(), "test", "mugs", 0); err != nil {
		t.Fatal(err)
	}
	task := w.upload("mugs", numbered("I", n)).Task
	w.run(w.store)

	other, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	var issued int64
	var slowest time.Duration
	for {
		i, err := w.store.Import(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		if i.Status.Ended() {
			break
		}
		if issued == 0 && i.Added > 0 {
			t.Logf("first codes after %v", time.Since(i.StartedAt))
		}
		began := time.Now()
		// As a scarce pool's batch: the lock, then the heads of free runs.
		err = pgx.BeginFunc(t.Context(), other, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SELECT 1 FROM pools WHERE pool = $1 FOR UPDATE`, w.pool.Key); err != nil {
				return err
			}
			tag, err := tx.Exec(t.Context(), `UPDATE runs SET next = next + 1 WHERE (pool, lot, lo) IN
				(SELECT pool, lot, lo FROM runs WHERE pool = $1 AND next < hi ORDER BY lot, lo LIMIT 1)`, w.pool.Key)
			issued += tag.RowsAffected()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	if issued == 0 {
		t.Error("nothing was issued while the import ran")
	}
	t.Logf("%d taken one by one meanwhile, the slowest in %v", issued, slowest)
	if n := w.count(`SELECT sum(next - lo)::bigint FROM runs WHERE pool = $1`, w.pool.Key); n != issued {
		t.Errorf("got %d issued, want %d", n, issued)
	}
	w.settled()
}

func TestImportPoolClosed(t *testing.T) {
	const n = 100_000
	for name, end := range map[string]func(w *world) error{
		"Archived": func(w *world) error {
			if _, err := w.store.LaunchPool(w.Context(), "test", "mugs", 0); err != nil {
				return err
			}
			_, err := w.store.ArchivePool(w.Context(), "test", "mugs", 0)
			return err
		},
		"Deleted": func(w *world) error { return w.store.DeletePool(w.Context(), "test", "mugs", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			waiting := w.upload("mugs", numbered("C", n)).Task
			running := w.upload("mugs", numbered("D", 10)).Task
			w.run(w.store)
			w.until(waiting, func(i domain.Import) bool { return i.Added > 0 })
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			for _, task := range []int64{waiting, running} {
				i := w.end(task)
				if i.Status != domain.ImportFailed || !strings.Contains(i.Error, "archived or deleted") || i.Added == n || i.PoolID != "mugs" {
					t.Errorf("got %+v", i)
				}
			}
			if name == "Deleted" {
				if err := w.store.DeleteOrphans(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := w.count(`SELECT count(*) FROM codes`) + w.count(`SELECT count(*) FROM lots`) + w.count(`SELECT count(*) FROM runs`); n != 0 {
					t.Errorf("got %d rows of a pool that is gone", n)
				}
			}
			w.settled()
		})
	}
}

func TestImportManyWindows(t *testing.T) {
	const n = 5_000
	w := newWorld(t)
	var b strings.Builder
	b.WriteString("code;issue_end\n")
	at := time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		fmt.Fprintf(&b, "W%d;%s\n", i, at.Add(time.Duration(n-i)*time.Minute).Format(time.RFC3339))
	}
	w.run(w.store)
	if i := w.end(w.upload("mugs", strings.NewReader(b.String())).Task); i.Added != n {
		t.Errorf("got %+v", i)
	}
	if got := w.count(`SELECT count(*) FROM lots`); got != n {
		t.Errorf("got %d lots, want one per window", got)
	}
	w.settled()
}

func TestImportUnreadable(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	i := w.end(w.upload("mugs", strings.NewReader("PK\x03\x04 a spreadsheet")).Task)
	if i.Status != domain.ImportFailed || !strings.Contains(i.Error, "workbook is damaged") {
		t.Errorf("got %+v", i)
	}
	i = w.end(w.upload("mugs", strings.NewReader("code;issue_end\n")).Task)
	if i.Status != domain.ImportCompleted || i.Rows != 0 {
		t.Errorf("header only: got %+v", i)
	}
	w.settled()
}

// breaking is an upload whose sender hangs up.
type breaking struct{ left int }

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.ErrUnexpectedEOF // as net/http has it
	}
	n := min(len(p), b.left)
	for i := range p[:n] {
		p[i] = "A\n"[i%2]
	}
	b.left -= n
	return n, nil
}

func TestUploadLeavesNothing(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name string
		pool string
		file io.Reader
		want error
	}{
		{"BrokenOff", "mugs", &breaking{left: 3 << 20}, domain.ErrFileBroken},
		{"BrokenOffEarly", "mugs", &breaking{left: 10}, domain.ErrFileBroken},
		{"TooLarge", "mugs", io.LimitReader(&breaking{left: 5 << 20}, 5<<20), domain.ErrFileTooLarge},
		{"Empty", "mugs", strings.NewReader(""), domain.ErrFileEmpty},
		{"NoPool", "cups", strings.NewReader("A\n"), domain.ErrNotFound},
	}
	in := importing.NewIntake(w.store, 4<<20, func() {})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := in.Receive(t.Context(), domain.Upload{PoolID: tt.pool}, tt.file)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if n := w.count(`SELECT count(*) FROM imports`) + w.count(`SELECT count(*) FROM import_parts`); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}

	// What a process that died has left is swept.
	task, err := w.store.BeginImport(t.Context(), domain.Upload{PoolID: "mugs"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.AppendImport(t.Context(), task, 0, []byte("A\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Import(t.Context(), task); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an upload is seen before it is complete: %v", err)
	}
	if err := w.store.SweepImports(t.Context(), time.Hour); err != nil || w.count(`SELECT count(*) FROM import_parts`) != 1 {
		t.Errorf("a living upload was swept: %v", err)
	}
	if err := w.store.SweepImports(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`SELECT count(*) FROM imports`) + w.count(`SELECT count(*) FROM import_parts`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if err := w.store.AppendImport(t.Context(), task, 2, []byte("B\n")); !errors.Is(err, domain.ErrFileBroken) {
		t.Errorf("append to what was swept: %v", err)
	}
}
