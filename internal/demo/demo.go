// Package demo shows promopool at work in half a minute: it starts Kafka and
// PostgreSQL in this process and the service in others, and then does what
// customers do: fills a pool from a file, asks for codes, kills a process in
// the middle, asks again, sells a pool out. What it sees it judges by itself,
// from the topics alone, and lets the auditor judge too.
//
// It tells the story on a screen as it goes, and ends with a list of what was
// shown. Nothing stays behind: no process, however this one ends, and no file,
// but for the service's log when something did not hold.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/devstack"
	"promopool/internal/load"
	"promopool/internal/producer"
	"promopool/internal/tail"
	"promopool/internal/topics"
)

const (
	prefix     = "promo."
	partitions = 12
)

// Least sizes: with less there is nothing to see.
const (
	leastCodes    = 1_000
	leastRequests = 500
)

// Config says how large the demo is and who watches.
type Config struct {
	// Program is promopool itself: its commands run as processes of their own.
	Program string
	// Codes in the file. Default 100,000.
	Codes int
	// Requests to publish, repeats included. Default 50,000.
	Requests int

	Out      io.Writer
	Terminal bool // Out can rewrite a line
	Color    bool
}

// Check says what is wrong with a configuration.
func (c Config) Check() error {
	switch {
	case c.Codes < leastCodes:
		return fmt.Errorf("the file needs at least %s codes", number(leastCodes))
	case c.Requests < leastRequests:
		return fmt.Errorf("at least %s requests are needed", number(leastRequests))
	case distinct(c.Requests) > usable(c.Codes):
		return fmt.Errorf("%s requests need a file of at least %s codes: some of its codes are for later",
			number(c.Requests), number((distinct(c.Requests)*10+8)/9))
	}
	return nil
}

// A check is a promise and whether it was kept.
type check struct {
	name   string
	held   bool
	figure string
}

// demo is one run.
type demo struct {
	Config
	*screen
	diary  *diary
	ledger *ledger
	checks []check
	giveUp context.CancelCauseFunc

	// the infrastructure, and the clients of it
	stack    *devstack.Stack
	names    topics.Names
	producer *producer.Producer
	nodes    []*node

	background sync.WaitGroup
	undo       []func() error // in the order of what they undo

	// handed from answer to crash
	flow   *stream
	rest   []load.Message // not sent yet
	speed  string
	killed time.Time
}

// Run shows everything and returns nil if every check held.
func Run(ctx context.Context, c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	diary, err := openDiary()
	if err != nil {
		return err
	}
	defer diary.close()
	inner, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	d := &demo{
		Config: c, screen: &screen{out: c.Out, terminal: c.Terminal, color: c.Color, start: time.Now()},
		diary: diary, ledger: newLedger(), giveUp: giveUp, names: topics.Named(prefix),
	}
	err = d.tell(inner)
	if d.clear(); ctx.Err() == nil && d.checks != nil {
		err = errors.Join(err, d.verdict())
	}
	giveUp(nil)
	d.background.Wait()
	if closing := d.close(); err == nil {
		err = closing
	}
	if err == nil {
		d.farewell()
		return nil
	}
	if ctx.Err() != nil { // told to end: nothing is wrong
		return ctx.Err()
	}
	if path, keeping := diary.keep(); keeping == nil {
		err = fmt.Errorf("%w; the log of the service is in %s", err, path)
	}
	return err
}

// tell goes through the story.
func (d *demo) tell(ctx context.Context) error {
	d.introduce()
	for _, part := range []struct {
		title string
		show  func(context.Context) error
	}{
		{"Start", d.begin},
		{"Fill a pool from a file", d.fill},
		{"Answer requests", d.answer},
		{"Kill a process in the middle of it", d.crash},
		{"Ask again", d.repeat},
		{"Sell a small pool out", d.sellOut},
		{"Let the auditor in", d.audit},
	} {
		d.section(part.title)
		if err := part.show(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			d.clear()
			return fmt.Errorf("%s: %w", strings.ToLower(part.title[:1])+part.title[1:], err)
		}
	}
	return nil
}

func (d *demo) introduce() {
	d.line(d.paint(bold, "promopool demo"))
	d.line("")
	text := fmt.Sprintf("A shop gives promo codes to its customers: %s codes are loaded, %s requests come in, a process dies half way, and in the end everything is counted. No code goes out twice, no request is forgotten. It takes about half a minute and leaves nothing behind.",
		number(d.Codes), number(d.Requests))
	for _, line := range fold(text, width) {
		d.line(line)
	}
}

// begin starts the infrastructure and two processes of the service.
func (d *demo) begin(ctx context.Context) error {
	began := time.Now()
	waiting := d.while(ctx, "Kafka and PostgreSQL start; a missing PostgreSQL is fetched, once")
	stack, err := devstack.Start(ctx, devstack.Config{Partitions: partitions, Log: zerolog.New(d.diary).With().Timestamp().Logger()})
	waiting()
	if err != nil {
		return err
	}
	d.stack = stack
	d.undo = append(d.undo, stack.Close)
	d.background.Go(func() {
		select {
		case err := <-stack.Failed():
			d.giveUp(err)
		case <-ctx.Done():
		}
	})
	d.fact("Kafka, in this process", stack.Kafka)
	d.fact("PostgreSQL, a child of it", hostOf(stack.PostgresURL))
	d.fact("up after", seconds(time.Since(began)))

	began = time.Now()
	if err := d.migrate(ctx); err != nil {
		return err
	}
	// Told at the end, in any case: a process that is gone takes it.
	d.undo = append(d.undo, d.stopAll)
	for range 2 {
		n, err := d.serve(ctx)
		if err != nil {
			return err
		}
		d.fact(fmt.Sprintf("promopool serve, process %d", n.process.Pid()), n.url)
	}
	d.fact("up after", seconds(time.Since(began)))

	client := topics.Client([]string{stack.Kafka}, d.names.All()...)
	d.undo = append(d.undo, func() error { topics.Close(client); return nil })
	d.producer = producer.New(client, nil, zerolog.New(d.diary), prometheus.NewRegistry())
	outcomes, err := tail.Open(ctx, client, []string{d.names.Outcomes}, tail.From{Beginning: true})
	if err != nil {
		return fmt.Errorf("read outcomes: %w", err)
	}
	d.background.Go(func() {
		if err := outcomes.Follow(ctx, d.ledger.note); err != nil {
			d.giveUp(fmt.Errorf("read outcomes: %w", err))
		}
	})
	return nil
}

// hostOf is the part of a URL that says where.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "@")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// stopAll ends what still runs of the service. How it does was judged before.
func (d *demo) stopAll() error {
	var all sync.WaitGroup
	for _, n := range d.nodes {
		all.Go(func() { _ = n.stop() })
	}
	all.Wait()
	return nil
}

// close undoes what was begun, the last first.
func (d *demo) close() error {
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		errs = append(errs, d.undo[i]())
	}
	return errors.Join(errs...)
}

// api is the HTTP interface of a process.
func (d *demo) api(n *node) api {
	return api{base: n.url, client: &http.Client{Timeout: time.Minute}}
}

// check notes whether a promise was kept, with a figure for it.
func (d *demo) check(held bool, name, format string, args ...any) {
	c := check{name, held, fmt.Sprintf(format, args...)}
	d.checks = append(d.checks, c)
	if !held {
		d.say("%s", d.paint(red, "✗ "+name+": "+c.figure))
	}
}

// patient is how long to wait for answers: at a thousand a second, and then some.
func (d *demo) patient() time.Duration {
	return answerTime + time.Duration(d.Requests)*time.Millisecond
}

// until waits for something, and shows how it goes on.
func (d *demo) until(ctx context.Context, met func() bool, limit time.Duration, what string, show func()) error {
	for began := time.Now(); !met(); {
		if time.Since(began) > limit {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
		if show != nil {
			show()
		}
		if err := sleep(ctx, tick); err != nil {
			return err
		}
	}
	return nil
}

// tick is how often the demo looks.
const tick = 50 * time.Millisecond

// while shows that something takes its time, until the function it returns is
// called.
func (d *demo) while(ctx context.Context, what string) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		for sleep(ctx, 100*time.Millisecond) == nil {
			d.progress("%s … %s", what, seconds(time.Since(began)))
		}
	}()
	return func() {
		cancel()
		<-ended
		d.clear()
	}
}

// verdict lists what was shown.
func (d *demo) verdict() error {
	d.section("What you have seen")
	wide := 0
	for _, c := range d.checks {
		wide = max(wide, len([]rune(c.name)))
	}
	var broken []string
	for _, c := range d.checks {
		mark := d.paint(green, "✓")
		if !c.held {
			mark = d.paint(red, "✗")
			broken = append(broken, c.name)
		}
		d.line(inset + mark + " " + pad(c.name, wide+2) + c.figure)
	}
	if broken != nil {
		return fmt.Errorf("%d of %d checks did not hold: %s", len(broken), len(d.checks), strings.Join(broken, "; "))
	}
	return nil
}

func (d *demo) farewell() {
	d.line("")
	d.line(d.paint(green, fmt.Sprintf("All %d checks held, in %s.", len(d.checks), seconds(time.Since(d.start)))) + " Nothing is left behind.")
	d.line("")
	text := "Try it yourself: " + d.paint(bold, "promopool dev") + " starts the same and stays, " + d.paint(bold, "promopool --help") +
		" lists what you can do with it. README.md says more, docs/issuing.md what is true after a crash at any step and who repairs it."
	for _, line := range fold(text, width) {
		d.line(line)
	}
}
