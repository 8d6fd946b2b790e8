package producer

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"pgregory.net/rapid"
)

func byLibrary(recs []Record) protocol.RecordSet {
	in := make([]protocol.Record, len(recs))
	for i, r := range recs {
		in[i] = protocol.Record{Time: r.Time, Key: protocol.NewBytes(r.Key), Value: protocol.NewBytes(r.Value), Headers: r.Headers}
	}
	return protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(in...)}
}

// Our encoder writes the very bytes that the client library's writes.
func TestEncode(t *testing.T) {
	some := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 300))
	rapid.Check(t, func(t *rapid.T) {
		recs := make([]Record, rapid.IntRange(1, 80).Draw(t, "records"))
		for i := range recs {
			recs[i] = Record{
				Time:  time.UnixMilli(rapid.Int64Range(1, 1<<41).Draw(t, "time")),
				Key:   some.Draw(t, "key"),
				Value: some.Draw(t, "value"),
			}
			for range rapid.IntRange(0, 5).Draw(t, "headers") {
				recs[i].Headers = append(recs[i].Headers, kafka.Header{Key: rapid.String().Draw(t, "name"), Value: some.Draw(t, "header")})
			}
		}
		var want bytes.Buffer
		rs := byLibrary(recs)
		if _, err := rs.WriteTo(&want); err != nil {
			t.Fatal(err)
		}
		got, n := encode(nil, recs, 1<<30)
		if n != len(recs) || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%d of %d, got\n%x, want\n%x", n, len(recs), got, want.Bytes())
		}

		// Cut by a limit, a batch is what its records alone would be, and one
		// more would not have fitted.
		limit := rapid.IntRange(1, len(got)).Draw(t, "limit")
		cut, n := encode(make([]byte, 10), recs, limit)
		alone, _ := encode(nil, recs[:n], 1<<30)
		if !bytes.Equal(cut, alone) || n > 1 && len(cut)-setSize > limit {
			t.Fatalf("%d records in %d bytes, limit %d", n, len(cut)-setSize, limit)
		}
		if n < len(recs) {
			if more, _ := encode(nil, recs[:n+1], 1<<30); len(more)-setSize <= limit {
				t.Fatalf("%d records, but one more takes %d bytes of %d", n, len(more)-setSize, limit)
			}
		}
	})
}

// outcomes are records as the service sends them.
func outcomes(n int) []Record {
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{
			Time:  time.UnixMilli(1_800_000_000_000 + int64(i)),
			Key:   fmt.Appendf(nil, "c-%06d", i),
			Value: fmt.Appendf(nil, `{"request_id":"018f6d2e-%012d","pool_id":"summer-sale","campaign_id":"summer","customer_id":"c-%06d","code":"SUMMER-ABCD-1234","parameter_name":"code","issued_at":"2026-07-01T10:00:00.123456Z","valid_from":"2026-07-01T10:00:00Z","valid_until":null,"context":{"workflow":"welcome","step":3}}`, i, i),
		}
		for _, h := range []string{"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "ce_dataschema", "content-type", "ce_requestpartition", "ce_requestoffset"} {
			recs[i].Headers = append(recs[i].Headers, kafka.Header{Key: h, Value: []byte("promopool.code.issued")})
		}
	}
	return recs
}

// The whole request, as it goes to the connection.
func BenchmarkProduceRequest(b *testing.B) {
	const records, version = 1000, 8
	recs := outcomes(records)
	write := func(b *testing.B, req protocol.Message) {
		if err := protocol.WriteRequest(io.Discard, version, 1, "promopool", req); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Ours", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = encode(buf, recs, 1<<20)
			set := protocol.RawRecordSet{Reader: bytes.NewReader(buf)}
			write(b, &rawproduce.Request{Acks: -1, Topics: []rawproduce.RequestTopic{{Topic: "out", Partitions: []rawproduce.RequestPartition{{RecordSet: set}}}}})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
	})
	b.Run("Library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			write(b, &produceapi.Request{Acks: -1, Topics: []produceapi.RequestTopic{{Topic: "out", Partitions: []produceapi.RequestPartition{{RecordSet: byLibrary(recs)}}}}})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
	})
}
