package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
)

const (
	// gather is how long a Fetch at the log's end waits for those of other
	// partitions, to share a request with them. A request costs a broker and us
	// more than a few records do. Raised, it adds to the latency of what comes
	// just then; lowered, requests are more.
	gather = time.Millisecond
	// calmBytes is what the last Fetch of a partition may have brought for the
	// next to share. Beyond it, answers would have to be divided.
	calmBytes = 32 << 10
	// apartFor is how long nothing is shared once partitions were seen to have
	// several leaders.
	apartFor = time.Minute
)

// sharing lets partitions at the end of their logs wait for records in one
// request. Its zero value is ready.
type sharing struct {
	mu      sync.Mutex
	calm    map[int32]bool // at the end of the log when last seen; guarded by mu
	waiting []*seat        // for the next request; guarded by mu
	apart   time.Time      // nothing is shared before; guarded by mu
}

// seat is one partition's place in a shared request.
type seat struct {
	part fetchPart
	gone atomic.Bool // nobody waits for it
	trip *trip       // written before it departs, under mu

	got  fetchedPart // these before done is closed
	err  error
	done chan struct{}
}

// trip is a shared request under way.
type trip struct {
	cancel  context.CancelFunc
	waiting atomic.Int32
}

// take returns a seat in the next request for a partition that can share one;
// nil: it cannot. send is called with all who have one by then.
func (s *sharing) take(part fetchPart, send func([]*seat)) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.calm[part.partition] || time.Now().Before(s.apart) {
		return nil
	}
	for _, other := range s.waiting {
		if other.part.partition == part.partition {
			return nil // of another owner: a request names a partition once
		}
	}
	p := &seat{part: part, done: make(chan struct{})}
	s.waiting = append(s.waiting, p)
	switch n := len(s.waiting); {
	case n == s.calms():
		all := s.depart()
		go send(all)
	case n == 1:
		time.AfterFunc(gather, func() {
			s.mu.Lock()
			all := s.depart()
			s.mu.Unlock()
			send(all)
		})
	}
	return p
}

// calms is how many partitions may share a request. The caller holds mu.
func (s *sharing) calms() (n int) {
	for _, calm := range s.calm {
		if calm {
			n++
		}
	}
	return n
}

// depart ends the waiting for others. The caller holds mu.
func (s *sharing) depart() []*seat {
	var all []*seat
	for _, p := range s.waiting {
		if !p.gone.Load() {
			all = append(all, p)
		}
	}
	s.waiting = nil
	// What a request asks for shall not depend on who came first by microseconds.
	slices.SortFunc(all, func(a, b *seat) int { return cmp.Compare(a.part.partition, b.part.partition) })
	return all
}

// leave gives a seat up. A request that nobody waits for is cancelled.
func (s *sharing) leave(p *seat) {
	p.gone.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm[p.part.partition] = false // perhaps not ours any more: nobody waits for it
	if p.trip != nil && p.trip.waiting.Add(-1) == 0 {
		p.trip.cancel()
	}
}

// saw notes what a Fetch has brought of a partition.
func (s *sharing) saw(partition int32, got fetchedPart, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calm == nil {
		s.calm = make(map[int32]bool)
	}
	s.calm[partition] = next >= got.highWater && len(got.set) <= calmBytes
}

// together fetches for all who share a request.
func (f *Fetcher) together(id [16]byte, seats []*seat) {
	if len(seats) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	t := &trip{cancel: cancel}
	req := &fetchRequest{topic: f.topic, id: id, maxBytes: int32(f.maxBytes)}
	f.sharing.mu.Lock()
	for _, p := range seats {
		p.trip = t
		req.parts = append(req.parts, p.part)
		if !p.gone.Load() {
			t.waiting.Add(1)
		}
	}
	f.sharing.mu.Unlock()

	parts, err := f.roundTrip(ctx, req)
	var several *fetchapi.Error
	if errors.As(err, &several) && len(seats) > 1 {
		// Nothing was sent: the partitions have several leaders.
		f.sharing.mu.Lock()
		f.sharing.apart = time.Now().Add(apartFor)
		f.sharing.mu.Unlock()
	}
	for _, p := range seats {
		if p.err = err; err == nil {
			p.got, p.err = partOf(parts, p.part.partition)
		}
		close(p.done)
	}
}

// partOf is a partition's part of an answer.
func partOf(parts []fetchedPart, partition int32) (fetchedPart, error) {
	for _, p := range parts {
		if p.partition == partition {
			return p, nil
		}
	}
	return fetchedPart{}, fmt.Errorf("the broker answered for other partitions than %d", partition)
}

// ask fetches a partition's part, together with others where it may share.
func (f *Fetcher) ask(ctx context.Context, id [16]byte, part fetchPart) (fetchedPart, error) {
	p := f.sharing.take(part, func(seats []*seat) { f.together(id, seats) })
	if p != nil {
		select {
		case <-p.done:
		case <-ctx.Done():
			f.sharing.leave(p)
			return fetchedPart{}, ctx.Err()
		}
		if !errors.As(p.err, new(*fetchapi.Error)) {
			return p.got, p.err
		}
	}
	attempt, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	parts, err := f.roundTrip(attempt, &fetchRequest{topic: f.topic, id: id, maxBytes: int32(f.maxBytes), parts: []fetchPart{part}})
	if err != nil {
		return fetchedPart{}, err
	}
	return partOf(parts, part.partition)
}

func (f *Fetcher) roundTrip(ctx context.Context, req *fetchRequest) ([]fetchedPart, error) {
	m, err := f.client.Transport.RoundTrip(ctx, f.client.Addr, req)
	if err != nil {
		return nil, err
	}
	res := m.(*fetchResponse)
	return res.parts, res.err
}
