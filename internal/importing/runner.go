// Package importing fills pools from files. An upload is kept in the database
// in parts; a Runner, of which every process has one, reads it row by row and
// adds its codes in chunks, each one transaction with its place in the file.
// Wherever a process dies, the import goes on behind the last chunk that was
// committed, in whichever process sees it first: no code is lost or doubled.
// A chunk's codes can be issued from its commit on, while the rest is read.
package importing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"promopool/internal/domain"
)

// Errors of a Session.
var (
	// ErrClash: a code of the step is in the pool already; nothing was changed.
	ErrClash = errors.New("the pool has one of the codes already")
	// ErrPoolClosed: the pool is archived or gone; nothing was changed.
	ErrPoolClosed = errors.New("the pool takes no codes: it was archived or deleted")
	// ErrGenerated: the pool's codes are generated; nothing was changed.
	ErrGenerated = errors.New("the pool takes no files: its codes are generated")
	// ErrEnded: the import was ended by someone else; nothing was changed.
	ErrEnded = errors.New("the import has been ended")
)

// Store keeps imports.
type Store interface {
	// NextImport claims the oldest import that nobody works on, of a pool that
	// nobody imports into; nil: there is none. The claim ends with the session.
	NextImport(ctx context.Context) (Session, error)
	// ImportPart returns what is kept of the file from an offset on, some
	// hundred kilobytes; io.EOF at its end.
	ImportPart(ctx context.Context, task, offset int64) ([]byte, error)
	// DropImportBody forgets the file of an import that has ended. Safe to repeat.
	DropImportBody(ctx context.Context, task int64) error
	// SweepImports forgets what dead processes have left: uploads that have not
	// grown since the given time, and files of imports that have ended.
	SweepImports(ctx context.Context, stale time.Duration) error
}

// Session is the sole right to work on an import, and on imports into its
// pool. It is a connection to the database and dies with it: when it has
// returned an error other than those above it is lost, and whether the last
// step was made true is known by whoever claims the import next.
type Session interface {
	Job() Job
	// Now is the database's time. ErrPoolClosed.
	Now(ctx context.Context) (time.Time, error)
	// Taken returns those of the codes that the pool has.
	Taken(ctx context.Context, codes []string) (map[string]Origin, error)
	// Commit makes a step true, durably on return, and returns the import's
	// status. ErrClash, ErrPoolClosed, ErrEnded.
	Commit(ctx context.Context, s Step) (domain.ImportStatus, error)
	// Fail ends the import with a sentence for its sender. What is in stays.
	Fail(ctx context.Context, why string) error
	Close()
}

// Job is a claimed import.
type Job struct {
	Task     int64
	PoolID   string
	From     Position
	Layout   *domain.Layout // nil: the file was not looked at yet
	Attempts int            // claims since the last committed step, this one included
}

const (
	lanes       = 2           // imports at a time, into different pools
	poll        = time.Second // for what other processes received or left
	retry       = 200 * time.Millisecond
	stepTimeout = time.Minute // also for a chunk in hand when told to stop
	sweepEvery  = time.Minute
	staleUpload = 15 * time.Minute
	maxAttempts = 20
)

// Runner works on imports.
type Runner struct {
	store Store
	log   zerolog.Logger
	wake  chan struct{}

	rows    *prometheus.CounterVec
	ended   *prometheus.CounterVec
	seconds prometheus.Histogram
}

// New returns a runner that registers its metrics at reg.
func New(store Store, log zerolog.Logger, reg prometheus.Registerer) *Runner {
	r := &Runner{
		store: store,
		log:   log.With().Str("component", "importing").Logger(),
		wake:  make(chan struct{}, lanes),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_import_rows_total",
			Help: "Rows of files that this process has imported, by what became of them.",
		}, []string{"outcome"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_imports_total",
			Help: "Imports that ended in this process, by their status.",
		}, []string{"status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "promopool_import_chunk_seconds",
			Help:    "Time to make one chunk of an import true.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}),
	}
	for _, outcome := range []string{"added", "refused"} {
		r.rows.WithLabelValues(outcome)
	}
	for _, s := range []domain.ImportStatus{domain.ImportCompleted, domain.ImportCompletedWithRefusal, domain.ImportFailed} {
		r.ended.WithLabelValues(string(s))
	}
	reg.MustRegister(r.rows, r.ended, r.seconds)
	return r
}

// Wake tells the runner of a new import, which it would else find within a second.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and then finishes the chunk in hand.
func (r *Runner) Run(ctx context.Context) error {
	var g errgroup.Group
	for range lanes {
		g.Go(func() error {
			r.lane(ctx)
			return nil
		})
	}
	g.Go(func() error {
		r.sweep(ctx)
		return nil
	})
	return g.Wait()
}

func (r *Runner) lane(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		s, err := r.store.NextImport(ctx)
		switch {
		case err != nil:
			if ctx.Err() == nil && !failing {
				failing = true
				r.log.Warn().Err(err).Msg("look for imports, retrying")
			}
			r.pause(ctx, poll)
		case s == nil:
			failing = false
			r.pause(ctx, poll)
		default:
			failing = false
			r.work(ctx, s)
		}
	}
}

func (r *Runner) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-t.C:
	}
}

// work brings one import to its end, or as far as it gets.
func (r *Runner) work(ctx context.Context, s Session) {
	job := s.Job()
	log := r.log.With().Int64("task", job.Task).Str("pool_id", job.PoolID).Logger()
	log.Info().Int64("byte", job.From.Offset).Int64("line", job.From.Line).Int("attempt", job.Attempts).Msg("import goes on")
	status, err := r.fill(ctx, s)
	s.Close()
	switch {
	case err == nil:
		r.ended.WithLabelValues(string(status)).Inc()
		log.Info().Str("status", string(status)).Msg("import ended")
		if err := r.store.DropImportBody(ctx, job.Task); err != nil && ctx.Err() == nil {
			log.Warn().Err(err).Msg("drop the imported file, left to the sweep")
		}
	case ctx.Err() != nil:
		log.Info().Msg("import left to another process")
	case errors.Is(err, ErrEnded):
		log.Info().Msg("import was ended from outside")
	default:
		log.Warn().Err(err).Msg("import stopped, retrying")
		r.pause(ctx, retry)
	}
}

// fill reads chunks ahead of the one that is being committed.
func (r *Runner) fill(ctx context.Context, s Session) (domain.ImportStatus, error) {
	job := s.Job()
	if job.Attempts > maxAttempts {
		return r.fail(ctx, s, fmt.Errorf("given up after %d attempts at the rows behind line %d, the reason is in the service's log", maxAttempts, job.From.Line))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks := make(chan chunk, 1)
	var unread error // why reading ended; set before chunks is closed
	go func() {
		defer close(chunks)
		unread = r.read(ctx, job, chunks)
	}()
	wary := true
	for c := range chunks {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		status, err := r.step(ctx, s, c, &wary)
		switch {
		case errors.Is(err, ErrPoolClosed), errors.Is(err, ErrGenerated):
			return r.fail(ctx, s, err)
		case err != nil || c.last:
			return status, err
		}
	}
	if errors.Is(unread, ErrFile) {
		return r.fail(ctx, s, unread)
	}
	return "", unread
}

// read cuts the file into chunks from the job's position on.
func (r *Runner) read(ctx context.Context, job Job, chunks chan<- chunk) error {
	body := &body{ctx: ctx, store: r.store, task: job.Task, at: job.From.Offset}
	p := NewParser(body, job.From, job.Layout)
	rows := firstRows(job)
	for {
		c, err := readChunk(p, rows)
		if err != nil {
			return err
		}
		select {
		case chunks <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
		if c.last {
			return nil
		}
		rows = min(chunkRows, rows*growth)
	}
}

// step makes a chunk true. To look every code up costs as much as to add it,
// and codes that the pool has are few as a rule: they are looked up at first,
// and when the database has refused one, until a chunk has none (wary).
func (r *Runner) step(ctx context.Context, s Session, c chunk, wary *bool) (domain.ImportStatus, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	began := time.Now()
	now, err := s.Now(ctx)
	if err != nil {
		return "", err
	}
	step := decide(c, now, nil)
	var status domain.ImportStatus
	if !*wary || step.Added == 0 {
		status, err = s.Commit(ctx, step)
		*wary = errors.Is(err, ErrClash)
	}
	if *wary && step.Added > 0 {
		taken, lookErr := s.Taken(ctx, codes(step.Lots))
		if lookErr != nil {
			return "", lookErr
		}
		*wary = len(taken) > 0
		step = decide(c, now, taken)
		status, err = s.Commit(ctx, step)
	}
	if err != nil {
		return "", fmt.Errorf("commit rows up to line %d: %w", c.end.Line, err)
	}
	// Crash point: the chunk is true, and so is the position behind it.
	r.seconds.Observe(time.Since(began).Seconds())
	r.rows.WithLabelValues("added").Add(float64(step.Added))
	r.rows.WithLabelValues("refused").Add(float64(len(step.Refusals)))
	return status, nil
}

func codes(lots []Lot) []string {
	var all []string
	for _, l := range lots {
		all = append(all, l.Codes...)
	}
	return all
}

func (r *Runner) fail(ctx context.Context, s Session, why error) (domain.ImportStatus, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	return domain.ImportFailed, s.Fail(ctx, why.Error())
}

func (r *Runner) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := r.store.SweepImports(ctx, staleUpload); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("sweep imports, retrying")
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// body reads a file from the store, part by part.
type body struct {
	ctx   context.Context // of the one import that it serves
	store Store
	task  int64
	at    int64
	part  []byte
	err   error // stays: a parser asks again for every row near the end
}

func (b *body) Read(p []byte) (int, error) {
	for len(b.part) == 0 && b.err == nil {
		b.part, b.err = b.store.ImportPart(b.ctx, b.task, b.at)
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.part)
	b.part = b.part[n:]
	b.at += int64(n)
	return n, nil
}

var _ io.Reader = (*body)(nil)
