package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
)

// addEvents puts events into the outbox, in the transaction that makes true what
// they tell. It comes last in the order of locks.
func addEvents(ctx context.Context, q *db.Queries, events ...domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	var all db.AddEventsParams
	for _, e := range events {
		all.Topics, all.Keys, all.Ids, all.Types = append(all.Topics, string(e.Topic)), append(all.Keys, []byte(e.Key)), append(all.Ids, e.ID), append(all.Types, e.Type)
		all.Ats, all.Subjects, all.Bodies = append(all.Ats, stamp(e.At)), append(all.Subjects, e.PoolID), append(all.Bodies, e.Value)
		all.Traceparents = append(all.Traceparents, e.Traceparent)
	}
	return q.AddEvents(ctx, all)
}

// Unpublished returns the first events that are not known to be published.
func (s *Store) Unpublished(ctx context.Context, atMost int) ([]domain.Event, error) {
	rows, err := s.q.Unpublished(ctx, int32(atMost))
	if err != nil {
		return nil, asked(err)
	}
	events := make([]domain.Event, len(rows))
	for i, r := range rows {
		events[i] = domain.Event{
			No: r.No, Topic: domain.Topic(r.Topic), Key: string(r.Key), ID: r.ID, Type: r.Type, At: fromStamp(r.At), PoolID: r.Subject, Value: r.Value,
		}
		if r.Traceparent != nil {
			events[i].Traceparent = *r.Traceparent
		}
	}
	return events, nil
}

// Published forgets events that Kafka has.
func (s *Store) Published(ctx context.Context, numbers []int64) error {
	return asked(s.conns.One(ctx, crashpoint.DeletePublished, func(ctx context.Context, q *db.Queries) error { return q.DeletePublished(ctx, numbers) }))
}

// TakeLease makes the holder the one who does what the name says, for so long,
// and reports whether it is. The holder takes it again before that is over.
func (s *Store) TakeLease(ctx context.Context, name, holder string, long time.Duration) (bool, error) {
	taken, err := answered(ctx, s.conns, crashpoint.TakeLease, func(ctx context.Context, q *db.Queries) (bool, error) {
		return q.TakeLease(ctx, db.TakeLeaseParams{Name: name, Holder: holder, Seconds: long.Seconds()})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return taken, asked(err)
}

// DropLease lets the next one have it at once.
func (s *Store) DropLease(ctx context.Context, name, holder string) error {
	return asked(s.conns.One(ctx, crashpoint.DropLease, func(ctx context.Context, q *db.Queries) error {
		return q.DropLease(ctx, db.DropLeaseParams{Name: name, Holder: holder})
	}))
}
