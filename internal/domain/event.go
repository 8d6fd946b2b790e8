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
	return string(AppendIssuedEventID(nil, poolID, requestID))
}

// AppendIssuedEventID appends the same.
func AppendIssuedEventID(b []byte, poolID, requestID string) []byte {
	return appendEventID(b, "issued", poolID, requestID)
}

// RejectedEventID is the ce_id of the rejection of one delivery.
func RejectedEventID(stream string, partition int, offset int64) string {
	return string(AppendRejectedEventID(nil, stream, partition, offset))
}

// AppendRejectedEventID appends the same.
func AppendRejectedEventID(b []byte, stream string, partition int, offset int64) []byte {
	return appendEventID(b, "rejected", stream, strconv.Itoa(partition), strconv.FormatInt(offset, 10))
}

// appendEventID appends 128 bits of a SHA-256 over the parts, none of which
// holds a NUL, in the form of a UUID of version 8 (RFC 9562, section 5.8).
func appendEventID(b []byte, parts ...string) []byte {
	var room [512]byte
	hashed := room[:0]
	for _, p := range parts {
		hashed = append(append(hashed, p...), 0)
	}
	sum := sha256.Sum256(hashed)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	b = append(hex.AppendEncode(b, sum[0:4]), '-')
	b = append(hex.AppendEncode(b, sum[4:6]), '-')
	b = append(hex.AppendEncode(b, sum[6:8]), '-')
	b = append(hex.AppendEncode(b, sum[8:10]), '-')
	return hex.AppendEncode(b, sum[10:16])
}

// EventTime is a time in events: RFC 3339, UTC, at most microseconds.
func EventTime(t time.Time) string { return string(AppendEventTime(nil, t)) }

// AppendEventTime appends the same.
func AppendEventTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, "2006-01-02T15:04:05.999999Z07:00")
	}
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	if micros := t.Nanosecond() / 1000; micros > 0 {
		b = appendDigits(append(b, '.'), micros, 6)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return append(b, 'Z')
}

// appendDigits appends the last digits of n.
func appendDigits(b []byte, n, digits int) []byte {
	b = append(b, "000000"[:digits]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
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
	b = append(b, `,"issued_at":"`...)
	at := len(b)
	b = AppendEventTime(b, i.IssuedAt)
	issuedAt := b[at:]
	b = append(b, `","valid_from":"`...)
	if i.ValidFrom.Equal(i.IssuedAt) {
		b = append(b, issuedAt...)
	} else {
		b = AppendEventTime(b, i.ValidFrom)
	}
	b = append(b, '"')
	b = append(b, `,"valid_until":`...)
	if i.ValidUntil.IsZero() {
		b = append(b, `null`...)
	} else {
		b = append(AppendEventTime(append(b, '"'), i.ValidUntil), '"')
	}
	return append(appendRaw(append(b, `,"context":`...), i.Context), '}')
}

// AppendRejected appends the data of code.rejected for a rejected outcome.
func AppendRejected(b []byte, o *Outcome) []byte {
	b = appendString(append(b, `{"request_id":`...), o.Request.RequestID)
	b = appendString(append(b, `,"pool_id":`...), o.Request.PoolID)
	customer, context := o.Request.CustomerID, o.Request.Context
	if o.Alias != "" {
		customer, context = o.Alias, nil
	}
	b = appendString(append(b, `,"customer_id":`...), customer)
	b = appendString(append(b, `,"reason":`...), o.Reason.String())
	b = appendString(append(b, `,"detail":`...), o.Reason.Detail())
	b = append(AppendEventTime(append(b, `,"rejected_at":"`...), o.DecidedAt), '"')
	return append(appendRaw(append(b, `,"context":`...), context), '}')
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
