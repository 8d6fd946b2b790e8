package exporting_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"promopool/internal/domain"
	"promopool/internal/exporting"
	"promopool/internal/postgres"
)

// exportVariable makes this test binary a process that exports a pool.
const exportVariable = "PROMOPOOL_TEST_EXPORT"

func TestMain(m *testing.M) {
	if url := os.Getenv(exportVariable); url != "" {
		if err := exportAndTell(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// exportAndTell exports the pool mugs and tells bytes, milliseconds, and the
// most memory that the process ever had, in KiB.
func exportAndTell(url string) error {
	ctx := context.Background()
	store, err := postgres.Open(ctx, url, "child", 2)
	if err != nil {
		return err
	}
	defer store.Close()
	pool, err := store.Pool(ctx, "mugs")
	if err != nil {
		return err
	}
	written := 0
	began := time.Now()
	if err := exporting.New(store).WriteCodes(ctx, &pool, "", writerFunc(func(b []byte) (int, error) {
		written += len(b)
		return len(b), nil
	})); err != nil {
		return err
	}
	took := time.Since(began)
	status, err := os.ReadFile("/proc/self/status")
	var kib int
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		_, err = fmt.Sscan(rest, &kib)
	}
	fmt.Println(written, took.Milliseconds(), kib)
	return err
}

var rows = flag.Int("rows", 100_000, "codes that TestExportLarge exports; 1000000 for the figure that is published")

// Memory does not grow with the pool, of which half is issued.
func TestExportLarge(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc here")
	}
	w := newWorld(t, domain.Pool{})
	w.lot("large-", *rows, nil, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	w.issue(*rows/2, "customer-1234")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), exportVariable+"="+w.url)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var bytes, ms, kib int
	if _, err := fmt.Sscan(string(out), &bytes, &ms, &kib); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	t.Logf("%d codes, %d MB in %d ms, %d codes/s, %v of CPU, peak memory %d MiB", *rows, bytes/1_000_000, ms, *rows*1000/max(ms, 1), cpu, kib/1024)
	if kib > 64<<10 {
		t.Errorf("peak memory: got %d MiB, want at most 64", kib/1024)
	}
	if bytes < *rows*len("large-0,available") {
		t.Errorf("got %d bytes", bytes)
	}
}
