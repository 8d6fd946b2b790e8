package consumer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"pgregory.net/rapid"
)

// encodeSet is the client library's own encoder: one batch at offset 0, without
// the size before it.
func encodeSet(t interface{ Fatal(...any) }, kind compress.Compression, recs []Record) []byte {
	in := make([]protocol.Record, len(recs))
	for i, r := range recs {
		in[i] = protocol.Record{Time: r.Time, Key: protocol.NewBytes(r.Key), Value: protocol.NewBytes(r.Value), Headers: r.Headers}
	}
	var b bytes.Buffer
	rs := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(kind), Records: protocol.NewRecordReader(in...)}
	if _, err := rs.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[4:]
}

func drawRecords(t *rapid.T) []Record {
	some := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 300))
	at := rapid.Int64Range(1, 1<<41)
	recs := make([]Record, rapid.IntRange(1, 40).Draw(t, "records"))
	for i := range recs {
		recs[i] = Record{
			Offset: int64(i),
			Time:   time.UnixMilli(at.Draw(t, "time")).UTC(),
			Key:    some.Draw(t, "key"),
			Value:  some.Draw(t, "value"),
		}
		for range rapid.IntRange(0, 5).Draw(t, "headers") {
			recs[i].Headers = append(recs[i].Headers, kafka.Header{Key: rapid.String().Draw(t, "name"), Value: some.Draw(t, "header")})
		}
	}
	return recs
}

func TestReadRecordSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecords(t)
		kind := compress.Compression(rapid.IntRange(0, 4).Draw(t, "compression"))
		set := encodeSet(t, kind, want)
		offset := int64(rapid.IntRange(0, len(want)-1).Draw(t, "offset"))
		// The broker may cut a further batch anywhere.
		cut := rapid.IntRange(0, len(set)-1).Draw(t, "cut")
		got, next, err := readRecordSet(slices.Concat(set, set[:cut]), offset, nil)
		if err != nil {
			t.Fatal(err)
		}
		if next != int64(len(want)) {
			t.Fatalf("next: got %d, want %d", next, len(want))
		}
		if diff := cmp.Diff(want[offset:], got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Whatever the bytes, reading them ends in records or in ErrCorrupt.
func FuzzReadRecordSet(f *testing.F) {
	recs := []Record{{Key: []byte("k"), Value: []byte("v"), Headers: []kafka.Header{{Key: "h", Value: []byte("x")}}}, {Value: []byte("w")}}
	for kind := range compress.Compression(5) {
		f.Add(encodeSet(f, kind, recs), false)
		f.Add(encodeSet(f, kind, recs)[batchHead:], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, body bool) {
		if body { // past the checksum
			head := encodeSet(t, compress.None, recs)[:batchHead]
			b = reseal(slices.Concat(head, b))
		}
		got, next, err := readRecordSet(b, 0, nil)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v, want %v", err, ErrCorrupt)
		}
		if err == nil && len(got) > 0 && next == 0 {
			t.Errorf("%d records, but next is 0", len(got))
		}
	})
}

// reseal gives a changed batch the length and the checksum that fit.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(len(b)-batchLengthAt-4))
	binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttributesAt:], castagnoli))
	return b
}

func TestReadRecordSetCorrupt(t *testing.T) {
	whole := encodeSet(t, compress.None, []Record{{Value: []byte("value")}})
	change := func(at int, to byte) []byte {
		b := slices.Clone(whole)
		b[at] = to
		return b
	}
	for name, test := range map[string]struct {
		set  []byte
		want string
	}{
		"Checksum":   {change(len(whole)-3, '?'), "checksum"},
		"OldFormat":  {change(batchMagicAt, 1), "format 1"},
		"TooShort":   {change(batchLengthAt+3, 20), "of 32 bytes"},
		"Negative":   {change(batchLengthAt, 0xff), "bytes"},
		"CutOff":     {whole[:len(whole)-1], "without one whole batch"},
		"Count":      {reseal(change(batchCountAt, 0x7f)), "records in"},
		"Cut":        {reseal(slices.Clone(whole[:len(whole)-2])), "cut off"},
		"Compressed": {reseal(change(batchAttributesAt+1, byte(compress.Zstd))), "zstd"},
		"Unknown":    {reseal(change(batchAttributesAt+1, 7)), "unknown compression"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readRecordSet(test.set, 0, nil)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", err, ErrCorrupt, test.want)
			}
		})
	}
}

func TestReadRecordSetBomb(t *testing.T) {
	var packed bytes.Buffer
	w := compress.Zstd.Codec().NewWriter(&packed)
	zeroes := make([]byte, 1<<20)
	for range maxUnpacked>>20 + 1 {
		if _, err := w.Write(zeroes); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	head := encodeSet(t, compress.None, []Record{{Value: []byte("v")}})[:batchHead]
	head[batchAttributesAt+1] = byte(compress.Zstd)
	_, _, err := readRecordSet(reseal(slices.Concat(head, packed.Bytes())), 0, nil)
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want %v", err, ErrCorrupt)
	}
}

func TestReadRecordSetLogAppendTime(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000).UTC()
	set := encodeSet(t, compress.None, []Record{{Value: []byte("a"), Time: at}, {Value: []byte("b"), Time: at.Add(time.Minute)}})
	set[batchAttributesAt+1] |= attrLogAppendTime
	got, _, err := readRecordSet(reseal(set), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Record{{Offset: 0, Value: []byte("a"), Time: at.Add(time.Minute)}, {Offset: 1, Value: []byte("b"), Time: at.Add(time.Minute)}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// requests are records as the service gets them, a batch of each.
func requests(n, headers int) []Record {
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{
			Time:  time.UnixMilli(1_800_000_000_000 + int64(i)),
			Key:   fmt.Appendf(nil, "c-%06d", i),
			Value: fmt.Appendf(nil, `{"request_id":"018f6d2e-%012d","pool_id":"summer-sale","customer_id":"c-%06d","expires_at":"2026-07-01T10:00:00Z","context":{"workflow":"welcome","step":3}}`, i, i),
		}
		for j := range headers {
			recs[i].Headers = append(recs[i].Headers, kafka.Header{Key: fmt.Sprintf("ce_header%d", j), Value: []byte("promopool.code.requested")})
		}
	}
	return recs
}

func BenchmarkReadRecordSet(b *testing.B) {
	const records = 1000
	for _, headers := range []int{0, 2, 7} {
		set := encodeSet(b, compress.None, requests(records, headers))
		b.Run(fmt.Sprintf("Ours/Headers%d", headers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got, _, err := readRecordSet(bytes.Clone(set), 0, nil)
				if err != nil || len(got) != records {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		})
		sized := slices.Concat([]byte{byte(len(set) >> 24), byte(len(set) >> 16), byte(len(set) >> 8), byte(len(set))}, set)
		b.Run(fmt.Sprintf("Library/Headers%d", headers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := readByLibrary(b, sized); n != records {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		})
	}
}

func readByLibrary(b *testing.B, sized []byte) (n int) {
	var rs protocol.RecordSet
	if _, err := rs.ReadFrom(bytes.NewBuffer(sized)); err != nil {
		b.Fatal(err)
	}
	for {
		r, err := rs.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			b.Fatal(err)
		}
		if _, err := protocol.ReadAll(r.Key); err != nil {
			b.Fatal(err)
		}
		if _, err := protocol.ReadAll(r.Value); err != nil {
			b.Fatal(err)
		}
		n++
	}
}
