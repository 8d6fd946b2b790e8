package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// meter notes how much was done when.
type meter struct {
	mu      sync.Mutex
	samples []sample // guarded by mu
}

type sample struct {
	at   time.Time
	done int64
}

// note adds to what is done.
func (m *meter) note(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) > 0 {
		n += m.samples[len(m.samples)-1].done
	}
	m.samples = append(m.samples, sample{time.Now(), n})
}

// steady is the rate of the middle 80 % of what was done: without the start,
// and without the end where one partition after the other has nothing left.
func (m *meter) steady() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) < 3 {
		return 0
	}
	total := float64(m.samples[len(m.samples)-1].done)
	from, to := m.when(0.1*total), m.when(0.9*total)
	return 0.8 * total / to.Sub(from).Seconds()
}

// between is the rate from a time until so much of the whole was done; 0 when it
// was done by then.
func (m *meter) between(from time.Time, part float64) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.samples, func(s sample) bool { return !s.at.Before(from) })
	if i < 0 {
		return 0
	}
	first, till := m.samples[i], part*float64(m.samples[len(m.samples)-1].done)
	if float64(first.done) >= till {
		return 0
	}
	return (till - float64(first.done)) / m.when(till).Sub(first.at).Seconds()
}

// after is the rate from a while after the first.
func (m *meter) after(settling time.Duration) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) == 0 {
		return 0
	}
	first, last := m.samples[0].at, m.samples[len(m.samples)-1]
	i := slices.IndexFunc(m.samples, func(s sample) bool { return s.at.Sub(first) >= settling })
	if i < 0 || !m.samples[i].at.Before(last.at) {
		return 0
	}
	return float64(last.done-m.samples[i].done) / last.at.Sub(m.samples[i].at).Seconds()
}

func (m *meter) total() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) == 0 {
		return 0
	}
	return float64(m.samples[len(m.samples)-1].done)
}

// when interpolates between samples.
func (m *meter) when(done float64) time.Time {
	i := slices.IndexFunc(m.samples, func(s sample) bool { return float64(s.done) >= done })
	s := m.samples[i]
	if i == 0 {
		return s.at
	}
	before := m.samples[i-1]
	part := (done - float64(before.done)) / float64(s.done-before.done)
	return before.at.Add(time.Duration(part * float64(s.at.Sub(before.at))))
}

// ends is where the partitions of a topic end for readers.
func (w *world) ends(ctx context.Context, topic string) ([]int64, error) {
	asked := make([]kafka.OffsetRequest, partitions)
	for p := range asked {
		asked[p] = kafka.LastOffsetOf(p)
	}
	res, err := w.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: asked}})
	if err != nil {
		return nil, err
	}
	ends := make([]int64, partitions)
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		ends[p.Partition] = p.LastOffset
	}
	return ends, nil
}

func sum(ns []int64) int64 {
	var s int64
	for _, n := range ns {
		s += n
	}
	return s
}

// patience is how long a measure may go on without anything coming out.
const patience = 30 * time.Second

// watch meters what arrives in a topic beyond base, until it is n or enough
// says so. It looks by the ends of the partitions, which costs next to nothing.
func (w *world) watch(ctx context.Context, topic string, base, n int64, enough func(first, now time.Time) bool) (*meter, error) {
	m := &meter{}
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	var first time.Time
	last, moved := int64(0), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		ends, err := w.ends(ctx, topic)
		if err != nil {
			return nil, err
		}
		now, done := time.Now(), sum(ends)-base
		if done > last {
			if first.IsZero() {
				first = now
			}
			m.note(done - last)
			last, moved = done, now
		}
		switch {
		case n > 0 && done >= n, !first.IsZero() && enough != nil && enough(first, now):
			return m, nil
		case now.Sub(moved) > patience:
			return nil, fmt.Errorf("%d of %d records in %s, and none more for %v", done, n, topic, patience)
		}
	}
}
