package verify

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"promopool/internal/consumer"
)

const (
	readers   = 4       // partitions read at once; each holds a fetch or two
	fetchSize = 1 << 20 // bytes
	retries   = 30      // of one fetch, a second apart
	patience  = 4       // fetches that bring nothing, half a second each: an open transaction ends the readable log
)

// read gives every record of the log between its marks to visit. Partitions
// are read side by side, each with rows of its own.
func (a *audit) read(ctx context.Context, l *log, newRows func() *rows, visit func(part int, r *consumer.Record, w *rows) error) error {
	f := consumer.NewFetcher(a.config.Client, l.topic, fetchSize)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for p := range l.end {
		g.Go(func() error {
			w := newRows()
			if err := a.readPartition(ctx, f, l, p, func(r *consumer.Record) error { return visit(p, r, w) }); err != nil {
				return err
			}
			return w.flush()
		})
	}
	return g.Wait()
}

func (a *audit) readPartition(ctx context.Context, f *consumer.Fetcher, l *log, p int, visit func(*consumer.Record) error) error {
	at, failures, idle := l.start[p], 0, 0
	for at < l.end[p] {
		res, err := f.Fetch(ctx, p, at)
		var out *consumer.OutOfRangeError
		switch {
		case errors.As(err, &out) && out.LogStart > at: // retention went on meanwhile
			at, l.start[p] = out.LogStart, out.LogStart
			continue
		case err != nil:
			if failures++; failures > retries || ctx.Err() != nil || errors.As(err, &out) {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			continue
		}
		failures = 0
		for i := range res.Records {
			r := &res.Records[i]
			if r.Offset >= l.end[p] {
				return nil
			}
			if l.first[p].IsZero() {
				l.first[p] = r.Time
			}
			if err := visit(r); err != nil {
				return err
			}
		}
		if res.Next > at {
			at, idle = res.Next, 0
			continue
		}
		if idle++; idle == patience {
			a.note("topic %s, partition %d: %d records from offset %d on belong to a transaction that is still open, and were not read", l.topic, p, l.end[p]-at, at)
			return nil
		}
	}
	return nil
}
