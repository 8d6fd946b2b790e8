package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"
)

// Event types (CloudEvents attribute "type").
const (
	TypeCodeRequested = "promopool.code.requested"
	TypeCodeIssued    = "promopool.code.issued"
	TypeCodeRejected  = "promopool.code.rejected"
)

// Source is the CloudEvents attribute "source" of every event of ours.
const Source = "/promopool"

// DataSchema is the CloudEvents attribute "dataschema" of version 1 of a type.
func DataSchema(eventType string) string {
	return "urn:promopool:schema:" + eventType[len("promopool."):] + ":1"
}

// IssuedEventID is the ce_id of the issue of a request. It depends on nothing
// but the request, so that every repeat carries the same.
func IssuedEventID(poolID, requestID string) string {
	return eventID("issued", poolID, requestID)
}

// RejectedEventID is the ce_id of the rejection of one delivery.
func RejectedEventID(stream string, partition int, offset int64) string {
	return eventID("rejected", stream, strconv.Itoa(partition), strconv.FormatInt(offset, 10))
}

// eventID is 128 bits of a SHA-256 over the parts, none of which holds a NUL,
// in the form of a UUID of version 8 (RFC 9562, section 5.8).
func eventID(parts ...string) string {
	var room [512]byte
	b := room[:0]
	for _, p := range parts {
		b = append(append(b, p...), 0)
	}
	sum := sha256.Sum256(b)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[0:8], sum[0:4])
	hex.Encode(out[9:13], sum[4:6])
	hex.Encode(out[14:18], sum[6:8])
	hex.Encode(out[19:23], sum[8:10])
	hex.Encode(out[24:36], sum[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// EventTime is a time in events: RFC 3339, UTC, at most microseconds.
func EventTime(t time.Time) string { return string(appendTime(nil, t)) }

func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.999999Z07:00")
}

// AppendIssued appends the data of code.issued, always the same bytes for the
// same issuance.
func AppendIssued(b []byte, i *Issuance) []byte {
	b = appendString(append(b, `{"request_id":`...), i.RequestID)
	b = appendString(append(b, `,"pool_id":`...), i.Pool.ID)
	b = appendString(append(b, `,"campaign_id":`...), i.Pool.CampaignID)
	b = appendString(append(b, `,"customer_id":`...), i.CustomerID)
	b = appendString(append(b, `,"code":`...), i.Code)
	b = appendString(append(b, `,"parameter_name":`...), i.Pool.ParameterName)
	b = append(appendTime(append(b, `,"issued_at":"`...), i.IssuedAt), '"')
	b = append(appendTime(append(b, `,"valid_from":"`...), i.ValidFrom), '"')
	b = append(b, `,"valid_until":`...)
	if i.ValidUntil.IsZero() {
		b = append(b, `null`...)
	} else {
		b = append(appendTime(append(b, '"'), i.ValidUntil), '"')
	}
	return append(appendRaw(append(b, `,"context":`...), i.Context), '}')
}

// AppendRejected appends the data of code.rejected for a rejected outcome.
func AppendRejected(b []byte, o *Outcome) []byte {
	b = appendString(append(b, `{"request_id":`...), o.Request.RequestID)
	b = appendString(append(b, `,"pool_id":`...), o.Request.PoolID)
	b = appendString(append(b, `,"customer_id":`...), o.Request.CustomerID)
	b = appendString(append(b, `,"reason":`...), o.Reason.String())
	b = appendString(append(b, `,"detail":`...), o.Reason.Detail())
	b = append(appendTime(append(b, `,"rejected_at":"`...), o.DecidedAt), '"')
	return append(appendRaw(append(b, `,"context":`...), o.Request.Context), '}')
}

func appendRaw(b, json []byte) []byte {
	if json == nil {
		return append(b, `null`...)
	}
	return append(b, json...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s, which is valid UTF-8, as a JSON string (RFC 8259),
// escaping no more than it must.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(b, s[start:]...), '"')
}

// MaxIDBytes bounds request_id, pool_id and customer_id in events.
const MaxIDBytes = 200

// MaxContextBytes bounds the context of a request.
const MaxContextBytes = 4096

// ValidEventID reports whether s can be a request_id, pool_id or customer_id:
// 1–200 bytes of UTF-8 without NUL.
func ValidEventID(s string) bool {
	if s == "" || len(s) > MaxIDBytes || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return true
}
