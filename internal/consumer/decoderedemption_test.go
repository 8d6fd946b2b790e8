package consumer

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
)

// asked is a redemption with the three ids and whatever else is given.
func asked(members string) string {
	return `{"redemption_id":"r","pool_id":"p","code":"C"` + members + `}`
}

func TestDecodeRedemption(t *testing.T) {
	plain := domain.RedemptionRequest{RedemptionID: "r", PoolID: "p", Code: "C"}
	with := func(edit func(*domain.RedemptionRequest)) domain.RedemptionRequest {
		r := plain
		edit(&r)
		return r
	}
	envelope := func(rest string) string {
		return `{"specversion":"1.0","type":"promopool.redemption.requested","id":"1","source":"/w",` + rest + `}`
	}
	binary := []kafka.Header{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte(domain.TypeRedemptionRequested)}}
	for _, c := range []struct {
		name    string
		value   string
		headers []kafka.Header
		want    domain.RedemptionRequest
	}{
		{"Bare", asked(""), nil, plain},
		{"Binary", asked(""), binary, plain},
		{"Structured", envelope(`"data":` + asked("")), structuredMode, plain},
		{"StructuredDataFirst", `{"data":` + asked("") + `,` + envelope(`"more":1`)[1:], structuredMode, plain},
		{"Base64", envelope(`"data_base64":"eyJyZWRlbXB0aW9uX2lkIjoiciIsInBvb2xfaWQiOiJwIiwiY29kZSI6IkMifQ=="`), structuredMode, plain},
		{"Everything", asked(`,"customer_id":"anna","order_id":"o","occurred_at":"2026-07-01T12:00:00.1234567+02:00","context":{"a": 1}`), nil,
			with(func(r *domain.RedemptionRequest) {
				r.CustomerID, r.OrderID, r.Context = "anna", "o", []byte(`{"a": 1}`)
				r.OccurredAt = time.Date(2026, 7, 1, 10, 0, 0, 123456000, time.UTC)
			})},
		{"Nulls", asked(`,"customer_id":null,"order_id":null,"occurred_at":null,"context":null`), nil, plain},
		{"CodeAsItCame", strings.Replace(asked(""), `"C"`, `" \u0041\tb "`, 1), nil, with(func(r *domain.RedemptionRequest) { r.Code = " A\tb " })},
		{"UnknownTwice", asked(`,"x":1,"x":[{}]`), nil, plain},
		{"Year1", asked(`,"occurred_at":"0001-01-01T00:00:00Z"`), nil, with(func(r *domain.RedemptionRequest) { r.OccurredAt = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, m := DecodeRedemption(&Record{Value: []byte(c.value), Headers: c.headers})
			if m != nil {
				t.Fatalf("malformed: %+v", *m)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDecodeRedemptionMalformed(t *testing.T) {
	for _, c := range []struct {
		name, value string
		headers     []kafka.Header
		want        Defect
		names       string
	}{
		{"CodeRequest", asked(""), binaryMode, foreignType, "ce_type"},
		{"StructuredCodeRequest", event(`,"data":` + asked("")), structuredMode, foreignType, "type"},
		{"NoValue", "", nil, empty, ""},
		{"NoObject", "[]", nil, wrongType, "data"},
		{"NoID", `{"pool_id":"p","code":"C"}`, nil, missingField, "redemption_id"},
		{"NoPool", `{"redemption_id":"r","code":"C"}`, nil, missingField, "pool_id"},
		{"NoCode", `{"redemption_id":"r","pool_id":"p"}`, nil, missingField, "code"},
		{"NullCode", `{"redemption_id":"r","pool_id":"p","code":null}`, nil, wrongType, "code"},
		{"EmptyCode", `{"redemption_id":"r","pool_id":"p","code":""}`, nil, emptyField, "code"},
		{"LongCode", `{"redemption_id":"r","pool_id":"p","code":"` + strings.Repeat("C", 201) + `"}`, nil, tooLong, "code"},
		{"EmptyCustomer", asked(`,"customer_id":""`), nil, emptyField, "customer_id"},
		{"NumberAsOrder", asked(`,"order_id":17`), nil, wrongType, "order_id"},
		{"NULInOrder", asked(`,"order_id":"\u0000"`), nil, nul, "order_id"},
		{"CodeTwice", asked(`,"code":"D"`), nil, duplicateField, "code"},
		{"CustomerTwice", asked(`,"customer_id":null,"customer_id":"a"`), nil, duplicateField, "customer_id"},
		{"NoTime", asked(`,"occurred_at":"yesterday"`), nil, badTime, "occurred_at"},
		{"LateYear", asked(`,"occurred_at":"9999-12-31T23:59:59-23:00"`), nil, badTime, "occurred_at"},
		{"EarlyYear", asked(`,"occurred_at":"0000-01-01T00:00:00+23:00"`), nil, badTime, "occurred_at"},
		{"ContextList", asked(`,"context":[]`), nil, wrongType, "context"},
		{"Rest", asked("") + "{}", nil, notJSON, "end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, m := DecodeRedemption(&Record{Value: []byte(c.value), Headers: c.headers})
			if m == nil {
				t.Fatal("not malformed")
			}
			if m.Reason != c.want || !strings.Contains(m.Detail, c.names) {
				t.Errorf("got %+v, want %s naming %q", *m, c.want, c.names)
			}
		})
	}
}

// FuzzDecodeRedemption: what is decoded can be stored and told, and is decoded to
// the same again; what is not is a defect with a name.
func FuzzDecodeRedemption(f *testing.F) {
	f.Add([]byte(asked(`,"customer_id":"anna","order_id":null,"occurred_at":"2026-07-01T12:00:00.5+02:00","context":{"a": [1e3,"\ud83d\ude00"]},"x":{}`)), false)
	f.Add([]byte(`{"specversion":"1.0","type":"promopool.redemption.requested","id":"1","source":"/w","data":`+asked("")+`}`), true)
	f.Add([]byte(asked(`,"occurred_at":"0000-01-01T00:00:00+23:00"`)), false)
	f.Fuzz(func(t *testing.T, value []byte, structured bool) {
		r := &Record{Value: value}
		if structured {
			r.Headers = structuredMode
		}
		got, m := DecodeRedemption(r)
		again, m2 := DecodeRedemption(r)
		if !cmp.Equal(got, again) || !cmp.Equal(m, m2) {
			t.Fatalf("decoded twice, differently: %+v %+v, %+v %+v", got, m, again, m2)
		}
		if m != nil {
			if !slices.Contains(Defects, m.Reason) || m.Detail == "" {
				t.Fatalf("malformed: %+v", *m)
			}
			return
		}
		for name, id := range map[string]string{"redemption_id": got.RedemptionID, "pool_id": got.PoolID, "code": got.Code} {
			if !domain.ValidEventID(id) {
				t.Errorf("%s is %q", name, id)
			}
		}
		for name, id := range map[string]string{"customer_id": got.CustomerID, "order_id": got.OrderID} {
			if id != "" && !domain.ValidEventID(id) {
				t.Errorf("%s is %q", name, id)
			}
		}
		if got.Context != nil && (len(got.Context) > domain.MaxContextBytes || got.Context[0] != '{' || !json.Valid(got.Context) || !bytes.Contains(value, got.Context) && !structured) {
			t.Errorf("context is %q", got.Context)
		}
		told := domain.Redemption{RedemptionRequest: got, Reason: domain.NoSuchPool, DecidedAt: time.Unix(0, 0)}
		if event := told.Event(); !json.Valid(event.Value) {
			t.Errorf("would be told as %s", event.Value)
		}
	})
}
