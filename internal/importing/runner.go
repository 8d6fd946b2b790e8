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
	// ErrBusy: the pool, or codes of it, were locked for too long; nothing was
	// changed.
	ErrBusy = errors.New("the pool is busy")
)

// Store keeps imports.
type Store interface {
	// NextImport claims the oldest import that nobody works on, of a pool that
	// nobody imports into; nil: there is none. The claim ends with the session.
	NextImport(ctx context.Context) (Session, error)
	// ImportPart returns what is kept of the file from an offset on, some
	// hundred kilobytes; io.EOF at its end.
	ImportPart(ctx context.Context, task, offset int64) ([]byte, error)
	// Import tells how far an import is.
	Import(ctx context.Context, task int64) (domain.Import, error)
	// DropImportBody forgets the file of an import that has ended, if it is not
	// to be kept any longer. Safe to repeat.
	DropImportBody(ctx context.Context, task int64) error
	// DropSeen forgets the codes that are remembered of the import's file. Safe to
	// repeat.
	DropSeen(ctx context.Context, task int64) error
	// SweepImports forgets uploads that have not grown for the given time, since
	// their process is dead, files that are kept no longer, and what the dead have
	// left of DropSeen.
	SweepImports(ctx context.Context, stale time.Duration) error
	// Gather lays codes that moves have left scattered down anew, in short
	// transactions, in pools that nobody imports into.
	Gather(ctx context.Context) error
}

// Session is the sole right to work on an import, and on imports into its
// pool. It is a connection to the database and dies with it: when it has
// returned an error other than those above it is lost, and whether the last
// step was made true is known by whoever claims the import next.
type Session interface {
	Job() Job
	// Now is the database's time, and whether the pool's codes are for many uses.
	// ErrPoolClosed.
	Now(ctx context.Context) (now time.Time, multiUse bool, err error)
	// Find returns those of the codes that the pool has.
	Find(ctx context.Context, codes []string) (map[string]Found, error)
	// Commit makes a step true, durably on return, but for its moves, which it
	// notes: they are none of the rows counted so far. The import ends with its
	// last step if none are noted. ErrClash, ErrPoolClosed, ErrEnded, ErrBusy.
	Commit(ctx context.Context, s Step) (Result, error)
	// Move makes some thousand of the moves that are noted true, durably on return;
	// codes that are issued by then are refused. Behind the last step, at whose
	// place it is; the import ends with the last of them. ErrPoolClosed, ErrEnded,
	// ErrBusy.
	Move(ctx context.Context, last Step) (Result, error)
	// Seen returns those of the codes that steps of this dry run had.
	Seen(ctx context.Context, codes []string) ([]string, error)
	// Rehearse counts a step of a dry run and remembers the codes that it
	// would have taken, durably on return; the pool stays as it is. ErrEnded.
	Rehearse(ctx context.Context, s Step, codes []string) (Result, error)
	// Fail ends the import with a sentence for its sender. What is in stays.
	Fail(ctx context.Context, why string) error
	Close()
}

// Result is what has become true with a step.
type Result struct {
	Status    domain.ImportStatus
	Added     int64
	Moved     int64
	Unchanged int64
	Refused   int64
}

// Job is a claimed import.
type Job struct {
	Task      int64
	PoolID    string
	Bytes     int64 // of the file
	MediaType string
	Options   domain.ImportOptions
	From      Position
	Done      int64          // bytes of the file before From, at least
	Layout    *domain.Layout // nil: the file was not looked at yet
	Attempts  int            // claims since the last committed step, this one included
}

const (
	lanes       = 2           // imports at a time, into different pools
	poll        = time.Second // for what other processes received or left
	retry       = 200 * time.Millisecond
	stepTimeout = time.Minute // also for a chunk in hand when told to stop
	watchEvery  = 500 * time.Millisecond
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
	for _, outcome := range []string{"added", "moved", "unchanged", "refused", "rehearsed"} {
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
	watched, end := context.WithCancelCause(ctx)
	go r.watch(watched, job.Task, end)
	status, err := r.fill(watched, s)
	cancelled := errors.Is(context.Cause(watched), ErrEnded)
	end(nil)
	s.Close()
	switch {
	case err == nil:
		log.Info().Str("status", string(status)).Msg("import ended")
		r.ended.WithLabelValues(string(status)).Inc()
		r.drop(ctx, log, job.Task)
	case cancelled || errors.Is(err, ErrEnded):
		log.Info().Msg("import was ended from outside")
		r.drop(ctx, log, job.Task)
	case ctx.Err() != nil:
		log.Info().Msg("import left to another process")
	default:
		log.Warn().Err(err).Msg("import stopped, retrying")
		r.pause(ctx, retry)
	}
}

// watch ends the work on an import that is cancelled, in whichever process. A
// chunk that is committed afterwards would change nothing, but cost its time.
func (r *Runner) watch(ctx context.Context, task int64, end context.CancelCauseFunc) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		// That the database is away is the worker's to say.
		if i, err := r.store.Import(ctx, task); err == nil && i.Status == domain.ImportCancelled {
			end(ErrEnded)
			return
		}
	}
}

// drop forgets what an import that has ended needs no more.
func (r *Runner) drop(ctx context.Context, log zerolog.Logger, task int64) {
	if err := errors.Join(r.store.DropImportBody(ctx, task), r.store.DropSeen(ctx, task)); err != nil && ctx.Err() == nil {
		log.Warn().Err(err).Msg("drop what an import needs no more, left to the sweep")
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
		res, err := r.advance(ctx, s, c, &wary)
		for err == nil && c.last && !res.Status.Ended() {
			res, err = r.move(ctx, s, c)
		}
		switch {
		case errors.Is(err, ErrPoolClosed), errors.Is(err, ErrGenerated):
			return r.fail(ctx, s, err)
		case err != nil:
			return "", err
		case res.Status.Ended():
			return res.Status, nil
		}
	}
	if errors.Is(unread, ErrFile) {
		return r.fail(ctx, s, unread)
	}
	return "", unread
}

// read cuts the file into chunks from the job's position on.
func (r *Runner) read(ctx context.Context, job Job, chunks chan<- chunk) error {
	file := File{
		Bytes: &body{ctx: ctx, store: r.store, task: job.Task, size: job.Bytes}, Size: job.Bytes,
		MediaType: job.MediaType, Options: job.Options,
	}
	p, err := Open(file, job.From, job.Layout)
	if err != nil {
		return err
	}
	defer p.Close()
	rows, done := firstRows(job), job.Done
	for {
		c, err := readChunk(p, rows)
		if err != nil {
			return err
		}
		c.done = max(c.done, done) // another release may have read further ahead
		done = c.done
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

// advance makes a chunk true, or says what would be.
func (r *Runner) advance(ctx context.Context, s Session, c chunk, wary *bool) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if s.Job().Options.DryRun {
		return r.rehearse(ctx, s, c)
	}
	return r.patiently(ctx, c, func(ctx context.Context) (Result, error) { return r.step(ctx, s, c, wary) })
}

// move makes some of the moves true that the chunks have noted. They wait for the
// whole file, so that they can be made in the order in which the codes lie: what
// they leave between them is laid together on the way.
func (r *Runner) move(ctx context.Context, s Session, c chunk) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	return r.patiently(ctx, c, func(ctx context.Context) (Result, error) {
		now, _, err := s.Now(ctx)
		if err != nil {
			return Result{}, err
		}
		return s.Move(ctx, Step{At: now, End: c.end, Done: c.done, Layout: c.layout, Last: true})
	})
}

// patiently tries a transaction again while the pool is busy, and counts what it
// has made true. The pool is free in between, each time for longer.
func (r *Runner) patiently(ctx context.Context, c chunk, try func(context.Context) (Result, error)) (Result, error) {
	hand, cancel := inHand(ctx)
	defer cancel()
	began := time.Now()
	res, err := try(hand)
	for wait := retry; errors.Is(err, ErrBusy) && ctx.Err() == nil; wait = min(2*wait, poll) {
		r.pause(ctx, wait)
		res, err = try(hand)
	}
	if err != nil {
		return Result{}, fmt.Errorf("commit rows up to line %d: %w", c.end.Line, err)
	}
	// Crash here: the step is true, and so is the position behind it.
	r.seconds.Observe(time.Since(began).Seconds())
	r.rows.WithLabelValues("added").Add(float64(res.Added))
	r.rows.WithLabelValues("moved").Add(float64(res.Moved))
	r.rows.WithLabelValues("unchanged").Add(float64(res.Unchanged))
	r.rows.WithLabelValues("refused").Add(float64(res.Refused))
	return res, nil
}

// step makes a chunk true. To look every code up costs as much as to add it, and
// codes that the pool has are few as a rule: they are looked up at first, and when
// the database has refused one, until a chunk has none (wary).
func (r *Runner) step(ctx context.Context, s Session, c chunk, wary *bool) (Result, error) {
	now, multiUse, err := s.Now(ctx)
	if err != nil {
		return Result{}, err
	}
	step := decide(c, now, multiUse, nil)
	if !*wary || step.Added == 0 {
		res, err := s.Commit(ctx, step)
		if !errors.Is(err, ErrClash) {
			return res, err
		}
		*wary = true
	}
	found, err := s.Find(ctx, codes(step.Lots))
	if err != nil {
		return Result{}, err
	}
	*wary = len(found) > 0
	return s.Commit(ctx, decide(c, now, multiUse, found))
}

// inHand is the context of a chunk in hand: it outlives the order to stop, but
// not the end of the import.
func inHand(ctx context.Context) (context.Context, context.CancelFunc) {
	chunk, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrEnded) {
			cancel()
		}
	})
	return chunk, func() { stop(); cancel() }
}

// rehearse says what step would make of a chunk, and fills nothing. Codes that an
// earlier step had are not in the pool, so they are looked up beside it.
func (r *Runner) rehearse(ctx context.Context, s Session, c chunk) (Result, error) {
	ctx, cancel := inHand(ctx)
	defer cancel()
	now, multiUse, err := s.Now(ctx)
	if err != nil {
		return Result{}, err
	}
	step := decide(c, now, multiUse, nil)
	wanted := codes(step.Lots)
	found, err := s.Find(ctx, wanted)
	if err != nil {
		return Result{}, err
	}
	seen, err := s.Seen(ctx, wanted)
	if err != nil {
		return Result{}, err
	}
	for _, code := range seen {
		f := found[code]
		f.Named = true
		found[code] = f
	}
	step = decide(c, now, multiUse, found)
	res, err := s.Rehearse(ctx, step, accepted(c.rows, step))
	if err != nil {
		return Result{}, fmt.Errorf("rehearse rows up to line %d: %w", step.End.Line, err)
	}
	r.rows.WithLabelValues("rehearsed").Add(float64(step.Rows))
	return res, nil
}

// accepted are the codes of a step's rows that are not refused.
func accepted(rows []Row, s Step) []string {
	refused := make(map[int64]bool, len(s.Refusals))
	for _, r := range s.Refusals {
		refused[r.Line] = true
	}
	all := make([]string, 0, len(rows)-len(refused))
	for i := range rows {
		if row := &rows[i]; !refused[row.Line] {
			all = append(all, row.Code)
		}
	}
	return all
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
		if err := r.store.Gather(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("lay scattered codes down anew, retrying")
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// body is a file in the store, of which one part is at hand.
type body struct {
	ctx   context.Context // of the one import that it serves
	store Store
	task  int64
	size  int64
	first int64 // byte of part
	part  []byte
	err   error // stays: who reads asks again for every row near the end
}

// ReadAt reads from any place; in order it costs least.
func (b *body) ReadAt(p []byte, offset int64) (n int, _ error) {
	for n < len(p) {
		at := offset + int64(n)
		if at >= b.size {
			return n, io.EOF
		}
		if at < b.first || at >= b.first+int64(len(b.part)) {
			if err := b.load(at); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], b.part[at-b.first:])
	}
	return n, nil
}

func (b *body) load(at int64) error {
	if b.err != nil {
		return b.err
	}
	b.part, b.err = b.store.ImportPart(b.ctx, b.task, at)
	if errors.Is(b.err, io.EOF) {
		b.err = fmt.Errorf("the file of import %d ends at %d of %d bytes", b.task, at, b.size)
	}
	b.first = at
	return b.err
}

var _ io.ReaderAt = (*body)(nil)
