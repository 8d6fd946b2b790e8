package bench

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// Scale measures how several processes drain a backlog beside one, and how long
// partitions stand still while one joins or leaves.
func Scale(ctx context.Context, c Config) (*Figures, error) {
	return in(ctx, c, func(ctx context.Context, w *world) (*Figures, error) { return w.scale(ctx) })
}

func (w *world) scale(ctx context.Context) (*Figures, error) {
	if err := w.createCampaign(ctx); err != nil {
		return nil, err
	}
	if err := w.createPool(ctx, poolID, 3*w.Requests); err != nil {
		return nil, err
	}
	if err := w.warmUpDrain(ctx); err != nil {
		return nil, err
	}
	f := &Figures{Settings: w.settings}
	for i := range w.Rounds {
		w.say("round %d of %d", i+1, w.Rounds)
		one, err := w.scaleRound(ctx, f)
		if err != nil {
			return nil, err
		}
		if err := w.pauses(ctx, f, one/3); err != nil {
			return nil, fmt.Errorf("join and leave: %w", err)
		}
	}
	return f, w.verify(ctx)
}

// scaleRound drains with 1, 2 and 4 processes and returns the rate of one.
func (w *world) scaleRound(ctx context.Context, f *Figures) (one float64, err error) {
	if err := w.ensure(ctx, 3*w.Requests); err != nil {
		return 0, err
	}
	for _, n := range []int{1, 2, 4} {
		if _, err := w.backlog(ctx, w.Requests); err != nil {
			return 0, err
		}
		rate, err := w.drainTogether(ctx, n)
		if err != nil {
			return 0, fmt.Errorf("%d processes: %w", n, err)
		}
		w.say("  %d processes: %9.0f/s", n, rate)
		f.add(fmt.Sprintf("processes: %d", n), "requests/s", rate)
		if n == 1 {
			one = rate
			continue
		}
		f.add(fmt.Sprintf("processes: %d / 1", n), "", rate/one)
	}
	return one, nil
}

// drainTogether has n services answer the backlog and returns the rate from when
// each has its partitions until a tenth of the backlog is left.
func (w *world) drainTogether(ctx context.Context, n int) (rate float64, err error) {
	ends, err := w.ends(ctx, w.names.Outcomes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.stopAll()) }()
	for range n {
		if _, err := w.start(); err != nil {
			return 0, err
		}
	}
	var joined time.Time
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		joined, err = w.awaitMembers(inner, n)
		return err
	})
	var m *meter
	all.Go(func() (err error) {
		m, err = w.watch(inner, w.names.Outcomes, sum(ends), int64(w.Requests), nil)
		return err
	})
	if err := all.Wait(); err != nil {
		return 0, err
	}
	w.took(w.Requests)
	rate = m.between(joined, 0.9)
	if rate == 0 {
		err = fmt.Errorf("the backlog was gone before all %d had joined: take a larger one", n)
	}
	return rate, err
}

// awaitMembers returns when a group of n members has come to rest, each with
// partitions.
func (w *world) awaitMembers(ctx context.Context, n int) (time.Time, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; {
		res, err := w.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{w.names.IssuingGroup}})
		if err != nil {
			return time.Time{}, err
		}
		busy := 0
		for _, g := range res.Groups {
			for _, m := range g.Members {
				if g.GroupState == "Stable" && len(m.MemberAssignments.Topics) > 0 {
					busy++
				}
			}
		}
		if busy == n {
			return time.Now(), nil
		}
		if time.Now().After(deadline) {
			return time.Time{}, fmt.Errorf("%d members of %d have partitions after %v", busy, n, patience)
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-tick.C:
		}
	}
}

const (
	// joinAt and leaveAt are when a process starts and when it is told to end,
	// after the start of a load; calm is how long that may tell in the outcomes.
	joinAt  = 4 * time.Second
	leaveAt = 9 * time.Second
	calm    = 4 * time.Second
)

// pauses measures how long partitions stand still under a steady load: the
// longest time without an outcome of one, while there are requests.
func (w *world) pauses(ctx context.Context, f *Figures, rate float64) (err error) {
	l, err := w.newLoad(ctx, rate, leaveAt+calm-warming)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stopAll()) }()
	if _, err := w.start(); err != nil {
		return err
	}
	if _, err := w.awaitMembers(ctx, 1); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return l.run(ctx) })
	all.Go(func() error {
		time.Sleep(joinAt)
		other, err := w.start()
		if err != nil {
			return err
		}
		if _, err := w.awaitMembers(ctx, 2); err != nil {
			return err
		}
		time.Sleep(time.Until(l.start.Add(leaveAt)))
		if err := other.process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		_, err = w.awaitMembers(ctx, 1)
		return err
	})
	if err := all.Wait(); err != nil {
		return err
	}
	for _, phase := range []struct {
		what     string
		from, to time.Duration
	}{{"undisturbed", warming, joinAt}, {"while a process joins", joinAt, leaveAt}, {"while a process leaves", leaveAt, leaveAt + calm}} {
		worst := l.stoodStill(phase.from, phase.to)
		w.say("  stood still %s: %v", phase.what, worst.Round(time.Millisecond))
		f.add("longest time without an outcome of a partition, "+phase.what, "ms", float64(worst)/1e6)
	}
	return nil
}
