package producer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"promopool/internal/lull"
)

const (
	// smallBatch is the size in bytes up to which a batch shares a request with
	// those of other partitions that wait. A request costs a broker and us more
	// than such a batch does; larger ones gain nothing.
	smallBatch = 32 << 10
	// fullFerry bounds a shared request, in bytes.
	fullFerry = 512 << 10
	// boarding is for how long nobody must have come before a request leaves.
	boarding = 120 * time.Microsecond
)

// parcel is a batch on its way to a partition.
type parcel struct {
	topic     string
	partition int32
	batch     []byte

	err  error // written before done is closed
	done chan struct{}
}

// ferry takes small batches that wait to their partitions in one request. While
// one is under way those that come wait for the next, so that it adds nothing
// when there is one at a time.
type ferry struct {
	mu       sync.Mutex
	queue    []*parcel // guarded by mu
	underWay bool      // guarded by mu
}

// attempt asks once that a batch be appended. Where it may share, it goes with
// others if it is small; an error then may be that of their request. Unless it
// succeeds, the batch must not be changed even afterwards: a connection may
// still be writing it.
func (p *Producer) attempt(ctx context.Context, b *parcel, share bool) error {
	if !share || len(b.batch) > smallBatch {
		return p.request(ctx, []*parcel{b})
	}
	b.done = make(chan struct{})
	p.ferry.mu.Lock()
	p.ferry.queue = append(p.ferry.queue, b)
	if !p.ferry.underWay {
		p.ferry.underWay = true
		go p.carry()
	}
	p.ferry.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// carry sends what waits until nothing does.
func (p *Producer) carry() {
	for {
		p.ferry.board(p.Yield)
		load := p.ferry.next()
		if load == nil {
			return
		}
		err := p.request(context.Background(), load)
		var local *rawproduce.Error
		if errors.As(err, &local) && len(load) > 1 {
			// Nothing was sent: their partitions have several leaders.
			var each sync.WaitGroup
			for _, b := range load {
				each.Go(func() { b.err = p.request(context.Background(), []*parcel{b}) })
			}
			each.Wait()
		} else if err != nil {
			for _, b := range load {
				b.err = err
			}
		}
		for _, b := range load {
			close(b.done)
		}
	}
}

// board lets those come that are about to.
func (f *ferry) board(yield func()) {
	lull.Await(boarding, yield, func() (int, bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.queue), false
	})
}

// next is what the next request takes: a partition once, since a request may
// not name it twice.
func (f *ferry) next() []*parcel {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		f.underWay = false
		return nil
	}
	type place struct {
		topic     string
		partition int32
	}
	// What a request holds shall not depend on who came first by microseconds.
	slices.SortStableFunc(f.queue, func(a, b *parcel) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	taken := map[place]bool{}
	var load, left []*parcel
	size := 0
	for _, b := range f.queue {
		at := place{b.topic, b.partition}
		if taken[at] || size > fullFerry {
			left = append(left, b)
			continue
		}
		taken[at] = true
		size += len(b.batch)
		load = append(load, b)
	}
	f.queue = left
	return load
}

// request sends batches in one request, each for another partition, and waits
// until all in-sync replicas have them. It returns the error of the request; or
// of the batch, where it is one; else each parcel has its own.
func (p *Producer) request(ctx context.Context, load []*parcel) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	req := &rawproduce.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: int32((RequestTimeout / 2).Milliseconds()),
	}
	for _, b := range load {
		req.Topics = addBatch(req.Topics, b)
	}
	m, err := p.client.Transport.RoundTrip(ctx, p.client.Addr, req)
	if err != nil {
		return err
	}
	res := m.(*produceapi.Response)
	for _, b := range load {
		b.err = answerFor(res, b)
	}
	if len(load) == 1 {
		return load[0].err
	}
	return nil
}

func addBatch(topics []rawproduce.RequestTopic, b *parcel) []rawproduce.RequestTopic {
	part := rawproduce.RequestPartition{Partition: b.partition, RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b.batch)}}
	for i := range topics {
		if topics[i].Topic == b.topic {
			topics[i].Partitions = append(topics[i].Partitions, part)
			return topics
		}
	}
	return append(topics, rawproduce.RequestTopic{Topic: b.topic, Partitions: []rawproduce.RequestPartition{part}})
}

// answerFor is what the broker says of one batch.
func answerFor(res *produceapi.Response, b *parcel) error {
	for i := range res.Topics {
		if res.Topics[i].Topic != b.topic {
			continue
		}
		for j := range res.Topics[i].Partitions {
			a := &res.Topics[i].Partitions[j]
			switch {
			case a.Partition != b.partition:
				continue
			case a.ErrorCode == 0:
				return nil
			case a.ErrorMessage != "":
				return fmt.Errorf("%w: %s", kafka.Error(a.ErrorCode), a.ErrorMessage)
			}
			return kafka.Error(a.ErrorCode)
		}
	}
	return errors.New("the produce response is for other partitions")
}
