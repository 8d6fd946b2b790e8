package consumer

import (
	"bytes"
	"encoding/base64"
	stdjson "encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-json"
	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"pgregory.net/rapid"

	"promopool/internal/domain"
)

var binaryMode = []kafka.Header{
	{Key: "ce_specversion", Value: []byte("1.0")},
	{Key: "ce_id", Value: []byte("b6f6a9a4-6a52-4f9a-8f7a-0f3f9f1f1a11")},
	{Key: "ce_type", Value: []byte(domain.TypeCodeRequested)},
	{Key: "ce_source", Value: []byte("/workflows")},
	{Key: "ce_time", Value: []byte("2026-06-30T10:00:00Z")},
	{Key: "content-type", Value: []byte("application/json")},
	{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
}

func header(key, value string) []kafka.Header {
	return []kafka.Header{{Key: key, Value: []byte(value)}}
}

var structuredMode = header("content-type", "application/cloudevents+json; charset=utf-8")

const event250 = `{"request_id":"0197c3f2-6b1e-7c3a-9d55-0f3f9f1f1a11","pool_id":"summer-sale","customer_id":"c-1001-77812","expires_at":"2026-07-01T10:00:00Z","context":{"workflow":"welcome-series","step":3,"message":"mail-7781","locale":"de-DE","test":false}}`

// data is a request with the three ids and whatever else is given.
func data(members string) string {
	return `{"request_id":"r","pool_id":"p","customer_id":"c"` + members + `}`
}

// event is a structured event of ours with whatever else is given.
func event(members string) string {
	return `{"specversion":"1.0","type":"promopool.code.requested","id":"1","source":"/w"` + members + `}`
}

func TestDecode(t *testing.T) {
	ids := domain.Request{PoolID: "p", RequestID: "r", CustomerID: "c"}
	with := func(edit func(*domain.Request)) domain.Request {
		r := ids
		edit(&r)
		return r
	}
	at := func(s string) domain.Request {
		return with(func(r *domain.Request) {
			at, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				t.Fatal(err)
			}
			r.ExpiresAt = at.UTC()
		})
	}
	carrying := func(s string) domain.Request {
		return with(func(r *domain.Request) { r.Context = []byte(s) })
	}
	long := strings.Repeat("ü", 100)

	for _, c := range []struct {
		name    string
		headers []kafka.Header
		value   string
		want    domain.Request
	}{
		{"Bare", nil, data(""), ids},
		{"Binary", binaryMode, data(""), ids},
		{"OtherContentType", header("content-type", "text/plain"), data(""), ids},
		{"NullContentType", []kafka.Header{{Key: "content-type"}}, data(""), ids},
		{"Blanks", nil, " \t\r\n{ \"request_id\" : \"r\" ,\n\"pool_id\":\"p\",\"customer_id\":\"c\" } \n", ids},
		{"UnknownFields", nil, data(`,"x":[1,-0.5e+9,true,false,null,{"y":["\ud83d\ude00\u0000"]}],"":{},"x":2,"Request_ID":7`), ids},
		{"EscapedName", nil, `{"request\u005fid":"r","pool_id":"p","customer_id":"c"}`, ids},
		{"EscapedIDs", nil, `{"request_id":"\"\\\/\b\f\n\r\t\u00e9","pool_id":"\ud83d\uDE00","customer_id":"a\u000ab"}`,
			domain.Request{RequestID: "\"\\/\b\f\n\r\té", PoolID: "😀", CustomerID: "a\nb"}},
		{"OtherOrder", nil, `{"customer_id":"c","context":null,"pool_id":"p","request_id":"r","expires_at":null}`, ids},
		{"LongestID", nil, `{"request_id":"` + long + `","pool_id":"` + strings.Repeat(`\u00fc`, 100) + `","customer_id":"c"}`,
			domain.Request{RequestID: long, PoolID: long, CustomerID: "c"}},
		{"Expiry", nil, data(`,"expires_at":"2026-07-01T10:00:00Z"`), at("2026-07-01T10:00:00Z")},
		{"ExpiryOffset", nil, data(`,"expires_at":"2026-07-01T10:00:00+05:30"`), at("2026-07-01T04:30:00Z")},
		{"ExpiryLowerCase", nil, data(`,"expires_at":"2026-07-01t10:00:00z"`), at("2026-07-01T10:00:00Z")},
		{"ExpiryEscaped", nil, data(`,"expires_at":"2026-07-01T10:00:00\u005a"`), at("2026-07-01T10:00:00Z")},
		{"ExpiryTruncated", nil, data(`,"expires_at":"2026-07-01T10:00:00.1234569Z"`), at("2026-07-01T10:00:00.123456Z")},
		{"ExpiryZeroTime", nil, data(`,"expires_at":"0001-01-01T00:00:00.0000004Z"`), at("0001-01-01T00:00:00.000001Z")},
		{"Context", nil, data(`,"context":{ "b":1,"a":[ 1 ],"b":"\u0000"  }`), carrying(`{ "b":1,"a":[ 1 ],"b":"\u0000"  }`)},
		{"ContextEmpty", nil, data(`,"context": {} `), carrying(`{}`)},
		{"ContextLongest", nil, data(`,"context":{"k":"` + strings.Repeat("x", 4096-8) + `"}`), carrying(`{"k":"` + strings.Repeat("x", 4096-8) + `"}`)},
		{"DeepAsAllowed", nil, data(`,"x":` + nested(maxDepth-1)), ids},
		{"Structured", structuredMode, event(`,"data":` + data(`,"context":{"a": 1}`)), carrying(`{"a": 1}`)},
		{"StructuredDataFirst", structuredMode, `{"data":` + data("") + `,"type":"promopool.code.requested","specversion":"\u0031.0"}`, ids},
		{"StructuredBase64", structuredMode, event(`,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(data(`,"context":{"a": 1}`))) + `"`), carrying(`{"a": 1}`)},
		{"StructuredBase64Escaped", structuredMode, event(`,"data_base64":"` + escaped(base64.StdEncoding.EncodeToString([]byte(data("")))) + `"`), ids},
		{"StructuredWithHeaders", append(slices.Clone(binaryMode), structuredMode...), event(`,"data":` + data("")), ids},
		{"StructuredUpperCase", header("content-type", `Application/CloudEvents+JSON;charset="UTF-8"`), event(`,"data":` + data("")), ids},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Offset = 7
			got, m := Decode(&Record{Offset: 7, Headers: c.headers, Value: []byte(c.value)})
			if m != nil {
				t.Fatalf("malformed: %+v", *m)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// nested is n arrays in each other.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// escaped writes every character of ASCII text as an escape.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// malformed are values that are no event in bare form.
var malformed = []struct {
	name  string
	value string
	want  Defect
}{
	{"Empty", "", empty},
	{"Blanks", " \n", notJSON},
	{"Null", "null", wrongType},
	{"Number", "17", wrongType},
	{"Array", `[{"request_id":"r"}]`, wrongType},
	{"Text", "hello", notJSON},
	{"XML", "<request/>", notJSON},
	{"Cut", data("")[:30], notJSON},
	{"CutInString", `{"request_id":"r`, notJSON},
	{"CutInEscape", `{"request_id":"r\`, notJSON},
	{"CutInUnicodeEscape", `{"request_id":"r\u00`, notJSON},
	{"Trailing", data("") + "x", notJSON},
	{"TrailingSecond", data("") + data(""), notJSON},
	{"TrailingComma", `{"request_id":"r","pool_id":"p","customer_id":"c",}`, notJSON},
	{"TrailingCommaInArray", data(`,"x":[1,]`), notJSON},
	{"ByteOrderMark", "\ufeff" + data(""), notJSON},
	{"UTF16", "{\x00\"\x00r\x00", notJSON},
	{"SingleQuotes", `{'request_id':'r'}`, notJSON},
	{"Comment", data(`/* */`), notJSON},
	{"LeadingZero", data(`,"x":01`), notJSON},
	{"LoneMinus", data(`,"x":-`), notJSON},
	{"NoFraction", data(`,"x":1.`), notJSON},
	{"NoExponent", data(`,"x":1e+`), notJSON},
	{"NaN", data(`,"x":NaN`), notJSON},
	{"HalfWord", data(`,"x":tru`), notJSON},
	{"LongWord", data(`,"x":nulls`), notJSON},
	{"NoColon", `{"request_id" "r"}`, notJSON},
	{"NoValue", `{"request_id":}`, notJSON},
	{"UnknownEscape", data(`,"x":"\x41"`), notJSON},
	{"ShortEscape", data(`,"x":"\u12g4"`), notJSON},
	{"LineBreakInString", "{\"request_id\":\"a\nb\"}", notJSON},
	{"OtherBlank", data("") + "\v", notJSON},
	{"InvalidUTF8", "{\"request_id\":\"\xff\"}", notUTF8},
	{"OverlongUTF8", "{\"request_id\":\"\xc0\x80\"}", notUTF8},
	{"SurrogateInUTF8", "{\"request_id\":\"\xed\xa0\x80\"}", notUTF8},
	{"InvalidUTF8Unread", data(",\"x\":\"\xff\""), notUTF8},
	{"NUL", "{\"request_id\":\"a\x00b\"}", nul},
	{"NULEscaped", `{"request_id":"a\u0000b","pool_id":"p","customer_id":"c"}`, nul},
	{"NULUnread", data(",\"x\":\"\x00\""), nul},
	{"LoneHighSurrogate", `{"request_id":"\ud800"}`, loneSurrogate},
	{"LoneLowSurrogate", `{"request_id":"\udc00"}`, loneSurrogate},
	{"TwoHighSurrogates", `{"request_id":"\ud800\ud800"}`, loneSurrogate},
	{"HighThenOther", `{"request_id":"\ud800\u0041"}`, loneSurrogate},
	{"LoneSurrogateInContext", data(`,"context":{"a":"\ud800"}`), loneSurrogate},
	{"LoneSurrogateInName", data(`,"\udfff":1`), loneSurrogate},
	{"NoFields", "{}", missingField},
	{"NoRequestID", `{"pool_id":"p","customer_id":"c"}`, missingField},
	{"NoPoolID", `{"request_id":"r","customer_id":"c"}`, missingField},
	{"NoCustomerID", `{"request_id":"r","pool_id":"p"}`, missingField},
	{"OtherCase", `{"Request_ID":"r","pool_id":"p","customer_id":"c"}`, missingField},
	{"NumberForID", `{"request_id":17,"pool_id":"p","customer_id":"c"}`, wrongType},
	{"NullForID", `{"request_id":null,"pool_id":"p","customer_id":"c"}`, wrongType},
	{"ObjectForID", `{"request_id":{"id":"r"},"pool_id":"p","customer_id":"c"}`, wrongType},
	{"NumberForExpiry", data(`,"expires_at":1782900000`), wrongType},
	{"TextForContext", data(`,"context":"{}"`), wrongType},
	{"ArrayForContext", data(`,"context":[]`), wrongType},
	{"Twice", data(`,"request_id":"r"`), duplicateField},
	{"TwiceEscaped", data(`,"\u0072equest_id":"r"`), duplicateField},
	{"TwiceNull", data(`,"context":null,"context":{}`), duplicateField},
	{"EmptyID", `{"request_id":"","pool_id":"p","customer_id":"c"}`, emptyField},
	{"LongID", `{"request_id":"` + strings.Repeat("x", 201) + `","pool_id":"p","customer_id":"c"}`, tooLong},
	{"LongIDInBytes", `{"request_id":"` + strings.Repeat("ü", 100) + `x","pool_id":"p","customer_id":"c"}`, tooLong},
	{"LongIDEscaped", `{"request_id":"` + strings.Repeat(`\u00fc`, 101) + `","pool_id":"p","customer_id":"c"}`, tooLong},
	{"HugeID", `{"request_id":"` + strings.Repeat("x", 900_000) + `","pool_id":"p","customer_id":"c"}`, tooLong},
	{"LongContext", data(`,"context":{"k":"` + strings.Repeat("x", 4096-7) + `"}`), tooLong},
	{"HugeContext", data(`,"context":{"k":"` + strings.Repeat("x", 900_000) + `"}`), tooLong},
	{"LongContextInBlanks", data(`,"context":{` + strings.Repeat(" ", 4096) + `}`), tooLong},
	{"NoTime", data(`,"expires_at":"tomorrow"`), badTime},
	{"EmptyTime", data(`,"expires_at":""`), badTime},
	{"TimeWithoutZone", data(`,"expires_at":"2026-07-01T10:00:00"`), badTime},
	{"DateOnly", data(`,"expires_at":"2026-07-01"`), badTime},
	{"NoSuchDay", data(`,"expires_at":"2026-02-30T10:00:00Z"`), badTime},
	{"HourOfOneDigit", data(`,"expires_at":"2026-07-01T9:00:00Z"`), badTime},
	{"CommaInTime", data(`,"expires_at":"2026-07-01T10:00:00,5Z"`), badTime},
	{"NoDigitsAfterPoint", data(`,"expires_at":"2026-07-01T10:00:00.Z"`), badTime},
	{"ShortOffset", data(`,"expires_at":"2026-07-01T10:00:00+02"`), badTime},
	{"OffsetTooFar", data(`,"expires_at":"2026-07-01T10:00:00+24:00"`), badTime},
	{"LongTime", data(`,"expires_at":"2026-07-01T10:00:00.` + strings.Repeat("1", 900_000) + `Z"`), badTime},
	{"TooDeep", data(`,"x":` + nested(maxDepth)), tooDeep},
	{"TooDeepContext", data(`,"context":` + strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth)), tooDeep},
	{"Bracket100000", strings.Repeat("[", 100_000), tooDeep},
	{"Bracket100000Closed", data(`,"x":` + nested(100_000)), tooDeep},
	{"Brace100000", data(`,"x":` + strings.Repeat(`{"a":`, 100_000)), tooDeep},
}

func TestDecodeMalformed(t *testing.T) {
	for _, c := range malformed {
		t.Run(c.name, func(t *testing.T) {
			wantMalformed(t, &Record{Value: []byte(c.value)}, c.want)
			wantMalformed(t, &Record{Headers: binaryMode, Value: []byte(c.value)}, c.want)
		})
		t.Run("Base64"+c.name, func(t *testing.T) {
			value := event(`,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(c.value)) + `"`)
			wantMalformed(t, &Record{Headers: structuredMode, Value: []byte(value)}, c.want)
		})
	}
}

func TestDecodeMalformedEnvelope(t *testing.T) {
	good := `,"data":` + data("")
	for _, c := range []struct {
		name    string
		headers []kafka.Header
		value   string
		want    Defect
	}{
		{"ForeignHeader", header("ce_type", "shop.order.placed"), data(""), foreignType},
		{"ForeignHeaderNull", []kafka.Header{{Key: "ce_type"}}, data(""), foreignType},
		{"ForeignSecondHeader", append(slices.Clone(binaryMode), header("ce_type", "shop.order.placed")...), data(""), foreignType},
		{"ForeignBeforeValue", header("ce_type", "shop.order.placed"), "", foreignType},
		{"OurOtherEvent", header("ce_type", domain.TypeCodeIssued), data(""), foreignType},
		{"OldVersion", header("ce_specversion", "0.3"), data(""), foreignVersion},
		{"Avro", header("content-type", "application/cloudevents+avro"), data(""), foreignFormat},
		{"Batched", header("content-type", "application/cloudevents-batch+json"), "[]", foreignFormat},
		{"Latin1", header("content-type", "application/cloudevents+json; charset=iso-8859-1"), event(good), foreignFormat},
		{"BrokenContentType", header("content-type", "application/cloudevents+json; charset"), event(good), foreignFormat},
		{"StructuredWithoutHeader", nil, event(good), missingField},
		{"DataWithStructuredHeader", structuredMode, data(""), missingField},
		{"Empty", structuredMode, "", empty},
		{"Array", structuredMode, "[]", wrongType},
		{"ForeignType", structuredMode, `{"specversion":"1.0","data":{"total":17},"type":"shop.order.placed"}`, foreignType},
		{"ForeignVersion", structuredMode, `{"specversion":"0.3","type":"promopool.code.requested"` + good + `}`, foreignVersion},
		{"NoVersion", structuredMode, `{"type":"promopool.code.requested"` + good + `}`, missingField},
		{"NoType", structuredMode, `{"specversion":"1.0"` + good + `}`, missingField},
		{"NoData", structuredMode, event(""), missingField},
		{"TypeTwice", structuredMode, event(good + `,"type":"promopool.code.requested"`), duplicateField},
		{"EmptyTypeTwice", structuredMode, `{"type":"","type":"promopool.code.requested"}`, duplicateField},
		{"DataTwice", structuredMode, event(good + good), duplicateField},
		{"DataInBothForms", structuredMode, event(good + `,"data_base64":"e30="`), duplicateField},
		{"NumberForVersion", structuredMode, `{"specversion":1.0}`, wrongType},
		{"NullData", structuredMode, event(`,"data":null`), wrongType},
		{"TextData", structuredMode, event(`,"data":"{}"`), wrongType},
		{"NotBase64", structuredMode, event(`,"data_base64":"e30"`), notBase64},
		{"EmptyBase64", structuredMode, event(`,"data_base64":""`), empty},
		{"Base64OfArray", structuredMode, event(`,"data_base64":"W10="`), wrongType},
		{"FieldTwiceInData", structuredMode, event(`,"data":` + data(`,"pool_id":"p"`)), duplicateField},
		{"Trailing", structuredMode, event(good) + "]", notJSON},
		{"TooDeep", structuredMode, event(good + `,"x":` + nested(maxDepth)), tooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantMalformed(t, &Record{Headers: c.headers, Value: []byte(c.value)}, c.want)
		})
	}
	t.Run("NullValue", func(t *testing.T) { wantMalformed(t, &Record{}, noValue) })
}

func wantMalformed(t *testing.T, r *Record, want Defect) {
	t.Helper()
	got, m := Decode(r)
	if m == nil {
		t.Fatalf("decoded to %+v, want %s", got, want)
	}
	if m.Reason != want {
		t.Errorf("%s: %s\nwant %s", m.Reason, m.Detail, want)
	}
	if !slices.Contains(Defects, m.Reason) {
		t.Errorf("%s is not among Defects", m.Reason)
	}
	if n := len(m.Detail); n == 0 || n > 150 || !utf8.ValidString(m.Detail) {
		t.Errorf("detail of %d bytes: %s", n, m.Detail)
	}
}

// TestDecodeOwnership: the context is the record's own bytes, and appending to
// it does not reach what follows them.
func TestDecodeOwnership(t *testing.T) {
	value := []byte(data(`,"context":{"a":1},"x":1`))
	before := bytes.Clone(value)
	req, m := Decode(&Record{Value: value})
	if m != nil {
		t.Fatal(*m)
	}
	_ = append(req.Context, "!!!!"...)
	if !bytes.Equal(value, before) {
		t.Errorf("the record changed: %s", value)
	}
}

func TestHeader(t *testing.T) {
	r := &Record{Headers: append(slices.Clone(binaryMode), header("traceparent", "second")...)}
	if got, want := string(Header(r, "traceparent")), string(binaryMode[6].Value); got != want {
		t.Errorf("traceparent %q, want %q", got, want)
	}
	if got := Header(r, "tracestate"); got != nil {
		t.Errorf("tracestate %q, want nil", got)
	}
}

// TestDecodeAnyRequest: what a careful sender writes is read as it was meant.
func TestDecodeAnyRequest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(1, -1, domain.MaxIDBytes).Filter(domain.ValidEventID)
		want := domain.Request{
			RequestID: id.Draw(t, "request_id"), PoolID: id.Draw(t, "pool_id"), CustomerID: id.Draw(t, "customer_id"),
		}
		members := map[string]any{"request_id": want.RequestID, "pool_id": want.PoolID, "customer_id": want.CustomerID}
		if rapid.Bool().Draw(t, "expires") {
			at := time.UnixMicro(rapid.Int64Range(-1e15, 1e17).Draw(t, "at")).UTC()
			if at.Year() < 10_000 && at.Year() > 0 {
				want.ExpiresAt = at
				zone := time.FixedZone("", 60*rapid.IntRange(-23*60, 23*60).Draw(t, "minutes"))
				members["expires_at"] = at.In(zone).Format(time.RFC3339Nano)
			}
		}
		if rapid.Bool().Draw(t, "context") {
			c, err := stdjson.MarshalIndent(rapid.MapOfN(rapid.String(), rapid.Float64(), 0, 20).Draw(t, "context"), "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if len(c) <= domain.MaxContextBytes {
				want.Context = c
				members["context"] = stdjson.RawMessage(c)
			}
		}
		var b bytes.Buffer
		e := stdjson.NewEncoder(&b)
		e.SetEscapeHTML(rapid.Bool().Draw(t, "html"))
		_ = e.Encode(members)
		// The encoder compacts raw messages: put the blanks back.
		value := b.Bytes()
		if want.Context != nil {
			var compact bytes.Buffer
			_ = stdjson.Compact(&compact, want.Context)
			if !bytes.Contains(value, compact.Bytes()) {
				t.Skip("the encoder rewrote the context")
			}
			value = bytes.Replace(value, compact.Bytes(), want.Context, 1)
		}
		got, m := Decode(&Record{Value: value})
		if m != nil {
			t.Fatalf("malformed: %+v\n%s", *m, value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("request (-want +got):\n%s\n%s", diff, value)
		}
	})
}

// FuzzDecode compares Decode with a slow decoder on encoding/json.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(event250), false)
	f.Add([]byte(event(`,"data":`+data(`,"context":{"a":[1.5e3,"\ud83d\ude00"]}`))), true)
	f.Add([]byte(event(`,"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(data("")))+`"`)), true)
	for _, c := range malformed {
		if len(c.value) < 10_000 {
			f.Add([]byte(c.value), false)
			f.Add([]byte(event(`,"data":`+c.value)), true)
		}
	}
	f.Fuzz(func(t *testing.T, value []byte, structured bool) {
		r := &Record{Value: value}
		want, ok := slowRequest(value)
		if structured {
			r.Headers = structuredMode
			want, ok = slowEvent(value)
		}
		before := bytes.Clone(value)
		got, m := Decode(r)
		again, m2 := Decode(r)
		if !cmp.Equal(got, again) || !cmp.Equal(m, m2) {
			t.Fatalf("decoded twice, differently: %+v %+v, %+v %+v", got, m, again, m2)
		}
		if !bytes.Equal(value, before) {
			t.Fatal("the record changed")
		}
		switch {
		case ok && m != nil:
			t.Fatalf("malformed: %+v\nwant %+v", *m, want)
		case !ok && m == nil:
			t.Fatalf("decoded to %+v, want malformed", got)
		case m != nil:
			if !slices.Contains(Defects, m.Reason) || m.Detail == "" {
				t.Fatalf("malformed: %+v", *m)
			}
		case !cmp.Equal(got, want):
			t.Fatalf("request (-want +got):\n%s", cmp.Diff(want, got))
		}
	})
}

// TestDecodeMutated walks from good events by small steps, which a fuzzer may
// take long to find, and asks the slow decoder about each.
func TestDecodeMutated(t *testing.T) {
	bits := []string{
		"", "{", "}", "[", "]", ",", ":", `"`, `\`, `\u`, `\u0000`, `\ud83d`, `\ude00`, `\"`, "null", "true", "-", "0", "01", "1e5", ".5",
		" ", "\n", "\x00", "\xff", "é", `"context":{}`, `,"pool_id":"p"`, `"expires_at":null,`, "{}", "[]", `"x"`,
	}
	starts := []string{event250, data(""), data(`,"context":{"a":[{},{"b":"\ud83d\ude00"}]},"x":-1.5e-7`), event(`,"data":` + data("")), event(`,"data_base64":"e30="`)}
	rapid.Check(t, func(t *rapid.T) {
		value := []byte(rapid.SampledFrom(starts).Draw(t, "start"))
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			from := rapid.IntRange(0, len(value)).Draw(t, "from")
			to := rapid.IntRange(from, min(from+3, len(value))).Draw(t, "to")
			value = slices.Concat(value[:from], []byte(rapid.SampledFrom(bits).Draw(t, "bit")), value[to:])
		}
		for _, structured := range []bool{false, true} {
			r := &Record{Value: value}
			want, ok := slowRequest(value)
			if structured {
				r.Headers = structuredMode
				want, ok = slowEvent(value)
			}
			got, m := Decode(r)
			if ok != (m == nil) {
				t.Fatalf("%s\ngot %+v, malformed %+v, want %v %+v", value, got, m, ok, want)
			}
			if diff := cmp.Diff(want, got); ok && diff != "" {
				t.Fatalf("%s\nrequest (-want +got):\n%s", value, diff)
			}
		}
	})
}

// slowEvent and slowRequest are what Decode should do, said with encoding/json.
func slowEvent(value []byte) (domain.Request, bool) {
	m, ok := slowMembers(value, "specversion", "type", "data", "data_base64")
	if !ok {
		return domain.Request{}, false
	}
	version, ok1 := slowString(m["specversion"])
	kind, ok2 := slowString(m["type"])
	if !ok1 || !ok2 || version != "1.0" || kind != domain.TypeCodeRequested {
		return domain.Request{}, false
	}
	d, hasData := m["data"]
	e, hasEncoded := m["data_base64"]
	if hasData == hasEncoded {
		return domain.Request{}, false
	}
	if hasData {
		return slowRequest(d)
	}
	encoded, ok := slowString(e)
	if !ok {
		return domain.Request{}, false
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return domain.Request{}, false
	}
	return slowRequest(decoded)
}

var slowTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func slowRequest(value []byte) (r domain.Request, ok bool) {
	m, ok := slowMembers(value, fieldNames[:]...)
	if !ok {
		return r, false
	}
	for name, to := range map[string]*string{"request_id": &r.RequestID, "pool_id": &r.PoolID, "customer_id": &r.CustomerID} {
		if *to, ok = slowString(m[name]); !ok || !domain.ValidEventID(*to) {
			return r, false
		}
	}
	if e := m["expires_at"]; e != nil && string(e) != "null" {
		s, ok := slowString(e)
		if !ok || len(e) > 64+2 {
			return r, false
		}
		var t time.Time
		s = strings.NewReplacer("t", "T", "z", "Z").Replace(s)
		if !slowTime.MatchString(s) || t.UnmarshalText([]byte(s)) != nil {
			return r, false
		}
		if r.ExpiresAt = t.UTC().Truncate(time.Microsecond); r.ExpiresAt.IsZero() {
			r.ExpiresAt = r.ExpiresAt.Add(time.Microsecond)
		}
	}
	if c := m["context"]; c != nil && string(c) != "null" {
		if c[0] != '{' || len(c) > domain.MaxContextBytes {
			return r, false
		}
		r.Context = c
	}
	return r, true
}

// slowMembers are the members of an object, the named of which are there but
// once. encoding/json takes U+FFFD for lone surrogates: without those, as many
// stay as were written.
func slowMembers(value []byte, once ...string) (map[string]stdjson.RawMessage, bool) {
	if !utf8.Valid(value) || !stdjson.Valid(value) || slowDepth(value) > maxDepth || slowLoneSurrogate(value) {
		return nil, false
	}
	d := stdjson.NewDecoder(bytes.NewReader(value))
	if brace, err := d.Token(); err != nil || brace != stdjson.Delim('{') {
		return nil, false
	}
	members := map[string]stdjson.RawMessage{}
	for d.More() {
		name, _ := d.Token()
		var raw stdjson.RawMessage
		if d.Decode(&raw) != nil {
			return nil, false
		}
		if _, again := members[name.(string)]; again && slices.Contains(once, name.(string)) {
			return nil, false
		}
		members[name.(string)] = raw
	}
	return members, true
}

func slowString(raw stdjson.RawMessage) (s string, ok bool) {
	return s, len(raw) > 0 && raw[0] == '"' && stdjson.Unmarshal(raw, &s) == nil
}

// slowDepth is how deep valid JSON is nested.
func slowDepth(value []byte) (deepest int) {
	d := stdjson.NewDecoder(bytes.NewReader(value))
	for depth := 0; ; {
		token, err := d.Token()
		switch token {
		case stdjson.Delim('{'), stdjson.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case stdjson.Delim('}'), stdjson.Delim(']'):
			depth--
		}
		if err != nil {
			return deepest
		}
	}
}

// slowLoneSurrogate looks for halves of surrogate pairs in valid JSON.
func slowLoneSurrogate(value []byte) bool {
	high := false // the escape just before was a high one
	for i := 0; i < len(value); i++ {
		var unit int
		if value[i] == '\\' {
			i++
			if value[i] == 'u' {
				_, _ = fmt.Sscanf(string(value[i+1:i+5]), "%04x", &unit)
				i += 4
			}
		}
		low := unit>>10 == 0xdc00>>10
		if high != low {
			return true
		}
		high = unit>>10 == 0xd800>>10
	}
	return high
}

// asJSON is what a decoder by struct tags would fill.
type asJSON struct {
	RequestID  string             `json:"request_id"`
	PoolID     string             `json:"pool_id"`
	CustomerID string             `json:"customer_id"`
	ExpiresAt  *time.Time         `json:"expires_at"`
	Context    stdjson.RawMessage `json:"context"`
}

func BenchmarkDecode(b *testing.B) {
	records := make([]Record, 1000)
	for i := range records {
		value := strings.Replace(event250, "0197c3f2-6b1e", fmt.Sprintf("%08x-%04x", i*7919, i), 1)
		records[i] = Record{Offset: int64(i), Headers: binaryMode, Value: []byte(value)}
	}
	run := func(name string, decode func(*Record) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(records[0].Value)))
			for i := 0; b.Loop(); i++ {
				if err := decode(&records[i%len(records)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("Ours", func(r *Record) error {
		if _, m := Decode(r); m != nil {
			return fmt.Errorf("%+v", *m)
		}
		return nil
	})
	run("GoccyLax", func(r *Record) error { var v asJSON; return json.Unmarshal(r.Value, &v) })
	run("StandardLax", func(r *Record) error { var v asJSON; return stdjson.Unmarshal(r.Value, &v) })
}
