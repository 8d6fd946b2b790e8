package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"promopool/internal/producer"
	"promopool/internal/topics"
)

func TestFetch(t *testing.T) {
	b := newBroker(t, 2)
	at := time.Date(2026, 7, 1, 10, 0, 0, 123e6, time.UTC)
	var want []Record
	for i := range 50 {
		r := producer.Record{Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i), Time: at.Add(time.Duration(i) * time.Second)}
		for j := range i % 4 {
			r.Headers = append(r.Headers, kafka.Header{Key: fmt.Sprintf("h%d", j), Value: []byte{byte(i)}})
		}
		switch i {
		case 7:
			r.Key, r.Value = nil, nil
		case 8:
			r.Key, r.Value = []byte{}, []byte{}
		case 9:
			r.Time = at.Add(-time.Hour)
		}
		b.publish(1, r)
		want = append(want, Record{Offset: int64(i), Time: r.Time, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	f := NewFetcher(b.client, b.topic, DefaultFetchBytes)
	if diff := cmp.Diff(want, b.fetch(f, 1, 0, 50)); diff != "" {
		t.Error(diff)
	}

	got, err := f.Fetch(t.Context(), 1, 50)
	if want := (Fetched{Next: 50, HighWater: 50}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("at the end: got %+v, %v, want %+v", got, err, want)
	}
}

func TestFetchSkipsBelowOffset(t *testing.T) {
	b := newBroker(t, 1)
	recs := make([]producer.Record, 50)
	for i := range recs {
		recs[i] = producer.Record{Value: fmt.Append(nil, i), Time: time.Now()}
	}
	b.publish(0, recs...)
	got := b.fetch(NewFetcher(b.client, b.topic, DefaultFetchBytes), 0, 47, 50)
	if want := []string{"47", "48", "49"}; !slices.Equal(values(got), want) {
		t.Errorf("got %v, want %v", values(got), want)
	}
}

func TestFetchLargerThanLimit(t *testing.T) {
	b := newBroker(t, 1)
	big := strings.Repeat("x", 900_000)
	for _, v := range []string{"a", big, "b"} {
		b.publish(0, producer.Record{Value: []byte(v), Time: time.Now()})
	}
	got := b.fetch(NewFetcher(b.client, b.topic, 1000), 0, 0, 3)
	if want := []string{"a", big, "b"}; !slices.Equal(values(got), want) {
		t.Errorf("got %d records, want a, the large one, b", len(got))
	}
}

func TestFetchWakes(t *testing.T) {
	b := newBroker(t, 1)
	type result struct {
		Fetched
		err error
	}
	done := make(chan result)
	f := NewFetcher(b.client, b.topic, DefaultFetchBytes)
	go func() {
		for {
			got, err := f.Fetch(t.Context(), 0, 0)
			if err != nil || len(got.Records) > 0 {
				done <- result{got, err}
				return
			}
		}
	}()
	b.publish(0, producer.Record{Value: []byte("a"), Time: time.Now()})
	if got := <-done; got.err != nil || got.Next != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestFetchOutOfRange(t *testing.T) {
	b := newBroker(t, 1)
	for range 5 {
		b.publish(0, producer.Record{Value: []byte("a"), Time: time.Now()})
	}
	f := NewFetcher(b.client, b.topic, DefaultFetchBytes)
	_, err := f.Fetch(t.Context(), 0, 99)
	var out *OutOfRangeError
	if !errors.As(err, &out) || *out != (OutOfRangeError{99, 0, 5}) {
		t.Errorf("beyond the end: got %v", err)
	}

	adm := kgoClient(t, b)
	deleteRecords(t, adm, b.topic, 3)
	_, err = f.Fetch(t.Context(), 0, 1)
	if !errors.As(err, &out) || *out != (OutOfRangeError{1, 3, 5}) {
		t.Errorf("below the start: got %v", err)
	}
	if got, err := f.Fetch(t.Context(), 0, 3); err != nil || got.LogStart != 3 || len(got.Records) != 2 {
		t.Errorf("got %+v, %v, want the two that are left", got, err)
	}
}

func TestFetchAbsent(t *testing.T) {
	b := newBroker(t, 1)
	for _, f := range []func() error{
		func() error { _, err := NewFetcher(b.client, b.topic, 1000).Fetch(t.Context(), 7, 0); return err },
		func() error { _, err := NewFetcher(b.client, "none", 1000).Fetch(t.Context(), 0, 0); return err },
	} {
		if err := f(); err == nil {
			t.Error("got no error")
		}
	}
}

// A topic made anew has the same offsets for other records.
func TestFetchRecreated(t *testing.T) {
	b := newBroker(t, 1)
	old := NewFetcher(b.client, b.topic, DefaultFetchBytes)
	b.publish(0, producer.Record{Value: []byte("old"), Time: time.Now()})
	b.fetch(old, 0, 0, 1)
	before, err := topics.Describe(t.Context(), b.client, b.topic)
	if err != nil {
		t.Fatal(err)
	}

	b.remove()
	for _, f := range []*Fetcher{old, old.Of(before)} {
		poll(t, "the topic to be gone", func() bool {
			_, err := f.Fetch(t.Context(), 0, 0)
			return errors.Is(err, ErrRecreated)
		})
	}
	b.create(1)
	for _, v := range []string{"new", "new"} {
		b.publish(0, producer.Record{Value: []byte(v), Time: time.Now()})
	}
	if got := b.fetch(NewFetcher(b.client, b.topic, DefaultFetchBytes), 0, 0, 2); !slices.Equal(values(got), []string{"new", "new"}) {
		t.Errorf("got %v, want the new records", values(got))
	}
	for _, f := range []*Fetcher{old, old.Of(before)} {
		if got, err := f.Fetch(t.Context(), 0, 1); !errors.Is(err, ErrRecreated) {
			t.Errorf("got %+v, %v, want %v", got, err, ErrRecreated)
		}
	}
}

func TestFetchCancelled(t *testing.T) {
	b := newBroker(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewFetcher(b.client, b.topic, 1000).Fetch(ctx, 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// Every mix of committed, aborted and open transactions of two producers and of
// plain records: what is read is what a read_committed consumer reads.
func TestFetchTransactions(t *testing.T) {
	b := newBroker(t, 1)
	plain := kgoClient(t, b)
	x := kgoClient(t, b, kgo.TransactionalID(b.topic+"x"))
	y := kgoClient(t, b, kgo.TransactionalID(b.topic+"y"))
	put := func(c *kgo.Client, v string) {
		t.Helper()
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: b.topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(c *kgo.Client) {
		t.Helper()
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(c *kgo.Client, how kgo.TransactionEndTry) {
		t.Helper()
		if err := c.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	put(plain, "p0")
	begin(x)
	put(x, "x-aborted")
	begin(y)
	put(y, "y1")
	put(plain, "p1")
	end(x, kgo.TryAbort)
	begin(x)
	put(x, "x1")
	end(y, kgo.TryCommit)
	put(plain, "p2")
	end(x, kgo.TryCommit)
	begin(y)
	put(y, "y-aborted")
	put(y, "y-aborted")
	end(y, kgo.TryAbort)

	const end0 = 12 // eight records, four markers: the last may still be on its way
	f := NewFetcher(b.client, b.topic, DefaultFetchBytes)
	want := b.fetch(f, 0, 0, end0)
	if vs := []string{"p0", "y1", "p1", "x1", "p2"}; !slices.Equal(values(want), vs) {
		t.Fatalf("got %v, want %v", values(want), vs)
	}
	for from := int64(1); from < end0; from++ {
		if len(want) > 0 && want[0].Offset < from {
			want = want[1:]
		}
		if got := b.fetch(f, 0, from, end0); !slices.Equal(values(got), values(want)) {
			t.Errorf("from %d: got %v, want %v", from, values(got), values(want))
		}
	}

	// Behind an open transaction nothing is read, until it ends.
	begin(x)
	put(x, "x2")
	put(plain, "p3")
	if got, err := f.Fetch(t.Context(), 0, end0); err != nil || len(got.Records) != 0 || got.Next != end0 || got.HighWater != end0+2 {
		t.Errorf("behind an open transaction: got %+v, %v", got, err)
	}
	end(x, kgo.TryAbort)
	if got := b.fetch(f, 0, end0, end0+2); !slices.Equal(values(got), []string{"p3"}) {
		t.Errorf("got %v, want p3", values(got))
	}
}

func TestFetchCompressed(t *testing.T) {
	b := newBroker(t, 1)
	var want []string
	for name, codec := range map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		c := kgoClient(t, b, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond))
		var recs []*kgo.Record
		for i := range 200 {
			v := fmt.Sprintf("%s-%d %s", name, i, strings.Repeat("promo", 50))
			want = append(want, v)
			recs = append(recs, &kgo.Record{Topic: b.topic, Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}})
		}
		if err := c.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	got := b.fetch(NewFetcher(b.client, b.topic, DefaultFetchBytes), 0, 0, int64(len(want)))
	if diff := cmp.Diff(want, values(got)); diff != "" {
		t.Error(diff)
	}
	for _, r := range got {
		if len(r.Headers) != 1 || r.Headers[0].Key != "h" || !bytes.Equal(r.Headers[0].Value, []byte("x")) {
			t.Fatalf("got headers %v", r.Headers)
		}
	}
}
