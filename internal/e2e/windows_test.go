package e2e

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

var (
	windowRows = flag.Int("window-rows", 20_000, "rows of the file that TestManyWindows imports; 5000000 for the figure that is published")
	windowsOf  = flag.Int("window-count", 2_000, "windows of them; 10000, and 200000 of 200000 rows, for the figures that are published")
)

// TestManyWindows: a file with very many windows is imported by the real process
// in bounded memory and issued from, and the auditor agrees.
func TestManyWindows(t *testing.T) {
	w := newWorld(t)
	w.Draft("p")
	n := w.Serve()
	file, to := io.Pipe()
	go func() {
		b := bufio.NewWriter(to)
		fmt.Fprintln(b, "code,issue_end")
		day := time.Now().Add(24 * time.Hour).UTC()
		for i := range *windowRows {
			fmt.Fprintf(b, "c0de-%d,%s\n", i, day.Add(time.Duration(i*7919%*windowsOf)*time.Second).Format(time.RFC3339))
		}
		to.CloseWithError(b.Flush())
	}()
	began := time.Now()
	task := n.upload("p", file)
	var i struct {
		Status domain.ImportStatus
		Added  int
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i.Status = domain.ImportWaiting; !i.Status.Ended(); <-tick.C {
		if time.Since(began) > 10*time.Minute {
			t.Fatalf("the import is stuck: %+v", i)
		}
		if err := json.Unmarshal([]byte(n.get(fmt.Sprint("/v1/imports/", task))), &i); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	if i.Status != domain.ImportCompleted || i.Added != *windowRows {
		t.Fatalf("got %+v", i)
	}
	t.Logf("%d rows, %d windows: %.0f rows/s, %d lots, %d runs, peak memory %d MiB", *windowRows, *windowsOf, float64(*windowRows)/took.Seconds(),
		w.number("SELECT count(*) FROM lots"), w.number("SELECT count(*) FROM runs"), n.peak())
	if mib := n.peak(); mib > 300 {
		t.Errorf("peak memory: got %d MiB, want at most 300", mib)
	}
	if _, err := w.store().LaunchPool(t.Context(), "test", "p", 0); err != nil {
		t.Fatal(err)
	}

	asked := min(*windowRows, 200_000)
	var asks []ask
	for k := range asked {
		asks = append(asks, ask{pool: "p", request: fmt.Sprint(k), customer: fmt.Sprint("c-", k)})
	}
	began = time.Now()
	w.Send(asks...)
	answered, issued := 0, 0
	if !w.reader(w.names.Outcomes).more(5*time.Minute, func(p int, rec *consumer.Record) bool {
		answered++
		if parse(t, p, rec).Code != "" {
			issued++
		}
		return answered >= asked
	}) {
		t.Fatalf("%d answers, want %d", answered, asked)
	}
	took = time.Since(began)
	t.Logf("%d requests: %.0f/s from publishing to reading the answers, peak memory %d MiB", asked, float64(asked)/took.Seconds(), n.peak())
	if issued != asked {
		t.Errorf("got %d issued, want %d", issued, asked)
	}
	began = time.Now()
	w.Verify()
	t.Logf("verified in %v", time.Since(began).Round(time.Millisecond))
}

// upload hands a file in and returns its task.
func (n *node) upload(pool string, file io.Reader) int64 {
	n.w.t.Helper()
	req, err := http.NewRequestWithContext(n.w.t.Context(), http.MethodPost, n.http+"/v1/pools/"+pool+"/imports", file)
	if err != nil {
		n.w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/csv")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		n.w.t.Fatal(err)
	}
	defer r.Body.Close()
	var i struct{ Task int64 }
	if err := json.NewDecoder(r.Body).Decode(&i); err != nil || r.StatusCode != http.StatusAccepted {
		n.w.t.Fatalf("got %s, %v", r.Status, err)
	}
	return i.Task
}

// peak is the most memory that the process ever had, in MiB; 0 where there is no
// /proc.
func (n *node) peak() int { return peak(n.cmd.Process.Pid) }

func peak(pid int) (mib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		if _, err := fmt.Sscan(rest, &mib); err != nil {
			return 0
		}
	}
	return mib >> 10
}
