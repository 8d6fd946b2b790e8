package producer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// attempt sends one encoded batch once. b must not be changed even afterwards:
// the connection may still be writing it when ctx has ended.
func (p *Producer) attempt(ctx context.Context, topic string, partition int, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	m, err := p.client.Transport.RoundTrip(ctx, p.client.Addr, &rawproduce.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: int32((RequestTimeout / 2).Milliseconds()),
		Topics: []rawproduce.RequestTopic{{
			Topic: topic,
			Partitions: []rawproduce.RequestPartition{{
				Partition: int32(partition),
				RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b)},
			}},
		}},
	})
	if err != nil {
		return err
	}
	res := m.(*produceapi.Response)
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return errors.New("the produce response is for other partitions")
	}
	answer := &res.Topics[0].Partitions[0]
	if answer.ErrorCode == 0 {
		return nil
	}
	if answer.ErrorMessage != "" {
		return fmt.Errorf("%w: %s", kafka.Error(answer.ErrorCode), answer.ErrorMessage)
	}
	return kafka.Error(answer.ErrorCode)
}

// A record batch of format 2: https://kafka.apache.org/documentation/#recordbatch
const (
	setSize  = 4 // the size of the set goes before the batch
	lengthAt = 8
	crcAt    = 17
	afterCRC = 21
	headSize = 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendBatch appends recs as one uncompressed batch, with the set's size before it.
func appendBatch(b []byte, recs []Record) []byte {
	be := binary.BigEndian
	size := batchSize(recs)
	if b == nil {
		b = make([]byte, 0, setSize+size)
	}
	first := recs[0].Time.UnixMilli()
	latest := first
	for i := range recs {
		latest = max(latest, recs[i].Time.UnixMilli())
	}

	b = be.AppendUint32(b, uint32(size))
	start := len(b)
	b = be.AppendUint64(b, 0) // base offset: the broker's
	b = be.AppendUint32(b, uint32(size-lengthAt-4))
	b = be.AppendUint32(b, ^uint32(0)) // leader epoch: the broker's
	b = append(b, 2)                   // format
	b = be.AppendUint32(b, 0)          // checksum, below
	b = be.AppendUint16(b, 0)          // attributes: no compression, time of creation
	b = be.AppendUint32(b, uint32(len(recs)-1))
	b = be.AppendUint64(b, uint64(first))
	b = be.AppendUint64(b, uint64(latest))
	b = be.AppendUint64(b, ^uint64(0)) // producer id: none
	b = be.AppendUint16(b, ^uint16(0)) // producer epoch
	b = be.AppendUint32(b, ^uint32(0)) // sequence
	b = be.AppendUint32(b, uint32(len(recs)))
	for i := range recs {
		b = recs[i].append(b, i, first)
	}
	be.PutUint32(b[start+crcAt:], crc32.Checksum(b[start+afterCRC:], castagnoli))
	return b
}

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

// fit is how many of recs make a batch of at most limit bytes; at least one.
func fit(recs []Record, limit int) int {
	size, first := headSize, recs[0].Time.UnixMilli()
	for i := range recs {
		n := recs[i].size(i, recs[i].Time.UnixMilli()-first)
		if size += varintSize(int64(n)) + n; size > limit && i > 0 {
			return i
		}
	}
	return len(recs)
}

// batchSize is what recs take as a batch, which is what brokers compare with
// max.message.bytes.
func batchSize(recs []Record) int {
	size, first := headSize, recs[0].Time.UnixMilli()
	for i := range recs {
		n := recs[i].size(i, recs[i].Time.UnixMilli()-first)
		size += varintSize(int64(n)) + n
	}
	return size
}
