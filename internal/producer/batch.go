package producer

import (
	"encoding/binary"
	"hash/crc32"
)

// A record batch of format 2: https://kafka.apache.org/documentation/#recordbatch
const (
	setSize = 4 // the size of the set goes before the batch

	lengthAt      = 8
	leaderEpochAt = 12
	crcAt         = 17
	attributesAt  = 21
	lastDeltaAt   = 23
	firstTimeAt   = 27
	maxTimeAt     = 35
	producerAt    = 43
	countAt       = 57
	headSize      = 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode appends to b the first of recs as one uncompressed batch of at most
// limit bytes, the set's size before it, and returns how many they are: at
// least one. The library's own encoder takes several times as long.
func encode(b []byte, recs []Record, limit int) ([]byte, int) {
	be := binary.BigEndian
	first := recs[0].Time.UnixMilli()
	latest := first

	b = append(b[:0], head[:]...)
	n := 0
	for ; n < len(recs); n++ {
		end := len(b)
		b = recs[n].append(b, n, first)
		if n > 0 && len(b)-setSize > limit {
			b = b[:end]
			break
		}
		latest = max(latest, recs[n].Time.UnixMilli())
	}

	be.PutUint32(b, uint32(len(b)-setSize))
	h := b[setSize:]
	be.PutUint32(h[lengthAt:], uint32(len(h)-lengthAt-4))
	be.PutUint32(h[lastDeltaAt:], uint32(n-1))
	be.PutUint64(h[firstTimeAt:], uint64(first))
	be.PutUint64(h[maxTimeAt:], uint64(latest))
	be.PutUint32(h[countAt:], uint32(n))
	be.PutUint32(h[crcAt:], crc32.Checksum(h[attributesAt:], castagnoli))
	return b, n
}

// head is the set's size and the batch's head before they are filled in. What
// stays 0 is the base offset, which is the broker's to give, and the attributes:
// no compression, time of creation.
var head = func() (h [setSize + headSize]byte) {
	b := h[setSize:]
	copy(b[leaderEpochAt:], []byte{0xff, 0xff, 0xff, 0xff, 2}) // none; the format
	for i := producerAt; i < countAt; i++ {
		b[i] = 0xff // no producer id, epoch and sequence
	}
	return h
}()

func (r *Record) append(b []byte, i int, first int64) []byte {
	delta := r.Time.UnixMilli() - first
	b = binary.AppendVarint(b, int64(r.size(i, delta)))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, int64(i))
	b = appendBytes(b, r.Key)
	b = appendBytes(b, r.Value)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for j := range r.Headers {
		h := &r.Headers[j]
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendBytes(b, h.Value)
	}
	return b
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 1) // -1
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}

// size is what the record takes after its own length.
func (r *Record) size(i int, delta int64) int {
	n := 1 + varintSize(delta) + varintSize(int64(i)) + bytesSize(r.Key) + bytesSize(r.Value) + varintSize(int64(len(r.Headers)))
	for j := range r.Headers {
		h := &r.Headers[j]
		n += varintSize(int64(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	return n
}

func bytesSize(v []byte) int {
	if v == nil {
		return 1
	}
	return varintSize(int64(len(v))) + len(v)
}

func varintSize(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}
