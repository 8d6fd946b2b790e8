package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"promopool/internal/topics"
)

const (
	// DefaultFetchBytes bounds what one Fetch returns. Raised, a Fetch that
	// catches up carries more records and holds more memory; lowered, it costs
	// more round trips.
	DefaultFetchBytes = 1 << 20

	// fetchWait is how long the broker holds a Fetch when there is nothing.
	fetchWait = 500 * time.Millisecond
	// fetchTimeout is when a broker that does not answer is given up.
	fetchTimeout = fetchWait + 10*time.Second
)

// Record is one message. Key, Value and Headers point into the memory of the
// Fetch that brought it: they stay valid, must not be changed, and keep all of
// that Fetch alive. A nil Key or Value was null on the wire.
type Record struct {
	Offset  int64
	Time    time.Time
	Key     []byte
	Value   []byte
	Headers []kafka.Header
}

// Fetched is what one Fetch brought.
type Fetched struct {
	Records []Record
	// Next is the offset to ask for next. It is beyond the last record where
	// control records or aborted transactions follow, and may move when there
	// are no records at all.
	Next int64
	// HighWater is the end of the log; an open transaction may keep Next below
	// it for as long as it lasts.
	HighWater int64
	LogStart  int64
}

// OutOfRangeError says that the log has no such offset: it was deleted by
// retention (Offset < LogStart), or the log ends before it (Offset > End), as
// after the topic was made anew.
type OutOfRangeError struct {
	Offset, LogStart, End int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d is out of range: the log has %d to %d", e.Offset, e.LogStart, e.End)
}

// ErrRecreated says that the topic has been deleted, and perhaps made anew: what
// it holds now is another stream. A Fetcher never reads from that one.
var ErrRecreated = errors.New("the topic has been deleted or made anew")

// Fetcher reads the partitions of one topic as read_committed consumers do. It
// is safe for concurrent use.
type Fetcher struct {
	client   *kafka.Client
	topic    string
	maxBytes int
	sharing  sharing

	mu sync.Mutex
	id [16]byte // guarded by mu; zero until it is known
}

// NewFetcher returns a Fetcher of the topic as it is when the first Fetch comes;
// Of says which incarnation is meant. A single record batch larger than maxBytes
// is still fetched whole.
func NewFetcher(client *kafka.Client, topic string, maxBytes int) *Fetcher {
	return &Fetcher{client: client, topic: topic, maxBytes: maxBytes}
}

// Of returns a Fetcher of the incarnation that t describes.
func (f *Fetcher) Of(t topics.Topic) *Fetcher {
	return &Fetcher{client: f.client, topic: t.Name, maxBytes: f.maxBytes, id: t.ID}
}

// Fetch returns the committed records of a partition from offset on, waiting up
// to half a second for the first. Errors are worth a retry after a pause, but
// for *OutOfRangeError, which stays until the caller changes the offset,
// ErrRecreated, which stays, and ErrCorrupt, which stays if it is the log itself
// that is damaged.
func (f *Fetcher) Fetch(ctx context.Context, partition int, offset int64) (Fetched, error) {
	id, err := f.incarnation(ctx)
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch partition %d: %w", partition, err)
	}
	p, err := f.ask(ctx, id, fetchPart{int32(partition), offset})
	if errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition) {
		err = f.recreated(ctx, id, err)
	}
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch partition %d: %w", partition, err)
	}
	if errors.Is(p.err, kafka.OffsetOutOfRange) {
		return Fetched{}, f.outOfRange(ctx, partition, offset)
	}
	if errors.Is(p.err, kafka.UnknownTopicID) || errors.Is(p.err, kafka.InconsistentTopicID) {
		return Fetched{}, fmt.Errorf("fetch partition %d: %w", partition, f.recreated(ctx, id, p.err))
	}
	if p.err != nil {
		return Fetched{}, fmt.Errorf("fetch partition %d: %w", partition, p.err)
	}
	records, next, err := readRecordSet(p.set, offset, p.aborted)
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch partition %d from offset %d: %w", partition, offset, err)
	}
	f.sharing.saw(int32(partition), p, next)
	return Fetched{Records: records, Next: next, HighWater: p.highWater, LogStart: p.logStart}, nil
}

// incarnation looks the topic's ID up until it is known. Nobody waits for another's
// look-up: the first that is answered counts for all.
func (f *Fetcher) incarnation(ctx context.Context) ([16]byte, error) {
	f.mu.Lock()
	id := f.id
	f.mu.Unlock()
	if id != ([16]byte{}) {
		return id, nil
	}
	id, err := topics.Incarnation(ctx, f.client, f.topic)
	if err != nil {
		return id, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id == ([16]byte{}) {
		f.id = id
	}
	return f.id, nil
}

// recreated tells a topic that is gone from one that the broker asked has not
// heard of yet.
func (f *Fetcher) recreated(ctx context.Context, id [16]byte, reason error) error {
	switch now, err := topics.Incarnation(ctx, f.client, f.topic); {
	case errors.Is(err, kafka.UnknownTopicOrPartition), err == nil && now != id:
		return ErrRecreated
	case err != nil:
		return err
	default:
		return reason
	}
}

// outOfRange looks the range up, since the broker's refusal does not name it.
func (f *Fetcher) outOfRange(ctx context.Context, partition int, offset int64) error {
	res, err := f.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{
			f.topic: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)},
		},
	})
	if err != nil {
		return fmt.Errorf("look up the range of partition %d: %w", partition, err)
	}
	for _, p := range res.Topics[f.topic] {
		if p.Error != nil {
			return fmt.Errorf("look up the range of partition %d: %w", partition, p.Error)
		}
		if p.Partition == partition {
			return &OutOfRangeError{Offset: offset, LogStart: p.FirstOffset, End: p.LastOffset}
		}
	}
	return fmt.Errorf("look up the range of partition %d: %w", partition, kafka.UnknownTopicOrPartition)
}

// fetchRequest is a Fetch that writes itself to, and reads its answer from, a
// connection that the client has opened (protocol.RawExchanger). The client's
// own decoding costs several times as much (see recordbatch.go), and it cannot
// name topics by their IDs. The request can ask for several partitions, which
// must have one leader.
type fetchRequest struct {
	topic    string // for finding the leader
	id       [16]byte
	maxBytes int32
	parts    []fetchPart
}

type fetchPart struct {
	partition int32
	offset    int64
}

// fetchVersion is the first that names topics by ID: Kafka 3.1.
const fetchVersion = 13

func (*fetchRequest) ApiKey() protocol.ApiKey                 { return protocol.Fetch }
func (*fetchRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker routes the request to the leader, by the rules of the client's own.
func (r *fetchRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	parts := make([]fetchapi.RequestPartition, len(r.parts))
	for i, p := range r.parts {
		parts[i].Partition = p.partition
	}
	route := fetchapi.Request{Topics: []fetchapi.RequestTopic{{Topic: r.topic, Partitions: parts}}}
	return route.Broker(cluster)
}

func (r *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if _, err := rw.Write(r.encode()); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > 1<<30 {
		return nil, fmt.Errorf("a fetch response of %d bytes", size)
	}
	// The buffer is never used again: after a cancelled Fetch the connection
	// still reads into it, and records point into it.
	body := make([]byte, size)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, err
	}
	return decodeFetch(body)
}

const fetchCorrelation = 1 // one request at a time on a connection

// In these messages arrays, strings and bytes have their length plus one before
// them, as a varint, and 0 for null; every structure ends in tagged fields, of
// which we send none.
const noTags = 0

func (r *fetchRequest) encode() []byte {
	const readCommitted = 1
	b := make([]byte, 4, 128+33*len(r.parts))
	be := binary.BigEndian
	b = be.AppendUint16(b, uint16(protocol.Fetch))
	b = be.AppendUint16(b, fetchVersion)
	b = be.AppendUint32(b, fetchCorrelation)
	b = be.AppendUint16(b, uint16(len(topics.ClientID)))
	b = append(b, topics.ClientID...)
	b = append(b, noTags)

	b = be.AppendUint32(b, ^uint32(0)) // replica: none
	b = be.AppendUint32(b, uint32(fetchWait.Milliseconds()))
	b = be.AppendUint32(b, 1) // min bytes
	b = be.AppendUint32(b, uint32(r.maxBytes))
	b = append(b, readCommitted)
	b = be.AppendUint32(b, 0)          // session id
	b = be.AppendUint32(b, ^uint32(0)) // session epoch: no session
	b = append(b, 1+1)                 // one topic
	b = append(b, r.id[:]...)
	b = binary.AppendUvarint(b, uint64(len(r.parts)+1))
	for _, p := range r.parts {
		b = be.AppendUint32(b, uint32(p.partition))
		b = be.AppendUint32(b, ^uint32(0)) // leader epoch: any
		b = be.AppendUint64(b, uint64(p.offset))
		b = be.AppendUint32(b, ^uint32(0)) // last fetched epoch: followers only
		b = be.AppendUint64(b, ^uint64(0)) // log start: followers only
		b = be.AppendUint32(b, uint32(r.maxBytes))
		b = append(b, noTags)
	}
	b = append(b, noTags)
	b = append(b, 0+1) // no forgotten topics
	b = append(b, 0+1) // no rack
	b = append(b, noTags)
	be.PutUint32(b, uint32(len(b)-4))
	return b
}

type fetchResponse struct {
	err   error
	parts []fetchedPart
}

type fetchedPart struct {
	partition int32
	err       error
	highWater int64
	logStart  int64
	aborted   []abortedTransaction
	set       []byte
}

func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// decodeFetch reads a whole response. An error means that the connection is out
// of step and must be closed.
func decodeFetch(body []byte) (*fetchResponse, error) {
	d := cursor{b: body}
	if id := d.int32(); d.bad || id != fetchCorrelation {
		return nil, fmt.Errorf("correlation id %d of a fetch response, want %d", id, fetchCorrelation)
	}
	d.tags()
	d.int32() // throttled for
	res := new(fetchResponse)
	if code := d.int16(); code != 0 {
		res.err = kafka.Error(code)
	}
	d.int32() // session
	for range d.count() {
		d.take(16) // topic
		for range d.count() {
			p := fetchedPart{partition: d.int32()}
			if code := d.int16(); code != 0 {
				p.err = kafka.Error(code)
			}
			p.highWater = d.int64()
			d.int64() // last stable offset
			p.logStart = d.int64()
			for range d.count() {
				p.aborted = append(p.aborted, abortedTransaction{producer: d.int64(), first: d.int64()})
				d.tags()
			}
			d.int32() // preferred replica
			p.set = d.take(d.count())
			d.tags()
			res.parts = append(res.parts, p)
		}
		d.tags()
	}
	d.tags()
	if d.bad {
		return nil, errors.New("malformed fetch response")
	}
	return res, nil
}

// cursor reads the fields of a response. Reading past the end gives zeroes and
// sets bad, so that it is checked once.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// count reads the length of an array or of bytes; null has none. Elements take
// a byte or more, so it is never beyond what is left.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b))+1 {
		c.b, c.bad = nil, true
		return 0
	}
	return max(int(n)-1, 0)
}

// tags skips tagged fields.
func (c *cursor) tags() {
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		c.uvarint() // which
		c.take(int(min(c.uvarint(), 1<<31)))
	}
}

func (c *cursor) int16() int16 {
	if b := c.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (c *cursor) int64() int64 {
	if b := c.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}
