package customers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
)

// Store is what erasing needs of the store. Each call is durable on return and safe
// to repeat; after an error ask again.
type Store interface {
	Lists
	// BeginErasure notes that a customer is to be erased, or returns the erasure of
	// the customer that is under way.
	BeginErasure(ctx context.Context, who domain.Actor, customer string) (domain.Erasure, error)
	// Erasure returns an erasure as it is now.
	Erasure(ctx context.Context, no int64) (domain.Erasure, error)
	// OpenErasures returns those that are not done and were begun so long ago.
	OpenErasures(ctx context.Context, ago time.Duration) ([]domain.Erasure, error)
	// Listed reports whether all codes are listed that were issued before it began.
	Listed(ctx context.Context, e domain.Erasure) (bool, error)
	// ErasePiece erases some rows, and reports whether there may be more. It finds
	// those codes only that are listed.
	ErasePiece(ctx context.Context, e domain.Erasure, atMost int) (more bool, err error)
	// MarkErasure keeps what the topics held when the rows were erased, once.
	MarkErasure(ctx context.Context, e domain.Erasure, marks domain.ErasureMarks) error
	// FinishErasure forgets the id when the outbox, too, has published what it had
	// then, and reports whether it is forgotten, be it by another.
	FinishErasure(ctx context.Context, e domain.Erasure) (bool, error)
}

// Topics is what erasing needs to know of Kafka.
type Topics interface {
	// Marks are what the request topics hold now.
	Marks(ctx context.Context) (domain.ErasureMarks, error)
	// Answered reports whether all of that is answered, and the answers published.
	Answered(ctx context.Context, marks domain.ErasureMarks) (bool, error)
	// Held are the topics that customers are named in, with until when they hold what
	// is in them now.
	Held(ctx context.Context) ([]domain.Held, error)
}

const (
	// piece is how many rows are erased in a transaction: each of the codes is locked,
	// and PostgreSQL has room for some thousand locks.
	piece = 200
	// patience is how long whoever asks for an erasure waits for it.
	patience = 10 * time.Second
	// kafkaTime bounds the wait for what Kafka says before anything begins.
	kafkaTime = 4 * time.Second
	// settled is how often is looked whether all is published.
	settled = 50 * time.Millisecond
	// left is how old an erasure is that nobody waits for any more.
	left = 2 * patience
	// resume is how often those are looked for.
	resume = 5 * time.Second
)

// Eraser erases customers.
type Eraser struct {
	store  Store
	topics Topics
	log    zerolog.Logger
	ended  *prometheus.CounterVec
}

// NewEraser returns an eraser that registers its metrics at reg.
func NewEraser(store Store, topics Topics, log zerolog.Logger, reg prometheus.Registerer) *Eraser {
	e := &Eraser{
		store: store, topics: topics, log: log.With().Str("component", "customers").Logger(),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_customers_erased_total", Help: "Customers that this process has erased, by how it ended: asked, when whoever asked was told of the end; resumed, when nobody waited any more."}, []string{"how"}),
	}
	reg.MustRegister(e.ended)
	for _, how := range []string{asked, resumed} {
		e.ended.WithLabelValues(how)
	}
	return e
}

// How an erasure ends.
const (
	asked   = "asked"
	resumed = "resumed"
)

// Erase erases a customer, and returns how far it came within its patience: what is
// not done then goes on by itself, and to ask again tells how far it is. held are the
// topics that still name the customer.
func (e *Eraser) Erase(ctx context.Context, who domain.Actor, customer string) (done domain.Erasure, held []domain.Held, err error) {
	if domain.IsPseudonym(customer) {
		return done, nil, domain.ErrPseudonym
	}
	asking, cancel := context.WithTimeout(ctx, kafkaTime)
	held, err = e.topics.Held(asking)
	cancel()
	if err != nil {
		return done, nil, fmt.Errorf("%w: %w", domain.ErrTopicsAway, err)
	}
	begun, err := e.store.BeginErasure(ctx, who, customer)
	if err != nil {
		return done, nil, err
	}
	working, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := e.work(working, begun); {
	case err == nil:
		e.ended.WithLabelValues(asked).Inc()
		e.log.Info().Int64("erasure", begun.No).Str("actor", string(who)).Msg("customer erased")
	case !errors.Is(err, context.DeadlineExceeded):
		e.log.Warn().Err(err).Int64("erasure", begun.No).Msg("erase customer, will go on later")
	}
	done, err = e.store.Erasure(ctx, begun.No)
	return done, held, err
}

// work does what is left of an erasure, or as much as ctx lets it.
func (e *Eraser) work(ctx context.Context, x domain.Erasure) error {
	if x.Marks == nil {
		if err := e.list(ctx, x); err != nil {
			return err
		}
		if err := e.rowsOf(ctx, x); err != nil {
			return err
		}
		// Crash point customers.mark_erasure: the rows are erased, and what others have read before may
		// still be told. Whoever goes on finds no rows, and sets the marks later.
		marks, err := e.topics.Marks(ctx)
		if err != nil {
			return err
		}
		if err := e.store.MarkErasure(ctx, x, marks); err != nil {
			return err
		}
		if x, err = e.store.Erasure(ctx, x.No); err != nil {
			return err
		}
	}
	return e.settle(ctx, x)
}

// list sees to it that all codes are listed that the customer had when it began.
func (e *Eraser) list(ctx context.Context, x domain.Erasure) error {
	for ctx.Err() == nil {
		listed, err := e.store.Listed(ctx, x)
		if err != nil || listed {
			return err
		}
		start := time.Now()
		if _, err := e.store.ListCodes(ctx, step); err != nil {
			return err
		}
		wait(ctx, time.Since(start))
	}
	return ctx.Err()
}

// rowsOf erases rows, and rests as long as each piece takes.
func (e *Eraser) rowsOf(ctx context.Context, x domain.Erasure) error {
	for ctx.Err() == nil {
		start := time.Now()
		more, err := e.store.ErasePiece(ctx, x, piece)
		if err != nil || !more {
			return err
		}
		wait(ctx, time.Since(start))
	}
	return ctx.Err()
}

// settle waits until all is published that was read before the rows were erased.
func (e *Eraser) settle(ctx context.Context, x domain.Erasure) error {
	for ctx.Err() == nil {
		answered, err := e.topics.Answered(ctx, *x.Marks)
		if err == nil && answered {
			if answered, err = e.store.FinishErasure(ctx, x); answered {
				return nil
			}
		}
		if err != nil {
			return err
		}
		wait(ctx, settled)
	}
	return ctx.Err()
}

// Run goes on with erasures that nobody waits for any more, until ctx ends. Several
// processes may do it at once: they take turns.
func (e *Eraser) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		open, err := e.store.OpenErasures(ctx, left)
		for _, x := range open {
			if err = e.resume(ctx, x); err != nil {
				break
			}
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn().Err(err).Msg("erase customers, retrying")
		}
		wait(ctx, resume)
	}
	return nil
}

// resume goes on with one for some time: others may be waiting too.
func (e *Eraser) resume(ctx context.Context, x domain.Erasure) error {
	working, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := e.work(working, x)
	switch {
	case err == nil:
		e.ended.WithLabelValues(resumed).Inc()
		e.log.Info().Int64("erasure", x.No).Str("actor", string(x.Actor)).Msg("customer erased")
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, domain.ErrNotFound):
		return nil
	}
	return err
}
