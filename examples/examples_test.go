// Package examples_test runs the examples against the service, as whoever reads
// them would.
package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
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

// Do asks the service, and returns what it answers.
func (w *world) Do(method, path, mediaType, body string) string {
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
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 || err != nil {
		w.Fatalf("%s %s: %s %s %v", method, path, resp.Status, b, err)
	}
	return string(b)
}

// Pool launches a pool with codes, the first that are imported.
func (w *world) Pool(id string, codes int, settings string) {
	w.Helper()
	const json = "application/json"
	w.Do("POST", "/v1/pools", json, fmt.Sprintf(`{"id":%q,"campaign_id":"summer","name":"Summer sale","description":"20 %% off"%s}`, id, settings))
	var file strings.Builder
	for i := range codes {
		fmt.Fprintf(&file, "SUMMER-%04d\n", i)
	}
	w.Do("POST", "/v1/pools/"+id+"/imports", "text/csv", file.String())
	for !strings.Contains(w.Do("GET", "/v1/imports/1", json, ""), `"status":"completed"`) {
		time.Sleep(10 * time.Millisecond)
	}
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

// TestMailer: who is subscribed gets one e-mail when a pool runs low, that reads
// well, also when the mailer is run twice.
func TestMailer(t *testing.T) {
	w := newWorld(t)
	post := newPostOffice(t)
	const json = "application/json"
	w.Do("POST", "/v1/campaigns", json, `{"id":"summer","name":"Summer 2026"}`)
	w.Do("POST", "/v1/staff", json, `{"id":"anna","name":"Anna Nováková","email":"anna@example.com"}`)
	w.Do("PUT", "/v1/staff/anna/subscriptions/campaign:summer", json, "")
	w.Pool("summer-sale", 4, `,"notify_below":3`)
	if _, code := w.Run("c-1\nc-2\n", "workflow", "-pool", "summer-sale"); code != 0 {
		t.Fatal("no codes")
	}

	sent := filepath.Join(t.TempDir(), "sent.txt")
	var first *mail.Message
	for run := range 2 {
		c := w.Start("mailer", "-smtp", post.addr, "-from", "promopool@example.com", "-sent", sent)
		if run == 0 {
			first = post.Receive()
		} else {
			// The group has moved on, and the file remembers: this one is new.
			w.Do("POST", "/v1/staff", json, `{"id":"ben","name":"Ben","email":"ben@example.com"}`)
			w.Do("PUT", "/v1/staff/ben/subscriptions/all", json, "")
			if got := post.Receive().Header.Get("To"); got != "Ben <ben@example.com>" {
				t.Errorf("the second e-mail is for %s", got)
			}
		}
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}

	if from, err := first.Header.AddressList("From"); err != nil || from[0].Address != "promopool@example.com" {
		t.Errorf("from %v, %v", from, err)
	}
	if to, err := first.Header.AddressList("To"); err != nil || to[0].Address != "anna@example.com" || to[0].Name != "Anna Nováková" {
		t.Errorf("to %v, %v", to, err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(first.Header.Get("Subject"))
	if err != nil || !strings.Contains(subject, "Summer sale") {
		t.Errorf("subject %s, %v", subject, err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(first.Body))
	for _, want := range []string{"Summer sale", "Summer 2026", "2 ", "/pools/summer-sale"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("no word of %q, %v", want, err)
		}
	}
	t.Logf("Subject: %s\n\n%s", subject, text)
}

// Start starts an example that runs until it is told to end.
func (w *world) Start(name string, args ...string) *exec.Cmd {
	w.Helper()
	c := exec.Command(filepath.Join(w.bin, name), append([]string{"-kafka", w.kafka, "-prefix", w.prefix}, args...)...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = c.Process.Kill() })
	return c
}

// postOffice is a mail server.
type postOffice struct {
	t     *testing.T
	addr  string
	mails chan []byte
}

func newPostOffice(t *testing.T) *postOffice {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &postOffice{t: t, addr: listener.Addr().String(), mails: make(chan []byte, 10)}
	server := smtp.NewServer(p)
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	return p
}

// Receive waits for an e-mail.
func (p *postOffice) Receive() *mail.Message {
	p.t.Helper()
	select {
	case b := <-p.mails:
		m, err := mail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			p.t.Fatal(err)
		}
		return m
	case <-time.After(30 * time.Second):
		p.t.Fatal("no e-mail came")
		return nil
	}
}

// NewSession makes the server's backend of it; it also is each session.
func (p *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) { return p, nil }

func (p *postOffice) Mail(string, *smtp.MailOptions) error { return nil }
func (p *postOffice) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (p *postOffice) Reset()                               {}
func (p *postOffice) Logout() error                        { return nil }

func (p *postOffice) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	p.mails <- b
	return err
}
