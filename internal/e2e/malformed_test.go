package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/producer"
)

// TestMalformed: between good requests on one key lie messages that are no
// events. Each goes to the dead letters as it came, and the partition goes on.
func TestMalformed(t *testing.T) {
	good := func(i int) ask {
		return ask{pool: "p", request: fmt.Sprintf("good-%d", i), customer: "c", key: "k"}
	}
	with := func(field, value string) string {
		fields := map[string]string{"request_id": `"r"`, "pool_id": `"p"`, "customer_id": `"c"`}
		fields[field] = value
		var parts []string
		for k, v := range fields {
			parts = append(parts, fmt.Sprintf("%q:%s", k, v))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	bad := map[string][]byte{
		"no_value":        nil,
		"empty":           {},
		"null":            []byte("null"),
		"not JSON":        []byte("hello"),
		"cut short":       []byte(`{"request_id": "r"`),
		"an array":        []byte(`[{"request_id":"r"}]`),
		"wrong type":      []byte(with("request_id", "17")),
		"missing field":   []byte(`{"request_id":"r","pool_id":"p"}`),
		"field twice":     []byte(`{"request_id":"r","request_id":"s","pool_id":"p","customer_id":"c"}`),
		"too long":        []byte(with("request_id", `"`+strings.Repeat("x", 201)+`"`)),
		"NUL escaped":     []byte(with("customer_id", `"a\u0000b"`)),
		"NUL raw":         []byte(with("customer_id", "\"a\x00b\"")),
		"invalid UTF-8":   []byte(with("customer_id", "\"a\xffb\"")),
		"lone surrogate":  []byte(with("customer_id", `"a\ud800b"`)),
		"bad time":        []byte(with("expires_at", `"tomorrow"`)),
		"big context":     []byte(with("context", `{"a":"`+strings.Repeat("x", 5000)+`"}`)),
		"nested":          []byte(with("context", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000))),
		"900 kB":          bytes.Repeat([]byte("x"), 900_000),
		"900 kB of event": []byte(with("request_id", `"`+strings.Repeat("x", 900_000)+`"`)),
	}
	w := newWorld(t)
	w.Pool("p", 1000)
	n := w.Serve()

	var records []producer.Record
	want := map[string][]byte{} // dead letters by header "case"
	asked := 0
	add := func() {
		asked++
		records = append(records, good(asked).record())
	}
	add()
	for name, value := range bad {
		want[name] = value
		records = append(records, producer.Record{Key: []byte("k"), Value: value, Time: time.Now(), Headers: []kafka.Header{{Key: "case", Value: []byte(name)}}})
		add()
	}
	foreign := good(0).record()
	foreign.Headers[1].Value = []byte("com.example.other")
	foreign.Headers = append(foreign.Headers, kafka.Header{Key: "case", Value: []byte("foreign type")})
	want["foreign type"] = foreign.Value
	records = append(records, foreign)
	add()
	partition := producer.Partition([]byte("k"), partitions)
	w.publish(map[int][]producer.Record{partition: records})

	l := newLedger()
	l.learn(t, w.reader(w.names.Outcomes), asked, 30*time.Second)
	if len(l.issued) != asked {
		t.Errorf("%d good requests have a code, want %d; rejected %v", len(l.issued), asked, l.rejected)
	}
	got := map[string]bool{}
	w.reader(w.names.DeadLetters).more(30*time.Second, func(_ int, rec *consumer.Record) bool {
		h := func(key string) string { return string(consumer.Header(rec, key)) }
		name := h("case")
		value, ok := want[name]
		switch {
		case !ok:
			t.Errorf("dead letter of %q, which was not sent", name)
		case !bytes.Equal(rec.Value, value) || (rec.Value == nil) != (value == nil):
			t.Errorf("%s: %d bytes, differing from the %d sent", name, len(rec.Value), len(value))
		case string(rec.Key) != "k" || h("dl_reason") == "" || h("dl_detail") == "" || h("dl_topic") != w.names.Requests || h("dl_partition") != fmt.Sprint(partition) || h("dl_offset") == "":
			t.Errorf("%s: origin %v", name, rec.Headers)
		}
		got[name] = true
		return len(got) == len(want)
	})
	if len(got) != len(want) {
		t.Errorf("%d dead letters, want %d", len(got), len(want))
	}
	select {
	case <-n.done:
		t.Error("the process ended")
	default:
	}
	w.Verify()
}
