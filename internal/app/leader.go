package app

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"promopool/internal/postgres"
)

const (
	// leaseTime is for how long the others leave the work to its holder without
	// hearing of it: how long it rests when a process dies.
	leaseTime = 2 * time.Second
	// leaseEvery is how often the lease is taken, or tried.
	leaseEvery = 400 * time.Millisecond
)

// lead does work in one process at a time: in this one from when it gets the
// lease until that is lost or ctx ends. Work returns when its context ends. Two
// processes may do it at once for a moment, or for longer where one was frozen.
func lead(ctx context.Context, store *postgres.Store, name, holder string, log zerolog.Logger, work func(ctx context.Context) error) error {
	log = log.With().Str("component", "leader").Str("work", name).Logger()
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for {
		if ok, err := store.TakeLease(ctx, name, holder, leaseTime); err == nil && ok {
			log.Debug().Msg("this process does it now")
			if err := hold(ctx, store, name, holder, work); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// hold works while the lease is ours, and gives it back.
func hold(ctx context.Context, store *postgres.Store, name, holder string, work func(ctx context.Context) error) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- work(working) }()
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for held := time.Now(); ; {
		select {
		case err := <-done:
			dropping, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime)
			defer cancel()
			_ = store.DropLease(dropping, name, holder) // else it is over soon
			return err
		case <-tick.C:
			asking, cancel := context.WithTimeout(ctx, leaseTime)
			ok, err := store.TakeLease(asking, name, holder, leaseTime)
			cancel()
			switch {
			case err == nil && ok:
				held = time.Now()
			case err == nil, time.Since(held) > leaseTime:
				stop() // another has it, or may have
			}
		}
	}
}
