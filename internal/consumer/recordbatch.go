package consumer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"
	"unsafe"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
)

// ErrCorrupt says that a record batch does not match its checksum or is not
// built as a batch of format 2 is. Fetched again it may be whole, if it was
// damaged on the way.
var ErrCorrupt = errors.New("corrupt record batch")

// abortedTransaction is one whose records, from the first on up to the
// producer's abort marker, are no messages.
type abortedTransaction struct {
	producer int64
	first    int64
}

// The head of a record batch of format 2, and where its fields are.
// https://kafka.apache.org/documentation/#recordbatch
const (
	batchLengthAt     = 8  // int32, of what follows it
	batchMagicAt      = 16 // int8
	batchCRCAt        = 17 // uint32, Castagnoli, of what follows it
	batchAttributesAt = 21 // int16
	batchLastDeltaAt  = 23 // int32
	batchFirstTimeAt  = 27 // int64, milliseconds
	batchMaxTimeAt    = 35 // int64
	batchProducerAt   = 43 // int64
	batchCountAt      = 57 // int32
	batchHead         = 61

	attrCompression   = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20

	// minRecord is the size of the smallest record: a byte for the length and
	// one for each of its six fields.
	minRecord = 7
	// maxUnpacked bounds a decompressed batch, against memory bombs. Brokers
	// bound a batch before compression only by the producer's good will.
	maxUnpacked = 128 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readRecordSet returns the committed records at or after offset of a set as a
// broker sends it: whole batches, the first of which may begin before offset,
// and the last of which may be cut off. next is the offset after the last whole
// batch. The records point into set.
func readRecordSet(set []byte, offset int64, aborted []abortedTransaction) (records []Record, next int64, err error) {
	next = offset
	r := recordReader{offset: offset}
	slices.SortFunc(aborted, func(a, b abortedTransaction) int { return int(min(max(a.first-b.first, -1), 1)) })
	var aborting map[int64]bool // producers between their first record and their abort marker

	rest := set
	for len(rest) > batchMagicAt {
		size := int64(int32(binary.BigEndian.Uint32(rest[batchLengthAt:]))) + batchLengthAt + 4
		if rest[batchMagicAt] != 2 {
			return nil, 0, fmt.Errorf("%w: message format %d; only format 2 (Kafka 0.11 and later) is read", ErrCorrupt, rest[batchMagicAt])
		}
		if size < batchHead {
			return nil, 0, fmt.Errorf("%w: of %d bytes", ErrCorrupt, size)
		}
		if size > int64(len(rest)) {
			break // the broker cuts at its limit of bytes
		}
		b := batch(rest[:size:size])
		rest = rest[size:]
		if sum := crc32.Checksum(b[batchAttributesAt:], castagnoli); sum != b.crc() {
			return nil, 0, fmt.Errorf("%w: at offset %d: checksum %08x, want %08x", ErrCorrupt, b.base(), sum, b.crc())
		}
		if b.last() < next {
			continue
		}
		next = b.last() + 1

		for len(aborted) > 0 && aborted[0].first <= b.last() {
			if aborting == nil {
				aborting = make(map[int64]bool)
			}
			aborting[aborted[0].producer] = true
			aborted = aborted[1:]
		}
		switch {
		case b.attributes()&attrControl != 0:
			if b.abortMarker() {
				delete(aborting, b.producer())
			}
		case b.attributes()&attrTransactional != 0 && aborting[b.producer()]:
		default:
			if err := r.read(b, len(rest)); err != nil {
				return nil, 0, fmt.Errorf("%w: at offset %d: %w", ErrCorrupt, b.base(), err)
			}
		}
	}
	if next == offset && len(set) > 0 {
		return nil, 0, fmt.Errorf("%w: %d bytes without one whole batch at or after the offset", ErrCorrupt, len(set))
	}
	return r.records, next, nil
}

// batch is one whole record batch.
type batch []byte

func (b batch) base() int64       { return int64(binary.BigEndian.Uint64(b)) }
func (b batch) crc() uint32       { return binary.BigEndian.Uint32(b[batchCRCAt:]) }
func (b batch) attributes() int16 { return int16(binary.BigEndian.Uint16(b[batchAttributesAt:])) }
func (b batch) firstTime() int64  { return int64(binary.BigEndian.Uint64(b[batchFirstTimeAt:])) }
func (b batch) maxTime() int64    { return int64(binary.BigEndian.Uint64(b[batchMaxTimeAt:])) }
func (b batch) producer() int64   { return int64(binary.BigEndian.Uint64(b[batchProducerAt:])) }
func (b batch) count() int        { return int(int32(binary.BigEndian.Uint32(b[batchCountAt:]))) }

// last is the offset of the batch's last record. It stays when compaction has
// removed that record.
func (b batch) last() int64 {
	return b.base() + int64(int32(binary.BigEndian.Uint32(b[batchLastDeltaAt:])))
}

// abortMarker tells an abort from a commit by the type in the key of a control
// batch's only record.
func (b batch) abortMarker() bool {
	const abort = 0
	var r recordReader
	if err := r.read(b, 0); err != nil || len(r.records) == 0 || len(r.records[0].Key) < 4 {
		return false
	}
	return binary.BigEndian.Uint16(r.records[0].Key[2:]) == abort // after the marker's version
}

// unpacked returns the records' bytes, decompressed where they are compressed.
func (b batch) unpacked() ([]byte, error) {
	kind := compress.Compression(b.attributes() & attrCompression)
	if kind == compress.None {
		return b[batchHead:], nil
	}
	codec := kind.Codec()
	if codec == nil {
		return nil, fmt.Errorf("unknown compression %d", kind)
	}
	packed := codec.NewReader(bytes.NewReader(b[batchHead:]))
	defer packed.Close()
	var buf bytes.Buffer
	buf.Grow(4 * len(b))
	n, err := io.Copy(&buf, io.LimitReader(packed, maxUnpacked+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", codec.Name(), err)
	}
	if n > maxUnpacked {
		return nil, fmt.Errorf("%s: more than %d bytes when decompressed", codec.Name(), maxUnpacked)
	}
	return buf.Bytes(), nil
}

// recordReader collects the records of batches, those at or after offset.
type recordReader struct {
	offset  int64
	records []Record
	headers []kafka.Header // where the next records' headers go
}

var errShort = errors.New("a record is cut off or malformed")

// read appends the records of b; after is how many bytes of further batches
// follow, for sizing the slices.
func (r *recordReader) read(b batch, after int) error {
	body, err := b.unpacked()
	if err != nil {
		return err
	}
	count := b.count()
	if count < 0 || count > len(body)/minRecord {
		return fmt.Errorf("%d records in %d bytes", count, len(body))
	}
	if free := cap(r.records) - len(r.records); free < count {
		more := count + int(int64(count)*int64(after)/int64(len(b)))
		r.records = slices.Grow(r.records, more)
	}
	base, first, maxTime := b.base(), b.firstTime(), b.maxTime()
	appended := b.attributes()&attrLogAppendTime != 0

	for i := range count {
		length, n := varint(body)
		if n <= 0 || length < 0 || length > int64(len(body)-n) {
			return errShort
		}
		f := fields{b: body[n : n+int(length)]}
		body = body[n+int(length):]

		f.skip(1) // attributes: none are defined
		timeDelta, offsetDelta := f.varint(), f.varint()
		offset := base + offsetDelta
		if offset < r.offset {
			continue
		}
		rec := Record{Offset: offset, Key: f.bytes(), Value: f.bytes()}
		if appended {
			rec.Time = time.UnixMilli(maxTime).UTC()
		} else {
			rec.Time = time.UnixMilli(first + timeDelta).UTC()
		}
		if n := f.varint(); n > 0 && !f.short {
			if n > int64(len(f.b)) {
				return errShort
			}
			rec.Headers = r.room(int(n), count-i)
			for j := range rec.Headers {
				rec.Headers[j] = kafka.Header{Key: f.string(), Value: f.bytes()}
			}
		}
		if f.short {
			return errShort
		}
		r.records = append(r.records, rec)
	}
	return nil
}

// room cuts space for n headers from a slab that serves the records to come,
// which are likely to have as many.
func (r *recordReader) room(n, records int) []kafka.Header {
	if len(r.headers) < n {
		r.headers = make([]kafka.Header, max(n, min(n*records, 1<<16)))
	}
	h := r.headers[:n:n]
	r.headers = r.headers[n:]
	return h
}

// fields reads the fields of one record. Reading past the end sets short.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) skip(n int) {
	if n > len(f.b) {
		f.b, f.short = nil, true
		return
	}
	f.b = f.b[n:]
}

func (f *fields) varint() int64 {
	v, n := varint(f.b)
	if n <= 0 {
		f.b, f.short = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) bytes() []byte {
	n := f.varint()
	if n < 0 {
		return nil
	}
	if n > int64(len(f.b)) {
		f.b, f.short = nil, true
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

// string does not copy: the bytes behind it are never changed.
func (f *fields) string() string {
	b := f.bytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// varint is binary.Varint with a short way for the one-byte values that most are.
func varint(b []byte) (int64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	return binary.Varint(b)
}
