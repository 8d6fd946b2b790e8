package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
)

var (
	errStalled  = errors.New("no progress")
	errReturned = errors.New("work returned before its generation ended")
)

// generation works on what gen assigns until gen ends or ctx does (nil), or
// until a worker fails or stalls (an error: the member is to leave the group).
func (g *Group) generation(ctx context.Context, gen *kafka.Generation, work Work) error {
	ctx, stop := context.WithCancel(ctx)
	w := g.startWorkers(ctx, gen, work)
	g.generations.Inc()
	g.assigned.Set(float64(len(w.all)))
	g.log.Info().Int32("generation", gen.ID).Int("partitions", len(w.all)).Msg("joined the group")

	leave := make(chan error, 1)
	ended := make(chan struct{})
	gen.Start(func(end context.Context) {
		defer close(ended)
		context.AfterFunc(end, stop)
		err := g.supervise(ctx, w)
		leaving := err != nil || end.Err() == nil && ctx.Err() != nil
		stop()
		w.drain()
		w.commit()
		g.assigned.Set(0)
		if leaving {
			// To return now would make the library join again. Until the member
			// leaves, heartbeats go on.
			leave <- err
			<-end.Done()
		}
	})
	select {
	case err := <-leave:
		return err
	case <-ended:
		return nil
	}
}

// supervise commits and watches while the workers work.
func (g *Group) supervise(ctx context.Context, w *workers) error {
	commit := time.NewTicker(commitEvery)
	defer commit.Stop()
	count := time.NewTicker(countEvery)
	defer count.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.failed:
			return err
		case <-commit.C:
			w.commit()
			if err := w.stalled(g.stall); err != nil {
				return err
			}
		case <-count.C:
			// The leader of the group assigns by what it sees when it joins, so
			// to join again is enough.
			if n := g.countPartitions(ctx); n > 0 && n != g.partitions {
				g.log.Info().Int("was", g.partitions).Int("is", n).Msg("the topic's partitions have changed, joining again")
				g.partitions = n
				return nil
			}
		}
	}
}

// workers are the goroutines of one generation and what they have done.
type workers struct {
	gen   *kafka.Generation
	point *crashpoint.Point
	topic string
	log   zerolog.Logger
	lost  prometheus.Counter

	all    []*worker
	done   chan struct{} // closed when all have returned
	failed chan error

	// guarded by mu
	mu      sync.Mutex
	offsets map[int]int64 // up to where each partition is done
	moved   bool          // since the last commit
	closed  bool          // no commits after the last

	failing bool // owned by commit
}

type worker struct {
	partition int
	progress  atomic.Int64 // nanoseconds since the start of the process
}

var started = time.Now()

func (g *Group) startWorkers(ctx context.Context, gen *kafka.Generation, work Work) *workers {
	w := &workers{
		gen:     gen,
		point:   g.point,
		topic:   g.topic,
		log:     g.log,
		lost:    g.lostCommits,
		done:    make(chan struct{}),
		failed:  make(chan error, 1),
		offsets: make(map[int]int64),
	}
	var running sync.WaitGroup
	for _, p := range gen.Assignments[g.topic] {
		one := &worker{partition: p.ID}
		one.moved()
		a := Assignment{
			Partition:  p.ID,
			Offset:     max(p.Offset, NoOffset), // the library says "from the first" as -2
			Generation: gen.ID,
			Commit:     func(offset int64) { w.reached(p.ID, offset) },
			Progress:   one.moved,
		}
		w.all = append(w.all, one)
		running.Go(func() { w.run(ctx, a, work) })
	}
	go func() {
		running.Wait()
		close(w.done)
	}()
	return w
}

// run does not recover: after a panic nothing that this process holds in memory
// can be trusted.
func (w *workers) run(ctx context.Context, a Assignment, work Work) {
	err := work(ctx, a)
	if err == nil && ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errReturned
	}
	select {
	case w.failed <- fmt.Errorf("partition %d: %w", a.Partition, err):
	default:
	}
}

func (w *worker) moved() { w.progress.Store(int64(time.Since(started))) }

func (w *workers) stalled(limit time.Duration) error {
	now := time.Since(started)
	for _, one := range w.all {
		if idle := now - time.Duration(one.progress.Load()); idle > limit {
			return fmt.Errorf("partition %d: %w for %s", one.partition, errStalled, idle.Round(time.Second))
		}
	}
	return nil
}

// drain waits for the workers to finish the batch in hand. One that does not is
// left behind: if it wakes up, it is fenced by the next owner, as one in
// another process would be, and can commit no offset.
func (w *workers) drain() {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		w.log.Error().Dur("waited", drainTimeout).Msg("a worker does not stop, going on without it")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// reached notes the offset up to which a partition is done.
func (w *workers) reached(partition int, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && offset > w.offsets[partition] {
		w.offsets[partition] = offset
		w.moved = true
	}
}

// commit sends the offsets of all partitions in one request when one has moved.
// What fails is sent again the next time.
func (w *workers) commit() {
	w.mu.Lock()
	offsets, moved := maps.Clone(w.offsets), w.moved
	w.moved = false
	w.mu.Unlock()
	if !moved {
		return
	}
	// The library has no way to end its wait, which lasts seconds at most.
	err := crashpoint.Do(context.Background(), w.point, func() error {
		return w.gen.CommitOffsets(map[string]map[int]int64{w.topic: offsets})
	})
	if err == nil {
		w.failing = false
		return
	}
	w.lost.Inc()
	if !w.failing {
		w.failing = true
		w.log.Warn().Err(err).Msg("commit offsets, retrying")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = true
}
