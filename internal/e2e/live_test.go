package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

// full makes the tests of this file as large as the figures that are published
// (make test-live); else they are small enough to run with all others.
var full = os.Getenv("PROMOPOOL_TEST_LIVE") == "full"

func sized(small, large int) int {
	if full {
		return large
	}
	return small
}

// stream is requests for a pool at a steady rate and the answers to them.
type stream struct {
	w    *world
	pool string
	rate int // a second
	stop chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	sent     []time.Time      // by the request's number
	answered []bool           // likewise
	heard    []hearing        // in the order of arrival
	rejected map[string]int   // by reason
	until    map[string]int64 // answers by valid_until
}

// hearing is one answer's arrival.
type hearing struct {
	at   time.Time
	took time.Duration // since it was due to be sent
}

// Stream begins to send requests for the pool, rate a second.
func (w *world) Stream(pool string, rate int) *stream {
	s := &stream{w: w, pool: pool, rate: rate, stop: make(chan struct{}), rejected: map[string]int{}, until: map[string]int64{}}
	s.done.Go(s.send)
	s.done.Go(s.hear)
	return s
}

func (s *stream) send() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		due := int(time.Since(began).Seconds() * float64(s.rate))
		var asks []ask
		s.mu.Lock()
		for ; n < due; n++ {
			asks = append(asks, ask{pool: s.pool, request: fmt.Sprint("s-", n), customer: fmt.Sprint("c-", n)})
			s.sent = append(s.sent, began.Add(time.Duration(float64(n)/float64(s.rate)*float64(time.Second))))
		}
		s.answered = append(s.answered, make([]bool, len(asks))...)
		s.mu.Unlock()
		s.w.Send(asks...)
	}
}

// hear reads until the sender has stopped and all is answered.
func (s *stream) hear() {
	stopped := time.Time{}
	s.w.reader(s.w.names.Outcomes).more(30*time.Minute, func(_ int, rec *consumer.Record) bool {
		now := time.Now()
		var a struct {
			RequestID  string `json:"request_id"`
			Reason     string `json:"reason"`
			ValidUntil string `json:"valid_until"`
		}
		if err := json.Unmarshal(rec.Value, &a); err != nil {
			s.w.t.Errorf("outcome is not JSON: %v", err)
		}
		number, ok := strings.CutPrefix(a.RequestID, "s-")
		n, err := strconv.Atoi(number)
		s.mu.Lock()
		defer s.mu.Unlock()
		if ok && err == nil && !s.answered[n] {
			s.answered[n] = true
			s.heard = append(s.heard, hearing{now, now.Sub(s.sent[n])})
			if a.Reason != "" {
				s.rejected[a.Reason]++
			} else {
				s.until[a.ValidUntil]++
			}
		}
		select {
		case <-s.stop:
			if stopped.IsZero() {
				stopped = now
			}
			return len(s.heard) == len(s.sent) || now.Sub(stopped) > time.Minute
		default:
			return false
		}
	})
}

// Stop ends the stream when everything sent is answered, and returns how much
// that was.
func (s *stream) Stop() int {
	s.w.t.Helper()
	// The reader looks at its end when an answer comes: the last request may be
	// answered before it is told.
	close(s.stop)
	s.w.Send(ask{pool: s.pool, request: "last", customer: "last"})
	s.done.Wait()
	if len(s.heard) != len(s.sent) {
		s.w.t.Errorf("%d of %d requests were answered", len(s.heard), len(s.sent))
	}
	return len(s.sent)
}

// phase is what a stretch of the stream was like.
type phase struct {
	took     time.Duration
	rate     float64 // answers a second
	slowest  float64 // in the worst whole second
	p50, p99 time.Duration
	silence  time.Duration // the longest without an answer
}

func (p phase) String() string {
	return fmt.Sprintf("%.1f s: %.0f answers/s, worst second %.0f, p50 %v, p99 %v, longest silence %v",
		p.took.Seconds(), p.rate, p.slowest, p.p50.Round(100*time.Microsecond), p.p99.Round(time.Millisecond), p.silence.Round(time.Millisecond))
}

func (s *stream) between(from, till time.Time) phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := phase{took: till.Sub(from)}
	var took []time.Duration
	last := from
	seconds := make([]int, int(p.took.Seconds())+1)
	for _, h := range s.heard {
		if h.at.Before(from) || !h.at.Before(till) {
			continue
		}
		took = append(took, h.took)
		p.silence = max(p.silence, h.at.Sub(last))
		last = h.at
		seconds[int(h.at.Sub(from).Seconds())]++
	}
	p.silence = max(p.silence, till.Sub(last))
	p.rate = float64(len(took)) / p.took.Seconds()
	p.slowest = p.rate
	if whole := seconds[:len(seconds)-1]; len(whole) > 0 {
		p.slowest = float64(slices.Min(whole))
	}
	if len(took) > 0 {
		slices.Sort(took)
		p.p50, p.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return p
}

// Upload hands a file in over HTTP and returns its task.
func (n *node) Upload(pool string, file io.Reader) int64 {
	n.w.t.Helper()
	resp, err := http.Post(n.http+"/v1/pools/"+pool+"/imports", "text/csv", file)
	if err != nil {
		n.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var told struct{ Task int64 }
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil || resp.StatusCode != http.StatusAccepted {
		n.w.t.Fatalf("upload: %s, %v", resp.Status, err)
	}
	return told.Task
}

// Imported waits for the end of an import.
func (w *world) Imported(task int64) domain.Import {
	w.t.Helper()
	s := w.store()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		i, err := s.Import(w.t.Context(), task)
		if err != nil {
			w.t.Fatal(err)
		}
		if i.Status.Ended() {
			return i
		}
	}
	return domain.Import{}
}

// processor is the time that processes have used.
type processor struct{ service, database time.Duration }

// processor is what the nodes and PostgreSQL have used so far.
func (w *world) processor() (p processor) {
	w.t.Helper()
	postmaster := field(w.number("SELECT pg_backend_pid()"), 1)
	for _, n := range w.nodes {
		p.service += spent(int64(n.cmd.Process.Pid), 2)
	}
	p.database = spent(postmaster, 4) // with those of its children that have ended
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range folders {
		pid, err := strconv.ParseInt(filepath.Base(f), 10, 64)
		if err == nil && field(pid, 1) == postmaster {
			p.database += spent(pid, 2)
		}
	}
	return p
}

// field is a number of /proc/PID/stat behind the state, 0 where there is none.
func field(pid int64, at int) int64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if at >= len(fields) {
		return 0
	}
	n, _ := strconv.ParseInt(fields[at], 10, 64)
	return n
}

// spent is the processor time of a process, of 2 or 4 fields of its stat.
func spent(pid int64, fields int) (d time.Duration) {
	for i := range fields {
		d += time.Duration(field(pid, 11+i)) * 10 * time.Millisecond
	}
	return d
}

func (p processor) since(before processor, took time.Duration) string {
	return fmt.Sprintf("processors: service %.2f, PostgreSQL %.2f", (p.service-before.service).Seconds()/took.Seconds(), (p.database-before.database).Seconds()/took.Seconds())
}

// TestUploadLive: a file is loaded into a pool from which codes are issued all
// the while, at half the rate before or more.
func TestUploadLive(t *testing.T) {
	rate, rows, calm := sized(2000, 10_000), sized(100_000, 1_000_000), time.Duration(sized(2, 15))*time.Second
	w := newWorld(t)
	w.Pool("p", sized(100_000, 1_500_000))
	n := w.Serve()
	s := w.Stream("p", rate)
	time.Sleep(calm / 2) // the first buffers are small
	marks := []time.Time{time.Now()}
	time.Sleep(calm)

	var file bytes.Buffer
	for i := range rows {
		fmt.Fprintf(&file, "c0de-new-%07d\n", i)
	}
	used := w.processor()
	marks = append(marks, time.Now())
	i := w.Imported(n.Upload("p", &file))
	marks = append(marks, time.Now())
	cpu := w.processor().since(used, marks[2].Sub(marks[1]))
	time.Sleep(calm)
	marks = append(marks, time.Now())
	sent := s.Stop()
	if i.Status != domain.ImportCompleted || i.Added != int64(rows) {
		t.Errorf("got %+v", i)
	}
	before, during, after := s.between(marks[0], marks[1]), s.between(marks[1], marks[2]), s.between(marks[2], marks[3])
	t.Logf("%d codes uploaded at %d requests/s, imported at %.0f rows/s, %s\nbefore %v\nduring %v\nafter  %v",
		rows, rate, float64(rows)/i.FinishedAt.Sub(i.StartedAt).Seconds(), cpu, before, during, after)
	if during.rate < before.rate/2 {
		t.Errorf("the rate fell from %.0f to %.0f a second", before.rate, during.rate)
	}
	if len(s.rejected) > 0 {
		t.Errorf("rejected: %v", s.rejected)
	}
	if got := w.number("SELECT count(*) FROM issuances"); got != int64(sent)+1 {
		t.Errorf("%d codes were issued for %d requests", got, sent+1)
	}
	w.Verify()
}

// TestMoveLive: unissued codes get other dates while codes of the same pool are
// issued: each is issued with the old ones, or moved.
func TestMoveLive(t *testing.T) {
	for _, order := range []string{"InOrder", "Shuffled"} {
		t.Run(order, func(t *testing.T) {
			rate, codes, calm := sized(1000, 5000), sized(60_000, 1_100_000), time.Duration(sized(2, 10))*time.Second
			w := newWorld(t)
			const before, later = "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
			w.Draft("p")
			lot := w.number(`SELECT nextval('lot_numbers')`)
			w.exec(`INSERT INTO codes (pool, lot, seq, code) SELECT pool, $1, s, 'c0de-' || s FROM pools, generate_series(0, $2::bigint - 1) s`, lot, codes)
			w.exec(`SELECT add_lot(pool, $1, $2, NULL, NULL, NULL, NULL, $3::timestamptz) FROM pools`, lot, codes, before)
			w.exec(`UPDATE pools SET state = 'active', launched_at = clock_timestamp(), revision = revision + 1, mode = 'ample'`)
			w.exec(`VACUUM ANALYZE`)
			n := w.Serve()
			s := w.Stream("p", rate)
			time.Sleep(calm / 2)
			marks := []time.Time{time.Now()}
			time.Sleep(calm)

			// Every second code, so that what stays lies in pieces; from where issuing
			// stands to the end, so that the two race.
			named := sized(30_000, 500_000)
			numbers := make([]int, 0, named)
			for i := codes - 2*named; i < codes; i += 2 {
				numbers = append(numbers, i)
			}
			if order == "Shuffled" {
				rand.New(rand.NewPCG(5, 6)).Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
			}
			var file bytes.Buffer
			file.WriteString("code;available_till\n")
			for _, i := range numbers {
				fmt.Fprintf(&file, "c0de-%d;%s\n", i, later)
			}
			used := w.processor()
			most := w.watchRuns()
			marks = append(marks, time.Now())
			i := w.Imported(n.Upload("p", &file))
			marks = append(marks, time.Now())
			ended, runs := w.number("SELECT count(*) FROM runs"), most()
			cpu := w.processor().since(used, marks[2].Sub(marks[1]))
			time.Sleep(calm)
			marks = append(marks, time.Now())
			for deadline := time.Now().Add(time.Minute); w.number("SELECT count(*) FROM runs") > 1000; {
				if time.Now().After(deadline) {
					t.Fatalf("%d runs are left", w.number("SELECT count(*) FROM runs"))
				}
				time.Sleep(100 * time.Millisecond)
			}
			sent := s.Stop()
			t.Logf("%d codes named at %d requests/s, %d moved and %d issued before in %.1f s, %s; %d runs at most, %d at its end, %d later\nbefore %v\nduring %v\nafter  %v",
				len(numbers), rate, i.Moved, i.Refused, i.FinishedAt.Sub(i.StartedAt).Seconds(), cpu, runs, ended, w.number("SELECT count(*) FROM runs"),
				s.between(marks[0], marks[1]), s.between(marks[1], marks[2]), s.between(marks[2], marks[3]))

			if i.Moved+i.Refused != int64(len(numbers)) || i.Moved == 0 || i.Reasons[domain.AlreadyIssued] != i.Refused {
				t.Errorf("got %+v", i)
			}
			if len(s.rejected) > 0 {
				t.Errorf("rejected: %v", s.rejected)
			}
			// What was told, what is stored and what the report says are the same.
			const moved = ` FROM codes c JOIN lots l USING (pool, lot) LEFT JOIN issuances i ON (i.pool, i.lot, i.seq) = (c.pool, c.lot, c.seq) AND i.request_id <> 'last' WHERE l.available_till = '` + later + `'`
			if got := w.number("SELECT count(*)" + moved); got != i.Moved {
				t.Errorf("%d codes have the new dates, the report says %d", got, i.Moved)
			}
			if got, told := w.number("SELECT count(i.seq)"+moved), s.until[later]; got != told {
				t.Errorf("%d codes were issued with the new dates, %d answers say so", got, told)
			}
			if got := s.until[before] + s.until[later]; got != int64(sent) {
				t.Errorf("%d of %d answers have the dates of before or after: %v", got, sent, s.until)
			}
			w.Verify()
		})
	}
}

// watchRuns counts the runs until it is asked for the most that there were.
func (w *world) watchRuns() (most func() int64) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.database)
	if err != nil {
		w.t.Fatal(err)
	}
	stop, seen := make(chan struct{}), make(chan int64)
	go func() {
		defer close(seen)
		defer conn.Close(context.Background())
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		var most, n int64
		for {
			select {
			case <-stop:
				seen <- most
				return
			case <-tick.C:
			}
			if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM runs").Scan(&n); err != nil {
				w.t.Error(err)
			}
			most = max(most, n)
		}
	}()
	return func() int64 { close(stop); return <-seen }
}
