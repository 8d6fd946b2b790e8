package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"promopool/internal/child"
)

// service is (d): a promopool serve of its own drains the backlog, request to
// outcome readable, everything included; then, while it runs on, what latency
// it has under loads told by the rate just seen.
func (w *world) service(ctx context.Context, r *Round) error {
	return w.withService(ctx, func(s *served, ends []int64) error {
		var err error
		if r.D, err = w.drain(ctx, s, ends); err != nil {
			return err
		}
		w.say("  d  %v", r.D)
		return w.loads(ctx, s, r)
	})
}

// scarceMark sets the stock below which a pool is scarce, in the run's database.
const scarceMark = "CREATE OR REPLACE FUNCTION scarce_mark() RETURNS bigint LANGUAGE sql STABLE RETURN %s"

// scarce is (e): the same drain from a pool that stays scarce, with codes enough:
// what makes a pool scarce is put beyond what it has. A really scarce one would
// run out in a fraction of a second.
func (w *world) scarce(ctx context.Context, r *Round) (err error) {
	w.requests.pool = scarcePoolID
	defer func() { w.requests.pool = poolID }()
	if err := w.ensure(ctx, w.Requests); err != nil {
		return err
	}
	if _, err := w.db.Exec(ctx, fmt.Sprintf(scarceMark, "1000000000000")); err != nil {
		return err
	}
	defer func() {
		_, e := w.db.Exec(ctx, fmt.Sprintf(scarceMark, "(SELECT 2 * 200 * s.partitions FROM service s)"))
		err = errors.Join(err, e)
	}()
	if _, err := w.db.Exec(ctx, "UPDATE pools SET mode = 'scarce' WHERE id = $1", scarcePoolID); err != nil {
		return err
	}
	if _, err := w.backlog(ctx, w.Requests); err != nil {
		return err
	}
	if r.E, err = w.drainAlone(ctx); err != nil {
		return err
	}
	w.say("  e  %v", r.E)
	var mode string
	if err := w.db.QueryRow(ctx, "SELECT mode FROM pools WHERE id = $1", scarcePoolID).Scan(&mode); err != nil {
		return err
	}
	if mode != "scarce" {
		return fmt.Errorf("the pool has become %s", mode)
	}
	return nil
}

// withService runs f beside a service, which was started where the outcomes
// ended at ends, and then stops it.
func (w *world) withService(ctx context.Context, f func(s *served, ends []int64) error) (err error) {
	ends, err := w.ends(ctx, w.names.Outcomes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stopAll()) }()
	s, err := w.start()
	if err != nil {
		return err
	}
	if err := f(s, ends); err != nil {
		return fmt.Errorf("%w\n%s", err, s.log.tail())
	}
	return nil
}

// start starts a service that stopAll will stop.
func (w *world) start() (*served, error) {
	s, err := w.serve()
	if err == nil {
		w.services = append(w.services, s)
	}
	return s, err
}

// stopAll stops the services.
func (w *world) stopAll() error {
	var errs []error
	for _, s := range w.services {
		if err := stop(s.process, 20*time.Second); err != nil {
			errs = append(errs, fmt.Errorf("%w\n%s", err, s.log.tail()))
		}
	}
	w.services = nil
	return errors.Join(errs...)
}

// drainAlone has a service of its own answer the backlog.
func (w *world) drainAlone(ctx context.Context) (rate Rate, err error) {
	err = w.withService(ctx, func(s *served, ends []int64) error {
		rate, err = w.drain(ctx, s, ends)
		return err
	})
	return rate, err
}

// drain waits until a service that has just been started has answered the
// backlog.
func (w *world) drain(ctx context.Context, s *served, ends []int64) (Rate, error) {
	before := spend(s.process.Pid())
	m, err := w.watch(ctx, w.names.Outcomes, sum(ends), int64(w.Requests), nil)
	if err != nil {
		return Rate{}, err
	}
	w.took(w.Requests)
	s.first = m.samples[0].at.Sub(s.started)
	rate := Rate{m.steady(), spend(s.process.Pid()).since(before).per(m.total())}
	if rate.PerSecond == 0 {
		err = fmt.Errorf("%d requests are too few to tell a rate", w.Requests)
	}
	return rate, err
}

// loads measures latencies, if they are wanted.
func (w *world) loads(ctx context.Context, s *served, r *Round) error {
	metrics, err := s.metrics(ctx)
	if err != nil {
		return err
	}
	if err := keep(w.MetricsDir, fmt.Sprintf("drain-%d.txt", time.Now().Unix()), metrics); err != nil {
		return err
	}
	if !w.wants("latency") {
		return nil
	}
	sent := w.issued
	if !w.warm {
		w.warm = true
		if _, err := w.latency(ctx, 0.1*r.D.PerSecond, firstTime); err != nil {
			return fmt.Errorf("warm up at a tenth: %w", err)
		}
	}
	if r.Lone, err = w.lone(ctx); err != nil {
		return fmt.Errorf("latency of lone requests: %w", err)
	}
	w.say("     %-10s %9.0f/s: p50 %.1f ms, p99 %.1f ms", "lone", r.Lone.Rate, r.Lone.P50, r.Lone.P99)
	for _, load := range []struct {
		name string
		part float64
		into *Latency
	}{{"a tenth", 0.1, &r.Tenth}, {"half", 0.5, &r.Half}, {"full speed", 1, &r.Full}} {
		if *load.into, err = w.latency(ctx, load.part*r.D.PerSecond, measuring); err != nil {
			return fmt.Errorf("latency at %s: %w", load.name, err)
		}
		w.say("     %-10s %9.0f/s: p50 %.1f ms, p99 %.1f ms", load.name, load.into.Rate, load.into.P50, load.into.P99)
		metrics, err := s.metrics(ctx)
		if err != nil {
			return err
		}
		if err := keep(w.MetricsDir, fmt.Sprintf("latency-%.1f-%d.txt", load.part, time.Now().Unix()), metrics); err != nil {
			return err
		}
	}
	w.lastLoad = int(w.issued - sent)
	return nil
}

// served is a service in a process of its own.
type served struct {
	process *child.Process
	log     *tailBuffer
	started time.Time
	first   time.Duration // from start to the first outcome; since drain
}

func (w *world) serve() (*served, error) {
	s := &served{log: &tailBuffer{}, started: time.Now()}
	cmd := exec.Command(w.binary, "serve", "--http-addr", "127.0.0.1:0", "--topic-prefix", w.prefix, "--database-url", w.database)
	for _, b := range w.brokers {
		cmd.Args = append(cmd.Args, "--kafka", b)
	}
	cmd.Env, cmd.Stderr = environment(), s.log
	var err error
	s.process, err = child.Start(cmd, syscall.SIGKILL)
	return s, err
}

var serving = regexp.MustCompile(`"http":"(http://[^"]+)"`)

// base is where the service's HTTP interface is, once it has told.
func (s *served) base() (base string, told bool) {
	found := serving.FindSubmatch(s.log.tail())
	if found == nil {
		return "", false
	}
	return string(found[1]), true
}

func (s *served) metrics(ctx context.Context) ([]byte, error) {
	base, told := s.base()
	if !told {
		return nil, errors.New("the service did not tell its address")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// tailBuffer keeps the last of what is written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 64<<10 {
		b.buf.Next(b.buf.Len() - 32<<10)
	}
	return b.buf.Write(p)
}

func (b *tailBuffer) tail() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}
