// Package examples_test runs the examples against the service, as whoever reads
// them would.
package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"promopool/internal/app"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

// world is a service and the built examples.
type world struct {
	*testing.T
	kafka, prefix, http, bin string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, kafka: kafkatest.ForTest(t), prefix: kafkatest.Prefix(t), bin: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", w.bin, "./...").CombinedOutput(); err != nil {
		t.Fatalf("build the examples: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Run(ctx, app.Config{
			Kafka: []string{w.kafka}, DatabaseURL: pgtest.Database(t, postgres.Migrate), HTTPAddr: "127.0.0.1:0", TopicPrefix: w.prefix,
			Partitions: 3, MaxUploadBytes: 1 << 20, Log: zerolog.Nop(),
		}, func(addr string) { ready <- addr })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case w.http = <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	return w
}

// Do asks the service.
func (w *world) Do(method, path, mediaType, body string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, "http://"+w.http+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		b, _ := io.ReadAll(resp.Body)
		w.Fatalf("%s %s: %s %s", method, path, resp.Status, b)
	}
}

// Pool launches a pool with codes.
func (w *world) Pool(id string, codes int, settings string) {
	w.Helper()
	const json = "application/json"
	w.Do("POST", "/v1/pools", json, fmt.Sprintf(`{"id":%q,"campaign_id":"summer","name":"Summer sale","description":"20 %% off"%s}`, id, settings))
	var file strings.Builder
	for i := range codes {
		fmt.Fprintf(&file, "SUMMER-%04d\n", i)
	}
	w.Do("POST", "/v1/pools/"+id+"/imports", "text/csv", file.String())
	w.Do("POST", "/v1/pools/"+id+"/launch", json, "")
}

// Run runs an example to its end and returns what it prints and its exit code.
func (w *world) Run(stdin, name string, args ...string) (string, int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(w.bin, name), append([]string{"-kafka", w.kafka, "-prefix", w.prefix}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatalf("%s: %v %s", name, err, errs.String())
	}
	if errs.Len() > 0 {
		w.Logf("%s: %s", name, errs.String())
	}
	return out.String(), c.ProcessState.ExitCode()
}

// TestWorkflow: the workflow gets a code for each customer while there are any,
// and the analysis counts each once.
func TestWorkflow(t *testing.T) {
	w := newWorld(t)
	w.Do("POST", "/v1/campaigns", "application/json", `{"id":"summer","name":"Summer"}`)
	w.Pool("summer-sale", 4, "")

	out, code := w.Run("c-1\nc-2\nc-3\n", "workflow", "-pool", "summer-sale")
	if code != 0 || len(regexp.MustCompile(`(?m)^c-[123]\tSUMMER-000\d$`).FindAllString(out, -1)) != 3 {
		t.Fatalf("got %d and %s", code, out)
	}
	out, code = w.Run("c-4\nc-5\n", "workflow", "-pool", "summer-sale")
	if code != 1 || !strings.Contains(out, "SUMMER-") || !strings.Contains(out, "no code: The pool has no code left.") {
		t.Fatalf("got %d and %s", code, out)
	}

	out, code = w.Run("", "analytics")
	want := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:00 +summer-sale +4$`)
	if now := time.Now(); code != 0 || !want.MatchString(out) && now.Minute() > 0 { // the hour may have turned in between
		t.Fatalf("got %d and %s", code, out)
	}
}
