// Package load is a client system: it puts code requests on Kafka, at a rate
// or as fast as it can, and watches for their outcomes. The command line, the
// demo and the bench use it; the service does not.
package load

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Message is one request to publish.
type Message struct {
	Type      string // of the event; "": a code is requested
	PoolID    string
	RequestID string
	Key       []byte
	Value     []byte
}

// KeyRule makes a message's key from its customer and request.
type KeyRule func(customer, request string) []byte

// ParseKeyRule reads "customer", "request" or "fixed:VALUE".
func ParseKeyRule(s string) (KeyRule, error) {
	fixed, isFixed := strings.CutPrefix(s, "fixed:")
	switch {
	case s == "customer":
		return func(customer, _ string) []byte { return []byte(customer) }, nil
	case s == "request":
		return func(_, request string) []byte { return []byte(request) }, nil
	case isFixed:
		return func(_, _ string) []byte { return []byte(fixed) }, nil
	}
	return nil, fmt.Errorf("key %q is none of customer, request and fixed:VALUE", s)
}

// Generator makes requests up.
type Generator struct {
	Pools     []string // in turn
	Count     int
	Customers int // customer-0 … in turn
	Key       KeyRule
	IDs       IDs
}

// Messages yields the requests, made when they are asked for.
func (g *Generator) Messages() iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if len(g.Pools) == 0 || g.Count > maxIndex {
			yield(Message{}, errors.New("a pool is needed, and at most 4,294,967,295 requests"))
			return
		}
		pools := make([]string, len(g.Pools))
		for i, p := range g.Pools {
			pools[i] = quoted(p)
		}
		for i := range g.Count {
			id := g.IDs.At(i, time.Now())
			customer := "customer-" + strconv.Itoa(i%max(g.Customers, 1))
			value := make([]byte, 0, 160)
			value = append(append(value, `{"request_id":`...), quoted(id)...)
			value = append(append(value, `,"pool_id":`...), pools[i%len(pools)]...)
			value = append(append(value, `,"customer_id":"`...), customer...)
			value = append(value, `"}`...)
			if !yield(Message{PoolID: g.Pools[i%len(pools)], RequestID: id, Key: g.Key(customer, id), Value: value}, nil) {
				return
			}
		}
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

// IDs are the request ids of one load: UUIDs of version 7 that carry the
// request's number, so that an outcome is found without remembering every id.
// They are ordered by time and, within a millisecond, by number.
type IDs struct {
	Prefix string
	tag    [5]byte
}

const maxIndex = 1<<32 - 1

// NewIDs returns ids that no other load has.
func NewIDs(prefix string) IDs {
	ids := IDs{Prefix: prefix}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	copy(ids.tag[:], b[:])
	return ids
}

// At is the id of request number i.
func (ids *IDs) At(i int, now time.Time) string {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:], uint64(now.UnixMilli())<<16)
	u[6], u[7] = 0x70|byte(i>>28), byte(i>>20)
	u[8], u[9], u[10] = 0x80|byte(i>>16)&0x0f, byte(i>>8), byte(i)
	copy(u[11:], ids.tag[:])
	var out [36]byte
	hex.Encode(out[0:8], u[0:4])
	hex.Encode(out[9:13], u[4:6])
	hex.Encode(out[14:18], u[6:8])
	hex.Encode(out[19:23], u[8:10])
	hex.Encode(out[24:36], u[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return ids.Prefix + string(out[:])
}

// Index is the number of the request with this id, if it is one of ours.
func (ids *IDs) Index(id string) (int, bool) {
	id, ok := strings.CutPrefix(id, ids.Prefix)
	if !ok || len(id) != 36 {
		return 0, false
	}
	var u [16]byte
	at := 0
	for _, part := range [...]string{id[0:8], id[9:13], id[14:18], id[19:23], id[24:36]} {
		n, err := hex.Decode(u[at:], []byte(part))
		if err != nil {
			return 0, false
		}
		at += n
	}
	if [5]byte(u[11:]) != ids.tag {
		return 0, false
	}
	return int(u[6]&0x0f)<<28 | int(u[7])<<20 | int(u[8]&0x0f)<<16 | int(u[9])<<8 | int(u[10]), true
}
