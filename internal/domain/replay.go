package domain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrLogChanged means that the log holds another message at a place than it
// did when that place was decided. What is true is no longer known.
var ErrLogChanged = errors.New("the log changed under us: a message differs from the one decided at its offset")

// Rejection is what a decided batch remembers of one delivery that it rejected.
type Rejection struct {
	Offset int64
	Hash   uint64
	Reason Reason
}

// Range is one decided batch: deliveries First…End−1 of a partition.
type Range struct {
	First, End int64
	DecidedAt  time.Time
	Rejections []Rejection // by offset
}

// AppendVerdicts encodes rejections for storage: for each the distance from
// the offset before (uvarint; the first from first), the hash (8 bytes, big
// endian) and the reason (1 byte).
func AppendVerdicts(b []byte, first int64, rejections []Rejection) []byte {
	for _, r := range rejections {
		b = binary.AppendUvarint(b, uint64(r.Offset-first))
		b = binary.BigEndian.AppendUint64(b, r.Hash)
		b = append(b, byte(r.Reason))
		first = r.Offset
	}
	return b
}

// ParseVerdicts is the inverse of AppendVerdicts.
func ParseVerdicts(b []byte, first int64) ([]Rejection, error) {
	var rejections []Rejection
	for len(b) > 0 {
		delta, n := binary.Uvarint(b)
		if n <= 0 || len(b) < n+9 {
			return nil, errors.New("verdicts are cut short")
		}
		first += int64(delta)
		rejections = append(rejections, Rejection{
			Offset: first, Hash: binary.BigEndian.Uint64(b[n:]), Reason: Reason(b[n+8]),
		})
		b = b[n+9:]
	}
	return rejections, nil
}

// Replay repeats what was decided on deliveries of a known range: a rejection
// remembered for the very message, else the stored issuance of its request.
// pools maps pool ids to their keys. A delivery with neither is ErrLogChanged.
func Replay(rg Range, requests []Request, pools map[string]*Pool, stored map[Key]*Issuance) ([]Outcome, error) {
	rejected := make(map[int64]Rejection, len(rg.Rejections))
	for _, r := range rg.Rejections {
		rejected[r.Offset] = r
	}
	outcomes := make([]Outcome, len(requests))
	for i := range requests {
		r := &requests[i]
		if rej, ok := rejected[r.Offset]; ok {
			if rej.Hash != r.Hash() {
				return nil, fmt.Errorf("offset %d: %w", r.Offset, ErrLogChanged)
			}
			outcomes[i] = Outcome{Request: r, Verdict: Rejected, Reason: rej.Reason, DecidedAt: rg.DecidedAt}
			continue
		}
		var issue *Issuance
		if pool := pools[r.PoolID]; pool != nil {
			issue = stored[Key{pool.Key, r.RequestID}]
		}
		if issue == nil || !issue.IssuedTo(r.CustomerID) {
			return nil, fmt.Errorf("offset %d: %w", r.Offset, ErrLogChanged)
		}
		outcomes[i] = known(r, issue)
	}
	return outcomes, nil
}
