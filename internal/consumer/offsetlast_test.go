package consumer_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"promopool/internal/producer"
)

// shut is a way to Kafka on which nothing is published until it opens.
type shut struct {
	kafka.RoundTripper
	tried func()
	open  chan struct{}
}

func (s *shut) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	if _, produce := req.(*rawproduce.Request); produce {
		select {
		case <-s.open:
		default:
			s.tried()
			return nil, errors.New("shut")
		}
	}
	return s.RoundTripper.RoundTrip(ctx, addr, req)
}

// TestRedeemedBeforeOffset: while the answers to redemptions are not published the
// group's offset stays. The crash matrix kills too soon to see that: offsets go to
// Kafka a moment after they have moved.
func TestRedeemedBeforeOffset(t *testing.T) {
	w := newTill(t)
	w.Send("r-1 C1", "r-2 C2")
	tried := make(chan struct{})
	s := &shut{RoundTripper: w.client.Transport, tried: sync.OnceFunc(func() { close(tried) }), open: make(chan struct{})}
	w.out = producer.New(&kafka.Client{Addr: w.client.Addr, Transport: s}, nil, zerolog.Nop(), prometheus.NewRegistry())
	o := w.Start(w.store, 0)
	select {
	case <-tried:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is published")
	}
	select {
	case at := <-o.committed:
		t.Errorf("the offset moves to %d, and nothing is published", at)
	default:
	}
	close(s.open)
	w.Until(o, 2)
}
