package simulation

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerLog is the model of the topics: record batches as they came, numbered.
type brokerLog struct {
	topics map[string]*topicLog
	names  map[[16]byte]string
	// appended sees every batch as it becomes readable.
	appended func(topic string, partition int, first int64, records []record)
}

type topicLog struct {
	id         [16]byte
	partitions []partitionLog
}

type partitionLog struct {
	batches []recordBatch
	end     int64
}

type recordBatch struct {
	base, count int64
	bytes       []byte
}

// record is what the model's own reader sees of a record.
type record struct {
	key, value []byte
	headers    map[string]string
}

func newLog(partitions int, topics ...string) *brokerLog {
	l := &brokerLog{topics: map[string]*topicLog{}, names: map[[16]byte]string{}}
	for i, name := range topics {
		t := &topicLog{id: [16]byte{15: byte(i + 1)}, partitions: make([]partitionLog, partitions)}
		l.topics[name], l.names[t.id] = t, name
	}
	return l
}

func (l *brokerLog) part(topic string, partition int) *partitionLog {
	return &l.topics[topic].partitions[partition]
}

// add appends a batch, which begins with its base offset.
func (l *brokerLog) add(topic string, partition int, b []byte) error {
	p := l.part(topic, partition)
	count := int64(binary.BigEndian.Uint32(b[57:]))
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(b, uint64(p.end))
	records, err := decodeBatch(b)
	if err != nil {
		return err
	}
	if int64(len(records)) != count {
		return fmt.Errorf("a batch of %d records holds %d", count, len(records))
	}
	first := p.end
	p.batches = append(p.batches, recordBatch{p.end, count, b})
	p.end += count
	l.appended(topic, partition, first, records)
	return nil
}

// decodeBatch reads a batch by the library's decoder, which the program does not use.
func decodeBatch(b []byte) ([]record, error) {
	set := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	var rs protocol.RecordSet
	if _, err := rs.ReadFrom(bytes.NewReader(append(set, b...))); err != nil {
		return nil, err
	}
	var all []record
	for {
		r, err := rs.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var out record
		if out.key, err = protocol.ReadAll(r.Key); err != nil {
			return nil, err
		}
		if out.value, err = protocol.ReadAll(r.Value); err != nil {
			return nil, err
		}
		out.headers = map[string]string{}
		for _, h := range r.Headers {
			out.headers[h.Key] = string(h.Value)
		}
		all = append(all, out)
	}
}

// encodeBatch makes a batch by the library's encoder.
func encodeBatch(records []kafka.Record) ([]byte, error) {
	rs := protocol.RecordSet{Version: 2, Records: kafka.NewRecordReader(records...)}
	var b bytes.Buffer
	if _, err := rs.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes()[4:], nil
}

// transport carries the requests of a process to the model.
type transport struct {
	log *brokerLog
	// call runs work on the broker, as far from its client as a network is. read:
	// it changes nothing. ready: when the broker answers.
	call func(ctx context.Context, kind, detail string, read bool, ready func() bool, work func()) error
	// some says how many of n batches one answer brings.
	some func(n int) int
}

func (t *transport) RoundTrip(ctx context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	switch r := req.(type) {
	case *rawproduce.Request:
		return t.produce(ctx, r)
	case *listoffsets.Request:
		return t.offsets(ctx, r)
	case interface {
		RawExchange(io.ReadWriter) (protocol.Message, error)
	}:
		w := &wire{t: t, ctx: ctx}
		m, err := r.RawExchange(w)
		if w.err != nil {
			return nil, w.err
		}
		return m, err
	}
	return nil, fmt.Errorf("the simulation has no answer to %T", req)
}

func (t *transport) produce(ctx context.Context, r *rawproduce.Request) (kafka.Response, error) {
	type parcel struct {
		topic     string
		partition int32
		batch     []byte
	}
	var load []parcel
	detail := ""
	res := &produceapi.Response{}
	for _, topic := range r.Topics {
		answer := produceapi.ResponseTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			b, err := io.ReadAll(p.RecordSet.Reader)
			if err != nil {
				return nil, err
			}
			load = append(load, parcel{topic.Topic, p.Partition, b[4:]})
			detail += fmt.Sprintf(" %s/%d", topic.Topic, p.Partition)
			answer.Partitions = append(answer.Partitions, produceapi.ResponsePartition{Partition: p.Partition})
		}
		res.Topics = append(res.Topics, answer)
	}
	var failed error
	err := t.call(ctx, "produce", detail, false, nil, func() {
		for _, p := range load {
			if err := t.log.add(p.topic, int(p.partition), p.batch); err != nil {
				failed = err
			}
		}
	})
	if err == nil {
		err = failed
	}
	return res, err
}

func (t *transport) offsets(ctx context.Context, r *listoffsets.Request) (kafka.Response, error) {
	res := &listoffsets.Response{}
	err := t.call(ctx, "offsets", r.Topics[0].Topic, true, nil, func() {
		for _, topic := range r.Topics {
			answer := listoffsets.ResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				at := int64(0)
				if p.Timestamp == kafka.LastOffset {
					at = t.log.part(topic.Topic, int(p.Partition)).end
				}
				answer.Partitions = append(answer.Partitions, listoffsets.ResponsePartition{Partition: p.Partition, Timestamp: p.Timestamp, Offset: at})
			}
			res.Topics = append(res.Topics, answer)
		}
	})
	return res, err
}

// wire is a connection on which a request writes itself and reads its answer.
type wire struct {
	t   *transport
	ctx context.Context
	in  bytes.Reader
	err error
}

func (w *wire) Read(b []byte) (int, error) { return w.in.Read(b) }

func (w *wire) Write(b []byte) (int, error) {
	var answer []byte
	switch key := protocol.ApiKey(binary.BigEndian.Uint16(b[4:])); key {
	case protocol.Fetch:
		answer = w.fetch(b)
	case protocol.Metadata:
		w.err = w.t.call(w.ctx, "metadata", "", true, nil, func() { answer = w.t.log.metadata() })
	default:
		w.err = fmt.Errorf("the simulation has no answer to %v", key)
	}
	if w.err != nil {
		return 0, w.err
	}
	w.in.Reset(answer)
	return len(b), nil
}

func (l *brokerLog) metadata() []byte {
	res := kmsg.NewPtrMetadataResponse()
	res.SetVersion(11)
	res.ClusterID = kmsg.StringPtr("simulation")
	for name, t := range l.topics {
		m := kmsg.NewMetadataResponseTopic()
		m.Topic, m.TopicID = kmsg.StringPtr(name), t.id
		for n := range t.partitions {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition = int32(n)
			m.Partitions = append(m.Partitions, p)
		}
		res.Topics = append(res.Topics, m)
	}
	head := []byte{0, 0, 0, 1, 0} // correlation, no tags
	body := res.AppendTo(head)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// fetch waits as long as the broker does for records behind any of the offsets.
func (w *wire) fetch(b []byte) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(int16(binary.BigEndian.Uint16(b[6:])))
	client := int(binary.BigEndian.Uint16(b[12:]))
	if w.err = req.ReadFrom(b[14+client+1:]); w.err != nil {
		return nil
	}
	l := w.t.log
	topic := req.Topics[0]
	name := l.names[topic.TopicID]
	detail := name
	for _, p := range topic.Partitions {
		detail += fmt.Sprintf(" %d@%d", p.Partition, p.FetchOffset)
	}
	until := time.Now().Add(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	ready := func() bool {
		for _, p := range topic.Partitions {
			if l.part(name, int(p.Partition)).end > p.FetchOffset {
				return true
			}
		}
		return !time.Now().Before(until)
	}
	res := kmsg.NewPtrFetchResponse()
	res.SetVersion(req.Version)
	w.err = w.t.call(w.ctx, "fetch", detail, true, ready, func() {
		rt := kmsg.NewFetchResponseTopic()
		rt.TopicID = topic.TopicID
		for _, p := range topic.Partitions {
			rt.Partitions = append(rt.Partitions, w.t.read(l.part(name, int(p.Partition)), p.Partition, p.FetchOffset))
		}
		res.Topics = append(res.Topics, rt)
	})
	body := res.AppendTo([]byte{0, 0, 0, 1, 0})
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func (t *transport) read(p *partitionLog, number int32, offset int64) kmsg.FetchResponseTopicPartition {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.Partition, rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = number, p.end, p.end, 0
	if offset > p.end {
		rp.ErrorCode = int16(kafka.OffsetOutOfRange)
		return rp
	}
	from := 0
	for from < len(p.batches) && p.batches[from].base+p.batches[from].count <= offset {
		from++
	}
	if from < len(p.batches) {
		for _, b := range p.batches[from : from+t.some(len(p.batches)-from)] {
			rp.RecordBatches = append(rp.RecordBatches, b.bytes...)
		}
	}
	return rp
}
