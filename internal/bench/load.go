package bench

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"promopool/internal/domain"
	"promopool/internal/producer"
)

// batchBytes is the largest record batch of the backlog: Kafka's default of
// batch.size, doubled twice, as busy producers are told to.
const batchBytes = 64 << 10

// maker makes requests like a workflow system's: ids in the order of time
// (RFC 9562, version 7), customers at random.
type maker struct {
	pool string
	// pools, if there are any, are asked for at random instead.
	pools []string
	// shuffled makes ids that come in no order (version 4).
	shuffled bool
	at       uint64 // of the next id: milliseconds, then 12 bits
	seed     uint64
}

func newMaker(pool string) maker {
	now := uint64(time.Now().UnixMilli())
	return maker{pool: pool, at: now << 12, seed: now | 1}
}

func (m *maker) random() uint64 { // xorshift64
	m.seed ^= m.seed << 13
	m.seed ^= m.seed >> 7
	m.seed ^= m.seed << 17
	return m.seed
}

func (m *maker) requestID() string {
	var raw [16]byte
	id := m.at
	m.at++
	high, low := id>>12<<16|0x7000|id&0xfff, m.random()&^(3<<62)|2<<62
	if m.shuffled {
		high = m.random()&^0xf000 | 0x4000
	}
	for i := range 8 {
		raw[i], raw[8+i] = byte(high>>(56-8*i)), byte(low>>(56-8*i))
	}
	var b [36]byte
	hex.Encode(b[0:8], raw[0:4])
	hex.Encode(b[9:13], raw[4:6])
	hex.Encode(b[14:18], raw[6:8])
	hex.Encode(b[19:23], raw[8:10])
	hex.Encode(b[24:], raw[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

func (m *maker) customerID() string {
	return "customer-" + strconv.FormatUint(1_000_000+m.random()%1_000_000, 10)
}

func (m *maker) context() []byte {
	return []byte(`{"workflow_run":"wf-` + strconv.FormatUint(m.random()%1e12, 10) + `","step":3,"channel":"email","locale":"de-DE"}`)
}

// request is the next request as the store sees it.
func (m *maker) request(offset int64) domain.Request {
	pool := m.pool
	if len(m.pools) > 0 {
		pool = m.pools[m.random()%uint64(len(m.pools))]
	}
	return domain.Request{Offset: offset, PoolID: pool, RequestID: m.requestID(), CustomerID: m.customerID(), Context: m.context()}
}

// Headers of an event that are the same for all.
var (
	headerVersion = kafka.Header{Key: "ce_specversion", Value: []byte("1.0")}
	headerType    = kafka.Header{Key: "ce_type", Value: []byte(domain.TypeCodeRequested)}
	headerSource  = kafka.Header{Key: "ce_source", Value: []byte("/workflows")}
	headerJSON    = kafka.Header{Key: "content-type", Value: []byte("application/json")}
)

// record is the next request as an event.
func (m *maker) record() producer.Record {
	r := m.request(0)
	value := make([]byte, 0, 256)
	value = append(append(value, `{"request_id":"`...), r.RequestID...)
	value = append(append(value, `","pool_id":"`...), r.PoolID...)
	value = append(append(value, `","customer_id":"`...), r.CustomerID...)
	value = append(append(value, `","context":`...), r.Context...)
	value = append(value, '}')
	return producer.Record{Key: []byte(r.CustomerID), Value: value, Time: time.Now(), Headers: []kafka.Header{
		headerVersion, {Key: "ce_id", Value: []byte(r.RequestID)}, headerType, headerSource, headerJSON,
	}}
}

// sample is an event to be described, not sent.
func (m maker) sample() producer.Record { return m.record() }

// backlog publishes n requests, evenly over the partitions, and returns where
// in each they begin.
func (w *world) backlog(ctx context.Context, n int) ([]int64, error) {
	base, err := w.ends(ctx, w.names.Requests)
	if err != nil {
		return nil, err
	}
	var records [partitions][]producer.Record
	for i := range n {
		records[i%partitions] = append(records[i%partitions], w.requests.record())
	}
	var all errgroup.Group
	for p := range records {
		all.Go(func() error { return w.producer.Publish(ctx, w.names.Requests, p, records[p]) })
	}
	return base, all.Wait()
}
