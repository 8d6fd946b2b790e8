package consumer

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
)

// Defect names what makes a record no event: dl_reason of its dead letter.
type Defect string

const (
	noValue        Defect = "no_value" // null, a tombstone
	empty          Defect = "empty"
	notUTF8        Defect = "not_utf8"
	notJSON        Defect = "not_json"
	tooDeep        Defect = "too_deep"
	nul            Defect = "nul"
	loneSurrogate  Defect = "lone_surrogate"
	missingField   Defect = "missing_field"
	wrongType      Defect = "wrong_type"
	duplicateField Defect = "duplicate_field"
	emptyField     Defect = "empty_field"
	tooLong        Defect = "too_long"
	badTime        Defect = "bad_time"
	notBase64      Defect = "not_base64"
	foreignType    Defect = "foreign_type"
	foreignVersion Defect = "foreign_version"
	foreignFormat  Defect = "foreign_format"
)

// Defects lists every defect that decoding can find.
var Defects = []Defect{
	noValue, empty, notUTF8, notJSON, tooDeep, nul, loneSurrogate, missingField, wrongType,
	duplicateField, emptyField, tooLong, badTime, notBase64, foreignType, foreignVersion, foreignFormat,
}

// Malformed says why a record is no event. Detail is a sentence that names the
// field and what is expected, and repeats nothing of the record's content.
type Malformed struct {
	Reason Defect
	Detail string
}

// Header returns the value of the record's first header of that name, or nil.
func Header(r *Record, key string) []byte {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value
		}
	}
	return nil
}

// Decode reads a code.requested event in any of its three forms: CloudEvents
// in binary mode, in structured mode, and bare JSON. What it answers depends on
// nothing but the record. The request's context points into the record.
//
// Of the CloudEvents attributes only type and specversion are read. As headers
// they may be absent, since the record may be bare; in a structured event they
// may not. Unknown fields may be anything that JSON allows, even twice.
func Decode(r *Record) (domain.Request, *Malformed) {
	s, m := dataOf(r, domain.TypeCodeRequested)
	if m != nil {
		return domain.Request{}, m
	}
	req := domain.Request{Offset: r.Offset}
	if s.request(&req) {
		s.end()
	}
	if s.bad != nil {
		return domain.Request{}, s.bad
	}
	return req, nil
}

// dataOf finds the data of an event of a type, in any form: a scanner of it and
// nothing behind it.
func dataOf(r *Record, eventType string) (scanner, *Malformed) {
	structured, m := readHeaders(r.Headers, eventType)
	switch {
	case m != nil:
		return scanner{}, m
	case r.Value == nil:
		return scanner{}, &Malformed{noValue, "The value is null."}
	case structured:
		return readEnvelope(r.Value, eventType)
	}
	return newScanner(r.Value)
}

// readHeaders tells structured mode from the others, and foreign events from ours.
func readHeaders(headers []kafka.Header, eventType string) (structured bool, m *Malformed) {
	for i := range headers {
		value := headers[i].Value
		switch headers[i].Key {
		case "ce_specversion":
			if string(value) != specVersion {
				return false, &Malformed{foreignVersion, "The header ce_specversion must be 1.0."}
			}
		case "ce_type":
			if string(value) != eventType {
				return false, &Malformed{foreignType, "The header ce_type must be " + eventType + "."}
			}
		case "content-type":
			if len(value) < len(cloudEvents) || !strings.EqualFold(string(value[:len(cloudEvents)]), cloudEvents) {
				continue // of the data, which is tried as JSON whatever it is called
			}
			if !isStructuredJSON(string(value)) {
				return false, &Malformed{foreignFormat, "The content-type of a structured event must be application/cloudevents+json in UTF-8."}
			}
			structured = true
		}
	}
	return structured, nil
}

const (
	specVersion = "1.0"
	cloudEvents = "application/cloudevents"
)

func isStructuredJSON(contentType string) bool {
	kind, params, err := mime.ParseMediaType(contentType)
	charset, given := params["charset"]
	return err == nil && kind == cloudEvents+"+json" && (!given || strings.EqualFold(charset, "utf-8"))
}

// newScanner makes sure of what a scanner takes for granted. encoding/json would
// read invalid UTF-8 as U+FFFD, and so make one of two ids.
func newScanner(value []byte) (scanner, *Malformed) {
	switch {
	case len(value) == 0:
		return scanner{}, &Malformed{empty, "The value is empty."}
	case !utf8.Valid(value):
		return scanner{}, &Malformed{notUTF8, "The value is not UTF-8."}
	case bytes.HasPrefix(value, []byte("\ufeff")):
		return scanner{}, &Malformed{notJSON, "The value begins with a byte-order mark, which JSON does not allow."}
	}
	return scanner{b: value}, nil
}

// readEnvelope reads an event in structured mode. Its data is left to be read
// last, so that a foreign event is told as such whatever its data looks like.
func readEnvelope(value []byte, eventType string) (scanner, *Malformed) {
	s, m := newScanner(value)
	if m != nil {
		return s, m
	}
	if s.peek() != '{' {
		return s, s.notA("The event", "an object", 1)
	}
	var version, kind, encoded text
	data, behind := -1, 0 // where it begins and ends
	for first := true; s.next(first); first = false {
		var ok bool
		switch string(s.name) {
		case "specversion":
			ok = s.attribute("specversion", &version)
		case "type":
			ok = s.attribute("type", &kind)
		case "data_base64":
			ok = s.attribute("data_base64", &encoded)
		case "data":
			if data >= 0 {
				return s, &Malformed{duplicateField, "The field data is given twice."}
			}
			s.peek()
			data = s.i
			ok = s.value(2)
			behind = s.i
		default:
			ok = s.value(2)
		}
		if !ok {
			return s, s.bad
		}
	}
	switch {
	case s.bad != nil || !s.end():
		return s, s.bad
	case version.raw == nil:
		return s, &Malformed{missingField, "The field specversion is missing."}
	case string(version.bytes()) != specVersion:
		return s, &Malformed{foreignVersion, "The field specversion must be 1.0."}
	case kind.raw == nil:
		return s, &Malformed{missingField, "The field type is missing."}
	case string(kind.bytes()) != eventType:
		return s, &Malformed{foreignType, "The field type must be " + eventType + "."}
	case data >= 0 && encoded.raw != nil:
		return s, &Malformed{duplicateField, "Only one of the fields data and data_base64 may be given."}
	case data >= 0:
		return scanner{b: value[:behind], i: data}, nil
	case encoded.raw == nil:
		return s, &Malformed{missingField, "The field data is missing."}
	}
	decoded, err := base64.StdEncoding.AppendDecode(nil, encoded.bytes())
	if err != nil {
		return s, &Malformed{notBase64, "The field data_base64 must be base64 (RFC 4648, section 4)."}
	}
	return newScanner(decoded)
}

// attribute reads a string of the envelope that must not be given twice.
func (s *scanner) attribute(name string, t *text) bool {
	if t.raw != nil {
		return s.fail(duplicateField, "The field "+name+" is given twice.")
	}
	if s.peek() != '"' {
		s.notA("The field "+name, "a string", 2)
		return false
	}
	var ok bool
	*t, ok = s.text()
	return ok
}

// notA is the fault of a value of the wrong type, or of what is no value at all.
func (s *scanner) notA(what, kind string, depth int) *Malformed {
	if s.value(depth) {
		s.fail(wrongType, what+" must be "+kind+".")
	}
	return s.bad
}

// The fields of code.requested; the three ids first.
const (
	requestID = iota
	poolID
	customerID
	expiresAt
	contextField
	requestFields
)

var fieldNames = [requestFields]string{"request_id", "pool_id", "customer_id", "expires_at", "context"}

// request reads the data of code.requested.
func (s *scanner) request(req *domain.Request) bool {
	if s.peek() != '{' {
		s.notA("The data", "an object", 1)
		return false
	}
	var (
		seen [requestFields]bool
		ids  [expiresAt]string
		room [3 * domain.MaxIDBytes]byte
		kept = room[:0] // the ids one after the other, in the order they come
		end  [expiresAt]int
		size [expiresAt]int
	)
	for first := true; s.next(first); first = false {
		var f int
		switch string(s.name) {
		case "request_id":
			f = requestID
		case "pool_id":
			f = poolID
		case "customer_id":
			f = customerID
		case "expires_at":
			f = expiresAt
		case "context":
			f = contextField
		default:
			if !s.value(2) {
				return false
			}
			continue
		}
		if seen[f] {
			return s.fail(duplicateField, "The field "+fieldNames[f]+" is given twice.")
		}
		seen[f] = true
		var ok bool
		switch f {
		case expiresAt:
			req.ExpiresAt, ok = s.moment("expires_at")
		case contextField:
			req.Context, ok = s.context()
		default:
			before := len(kept)
			kept, ok = s.id(kept, fieldNames[f])
			end[f], size[f] = len(kept), len(kept)-before
		}
		if !ok {
			return false
		}
	}
	if s.bad != nil {
		return false
	}
	all := string(kept) // the one allocation
	for f := range ids {
		if !seen[f] {
			return s.fail(missingField, "The field "+fieldNames[f]+" is missing.")
		}
		ids[f] = all[end[f]-size[f] : end[f]]
	}
	req.RequestID, req.PoolID, req.CustomerID = ids[requestID], ids[poolID], ids[customerID]
	return true
}

// id appends an id, of which domain.ValidEventID is then true.
func (s *scanner) id(dst []byte, field string) ([]byte, bool) {
	if s.peek() != '"' {
		s.notA("The field "+field, "a string", 2)
		return nil, false
	}
	t, ok := s.text()
	if !ok {
		return nil, false
	}
	before := len(dst)
	if len(t.raw) <= len(`\u0000`)*domain.MaxIDBytes {
		dst = t.append(dst)
	}
	switch n := len(dst) - before; {
	case len(t.raw) == 0:
		return nil, s.fail(emptyField, "The field "+field+" must not be empty.")
	case n == 0 || n > domain.MaxIDBytes:
		return nil, s.fail(tooLong, fmt.Sprintf("The field %s must be at most %d bytes long.", field, domain.MaxIDBytes))
	case t.escaped && bytes.IndexByte(dst[before:], 0) >= 0:
		return nil, s.fail(nul, "The field "+field+" must not contain a NUL.")
	}
	return dst, true
}

// moment reads a time, at most microseconds of it: what is finer is cut off,
// toward the earlier, so that nothing is issued later than was asked.
func (s *scanner) moment(field string) (time.Time, bool) {
	switch s.peek() {
	case 'n':
		return time.Time{}, s.word("null")
	case '"':
	default:
		s.notA("The field "+field, "a string or null", 2)
		return time.Time{}, false
	}
	w, ok := s.text()
	if !ok {
		return time.Time{}, false
	}
	var room [64]byte
	var t time.Time
	written := room[:0]
	if len(w.raw) <= len(room) {
		written = w.append(written)
	}
	for i, c := range written {
		if c == 't' || c == 'z' { // RFC 3339 has them in either case, package time does not
			written[i] = c &^ 0x20
		}
	}
	if !isRFC3339(written) || t.UnmarshalText(written) != nil {
		return time.Time{}, s.fail(badTime, "The field "+field+" must be a time as in RFC 3339, such as 2026-07-01T10:00:00Z, or null.")
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.IsZero() {
		t = t.Add(time.Microsecond) // the zero time would mean none
	}
	return t, true
}

// isRFC3339 reports whether b has the form of a time. Package time is laxer: it
// takes a comma for the point, an hour of one digit, an offset of any size.
func isRFC3339(b []byte) bool {
	if !hasForm(b, "0000-00-00T00:00:00") {
		return false
	}
	b = b[len("0000-00-00T00:00:00"):]
	if len(b) > 0 && b[0] == '.' {
		digits := len(b) - len(bytes.TrimLeft(b[1:], "0123456789")) - 1
		if digits == 0 {
			return false
		}
		b = b[1+digits:]
	}
	if len(b) == 1 {
		return b[0] == 'Z'
	}
	return len(b) == len("+00:00") && (b[0] == '+' || b[0] == '-') && hasForm(b[1:], "00:00") &&
		string(b[1:3]) <= "23" && string(b[4:6]) <= "59"
}

// hasForm reports whether b begins with form, in which 0 stands for any digit.
func hasForm(b []byte, form string) bool {
	if len(b) < len(form) {
		return false
	}
	for i, c := range []byte(form) {
		if c == '0' && b[i]-'0' > 9 || c != '0' && b[i] != c {
			return false
		}
	}
	return true
}

// context reads the context as it is written; null is nil.
func (s *scanner) context() ([]byte, bool) {
	switch s.peek() {
	case 'n':
		return nil, s.word("null")
	case '{':
	default:
		s.notA("The field context", "an object or null", 2)
		return nil, false
	}
	start := s.i
	if !s.object(2) {
		return nil, false
	}
	raw := s.b[start:s.i:s.i]
	if len(raw) > domain.MaxContextBytes {
		return nil, s.fail(tooLong, fmt.Sprintf("The field context must be at most %d bytes long.", domain.MaxContextBytes))
	}
	return raw, true
}
