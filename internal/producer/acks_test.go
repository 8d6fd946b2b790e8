package producer_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"promopool/internal/producer"
)

// asks keeps what acknowledgements are asked for, and acknowledges.
type asks []int16

func (a *asks) RoundTrip(_ context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	r, ok := req.(*rawproduce.Request)
	if !ok {
		return nil, fmt.Errorf("asked for %T", req)
	}
	*a = append(*a, r.Acks)
	res := &produceapi.Response{}
	for _, t := range r.Topics {
		answer := produceapi.ResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			answer.Partitions = append(answer.Partitions, produceapi.ResponsePartition{Partition: p.Partition})
		}
		res.Topics = append(res.Topics, answer)
	}
	return res, nil
}

// TestAcks: all in-sync replicas are asked to have what is published, small or large.
// What a broker that is about to fail acknowledges alone is lost with it, and no
// test on brokers that do not fail would see that.
func TestAcks(t *testing.T) {
	for _, size := range []int{10, 200_000} {
		var asked asks
		p := producer.New(&kafka.Client{Addr: kafka.TCP("nowhere:9092"), Transport: &asked}, nil, zerolog.Nop(), prometheus.NewRegistry())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Publish(ctx, "out", 0, []producer.Record{{Value: make([]byte, size), Time: time.Now()}}); err != nil {
			t.Error(err)
		}
		if len(asked) != 1 || asked[0] != int16(kafka.RequireAll) {
			t.Errorf("%d bytes: asked for acknowledgements %v, want [%d], of all in-sync replicas", size, asked, kafka.RequireAll)
		}
	}
}
