package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/producer"
	"promopool/internal/tail"
	"promopool/internal/topics"
)

// show is a demo of a small size in a folder for temporary files of its own.
type show struct {
	t      *testing.T
	cmd    *exec.Cmd
	temp   string
	stdout transcript
	stderr bytes.Buffer
	done   chan struct{}
}

func startDemo(t *testing.T) *show {
	t.Helper()
	if kafkatest.Real() {
		t.Skip("the demo brings its own Kafka")
	}
	t.Parallel()
	// Not t.TempDir, which PostgreSQL's user could not pass through as root.
	temp, err := os.MkdirTemp("", "demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	if err := os.Chmod(temp, 0o711); err != nil {
		t.Fatal(err)
	}
	s := &show{t: t, temp: temp, done: make(chan struct{})}
	s.cmd = exec.Command(os.Args[0], "demo", "--codes", "4000", "--requests", "3000")
	s.cmd.Env = append(os.Environ(), "PROMOPOOL_E2E_CHILD=1", "TMPDIR="+temp)
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		if t.Failed() {
			t.Logf("standard output:\n%s\nstandard error:\n%s", s.stdout.String(), s.stderr.String())
		}
	})
	return s
}

// ends waits for the exit status.
func (s *show) ends(want int) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(2 * time.Minute):
		s.t.Fatal("the demo does not end")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("exit status %d, want %d", got, want)
	}
}

// left lists what is left in the folder for temporary files.
func (s *show) left() []string {
	left, err := filepath.Glob(filepath.Join(s.temp, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return left
}

// await waits for a line of the output and returns its groups.
func (s *show) await(line string) []string {
	s.t.Helper()
	want := regexp.MustCompile("(?m)^" + line + "$")
	for range 3000 {
		if m := want.FindStringSubmatch(s.stdout.String()); m != nil {
			return m
		}
		select {
		case <-s.done:
			s.t.Fatalf("ended without a line %s", line)
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.t.Fatalf("no line %s", line)
	return nil
}

// transcript is what a process has written so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func TestDemo(t *testing.T) {
	s := startDemo(t)
	s.ends(0)
	out := s.stdout.String()
	for _, line := range []string{
		` +✓ The good rows of the file are in +4,000 codes, .* a second`,
		` +✓ Bad rows are refused, one by one +8, each with line and reason`,
		` +✓ Every request is answered +3,000 of 3,000, .*`,
		` +✓ No code twice, no request twice +2,700 requests, 2,700 codes`,
		` +✓ A repeat gets the same answer +.* repeats, identical to the byte`,
		` +✓ The stock agrees, to the code +2,700 issued, 1,300 left`,
		` +✓ A small pool sells out exactly +500 issued, 300 told “exhausted”`,
		` +✓ The auditor's invariants hold +11 of 11`,
		`All \d+ checks held, in .*`,
	} {
		if !regexp.MustCompile("(?m)^" + line + "$").MatchString(out) {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(out, "✗") || strings.Contains(out, "\x1b") || strings.Contains(out, "\r") {
		t.Error("a check that failed, or signs for terminals, in the output")
	}
	if s.stderr.Len() > 0 {
		t.Error("something on standard error")
	}
	if left := s.left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDemoBroken: a code that is told to a second request does not go unseen.
func TestDemoBroken(t *testing.T) {
	s := startDemo(t)
	broker := s.await(` +Kafka, in this process +(\S+)`)[1]
	s.await(` +With a description it is launched: .*`)
	forge(t, broker)
	s.ends(1)
	out := s.stdout.String()
	for _, name := range []string{"No code twice", "The auditor's invariants", "Nothing forbidden"} {
		if !strings.Contains(out, "✗ "+name) {
			t.Errorf("no ✗ before %q", name)
		}
	}
	left := s.left()
	if len(left) != 1 || !strings.Contains(s.stderr.String(), left[0]) || !strings.Contains(s.stderr.String(), "Nothing forbidden") {
		t.Errorf("left behind: %v, want one log that standard error names, and the check", left)
	}
}

// forge publishes the first code that is issued once more, for another request.
func forge(t *testing.T, broker string) {
	t.Helper()
	names := topics.Named("promo.")
	client := topics.Client([]string{broker}, names.All()...)
	defer topics.Close(client)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	outcomes, err := tail.Open(ctx, client, []string{names.Outcomes}, tail.From{Beginning: true})
	if err != nil {
		t.Fatal(err)
	}
	var forged producer.Record
	var at int
	err = outcomes.Follow(ctx, func(_ string, partition int, records []consumer.Record) error {
		r := records[0]
		at = partition
		forged = producer.Record{Key: r.Key, Headers: slices.Clone(r.Headers), Time: r.Time,
			Value: bytes.Replace(r.Value, []byte(`{"request_id":"`), []byte(`{"request_id":"forged-`), 1)}
		return tail.Stop
	})
	if err != nil || forged.Value == nil {
		t.Fatal(errors.Join(err, errors.New("no outcome to forge")))
	}
	for i := range forged.Headers {
		if forged.Headers[i].Key == "ce_id" {
			forged.Headers[i].Value = []byte(domain.IssuedEventID("summer-sale", "forged"))
		}
	}
	if err := producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry()).Publish(ctx, names.Outcomes, at, []producer.Record{forged}); err != nil {
		t.Fatal(err)
	}
}

// TestDemoInterrupted: told to end half way, it does so and takes everything along.
func TestDemoInterrupted(t *testing.T) {
	s := startDemo(t)
	s.await(` +Process \d+ is killed .*`)
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	s.ends(130)
	if left := s.left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
