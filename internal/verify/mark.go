package verify

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/topics"
)

// log is a topic between two marks, by partition.
type log struct {
	topic      string
	start, end []int64
	first      []time.Time // of the first record read, where there was one
}

// deleted reports whether retention has taken something away.
func (l *log) deleted() bool {
	for _, s := range l.start {
		if s > 0 {
			return true
		}
	}
	return false
}

// mark sets the cut. The group's offsets come first: what is below them was
// published before, so the ends of the other topics are beyond its answers.
func (a *audit) mark(ctx context.Context) error {
	req, err := topics.Describe(ctx, a.config.Client, a.names.Requests)
	if err != nil {
		return err
	}
	a.stream = req.Stream
	if a.committed, err = a.groupOffsets(ctx, a.names.IssuingGroup, a.names.Requests, req.Partitions); err != nil {
		return err
	}
	for _, l := range []struct {
		log   *log
		topic string
	}{{&a.requests, a.names.Requests}, {&a.outcomes, a.names.Outcomes}, {&a.letters, a.names.DeadLetters}} {
		t, err := topics.Describe(ctx, a.config.Client, l.topic)
		if err != nil {
			return err
		}
		if *l.log, err = a.ends(ctx, l.topic, t.Partitions); err != nil {
			return err
		}
	}
	for p := range a.committed {
		// Of a topic made anew the group may remember the one before.
		a.committed[p] = min(a.committed[p], a.requests.end[p])
	}
	a.report.Cut = Cut{Stream: a.stream, Committed: a.committed, Requests: a.requests.end, Outcomes: a.outcomes.end, DeadLetters: a.letters.end}
	return nil
}

// markByHand remembers the issues by hand that have been published, and then marks
// the ends of the outcomes anew: their events are before them.
func (a *audit) markByHand(ctx context.Context) error {
	if _, err := a.session.Exec(ctx, byHandSQL); err != nil {
		return err
	}
	_, end, err := topics.Ends(ctx, a.config.Client, a.outcomes.topic, len(a.outcomes.end))
	if err != nil {
		return err
	}
	a.outcomes.end, a.report.Cut.Outcomes = end, end
	return nil
}

func (a *audit) groupOffsets(ctx context.Context, group, topic string, partitions int) (offsets []int64, err error) {
	err = patiently(ctx, func() (err error) {
		offsets, err = topics.Committed(ctx, a.config.Client, group, topic, partitions)
		return err
	})
	return offsets, err
}

// patiently repeats what fails because a coordinator has only just been
// elected, as on a cluster that never had a group.
func patiently(ctx context.Context, try func() error) error {
	for deadline := time.Now().Add(15 * time.Second); ; {
		err := try()
		var code kafka.Error
		if err == nil || !errors.As(err, &code) || !code.Temporary() || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *audit) ends(ctx context.Context, topic string, partitions int) (log, error) {
	start, end, err := topics.Ends(ctx, a.config.Client, topic, partitions)
	return log{topic: topic, start: start, end: end, first: make([]time.Time, partitions)}, err
}

// loadMarks tells the rules where the request log begins, now that everything
// is read, what must be answered, and which answers retention may have taken.
func (a *audit) loadMarks(ctx context.Context) error {
	if err := a.settle(ctx, &a.requests, &a.outcomes, &a.letters); err != nil {
		return err
	}
	if _, err := a.load(ctx, "audit_partitions", func(_ context.Context, newRows func() *rows) error {
		w := newRows()
		for p := range a.committed {
			w.begin(4).int32(p).int64(a.requests.start[p]).int64(a.readable(p)).int64(a.committed[p])
		}
		return w.flush()
	}); err != nil {
		return err
	}
	if _, err := a.session.Exec(ctx, "INSERT INTO audit_horizon (outcomes, letters) VALUES ($1, $2)", horizon(&a.outcomes), horizon(&a.letters)); err != nil {
		return err
	}
	if _, err := a.session.Exec(ctx, erasedSQL); err != nil {
		return err
	}
	_, err := a.session.Exec(ctx, "ANALYZE audit_outcomes, audit_by_hand, audit_requests, audit_letters, audit_verdicts, audit_evidence, audit_partitions")
	return err
}

// settle finds out where the topics begin now, and notes what is gone.
func (a *audit) settle(ctx context.Context, logs ...*log) error {
	for _, l := range logs {
		start, _, err := topics.Ends(ctx, a.config.Client, l.topic, len(l.start))
		if err != nil {
			return err
		}
		for p := range l.start {
			l.start[p] = max(l.start[p], start[p])
		}
		if l.deleted() {
			a.note("topic %s begins at offset %s: what retention took away was not audited", l.topic, offsets(l.start))
		}
	}
	return nil
}

// horizon is the time before which records of the topic may be gone; nil: none is.
func horizon(l *log) *time.Time {
	var latest *time.Time
	for p, start := range l.start {
		if start == 0 {
			continue
		}
		t := l.first[p]
		if t.IsZero() { // all of the partition is gone
			t = time.Now()
		}
		if latest == nil || t.After(*latest) {
			latest = &t
		}
	}
	return latest
}
