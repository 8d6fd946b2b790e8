package tail

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/kafkatest"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

func TestFollow(t *testing.T) {
	names := topics.Named(kafkatest.Prefix(t))
	client := topics.Client([]string{kafkatest.ForTest(t)})
	t.Cleanup(func() { topics.Close(client) })
	if err := topics.Ensure(t.Context(), client, names, 2); err != nil {
		t.Fatal(err)
	}
	p := producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry())
	publish := func(partition int, values ...string) {
		t.Helper()
		var recs []producer.Record
		for _, v := range values {
			recs = append(recs, producer.Record{Value: []byte(v), Time: time.Now()})
		}
		if err := p.Publish(t.Context(), names.Outcomes, partition, recs); err != nil {
			t.Fatal(err)
		}
	}
	publish(0, "a0", "a1", "a2")
	publish(1, "b0")
	tests := []struct {
		name string
		from From
		want string
		tail *Tail
	}{
		{name: "Beginning", from: From{Beginning: true}, want: "0:a0 0:a1 0:a2 0:a3 1:b0 1:b1"},
		{name: "End", from: From{}, want: "0:a3 1:b1"},
		{name: "BeforeEnd", from: From{Offset: -2}, want: "0:a1 0:a2 0:a3 1:b0 1:b1"},
		{name: "Offset", from: From{Offset: 1, Absolute: true}, want: "0:a1 0:a2 0:a3 1:b1"},
	}
	for i := range tests {
		var err error
		if tests[i].tail, err = Open(t.Context(), client, []string{names.Outcomes}, tests[i].from); err != nil {
			t.Fatal(err)
		}
	}
	publish(0, "a3")
	publish(1, "b1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := tt.tail.Follow(ctx, func(_ string, p int, records []consumer.Record) error {
				for i := range records {
					got = append(got, fmt.Sprintf("%d:%s", p, records[i].Value))
				}
				if len(got) >= len(strings.Fields(tt.want)) {
					return Stop
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	at := time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)
	headers := func(kv ...string) (h []kafka.Header) {
		for i := 0; i < len(kv); i += 2 {
			h = append(h, kafka.Header{Key: kv[i], Value: []byte(kv[i+1])})
		}
		return h
	}
	issued := consumer.Record{Time: at, Offset: 7, Headers: headers("ce_type", "promopool.code.issued"), Key: []byte("k"),
		Value: []byte(`{"request_id":"r\u001b[2J","pool_id":"summer","customer_id":"c","code":"SUMMER-1234"}`)}
	for _, tt := range []struct {
		name   string
		p      Printer
		record consumer.Record
		want   string
	}{
		{"Issued", Printer{}, issued, "10:00:00.000  code.issued     summer  r�[2J  c  SU•••••••••  t/1/7\n"},
		{"IssuedInFull", Printer{ShowCodes: true}, issued, "10:00:00.000  code.issued     summer  r�[2J  c  SUMMER-1234  t/1/7\n"},
		{"Rejected", Printer{}, consumer.Record{Time: at, Headers: headers("ce_type", "promopool.code.rejected"),
			Value: []byte(`{"request_id":"r","pool_id":"p","customer_id":"c","reason":"pool_exhausted"}`)},
			"10:00:00.000  code.rejected   p  r  c  pool_exhausted  t/1/0\n"},
		{"DeadLetter", Printer{}, consumer.Record{Time: at, Value: []byte{0}, Headers: headers("dl_reason", "not_json", "dl_detail", "Bad.", "dl_topic", "q", "dl_partition", "3", "dl_offset", "9")},
			"10:00:00.000  dead letter   not_json from q/3/9  Bad., 1 bytes  t/1/0\n"},
		{"Foreign", Printer{}, consumer.Record{Time: at, Value: []byte("hello")}, "10:00:00.000  not an event  5 bytes  t/1/0\n"},
		{"ShortCode", Printer{}, consumer.Record{Time: at, Headers: headers("ce_type", "promopool.code.issued"), Value: []byte(`{"code":"ABC"}`)},
			"10:00:00.000  code.issued     •••  t/1/0\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			tt.p.Out = &b
			if err := tt.p.Print("t", 1, &tt.record); err != nil || b.String() != tt.want {
				t.Errorf("got %q, %v\nwant %q", b.String(), err, tt.want)
			}
		})
	}
	var b bytes.Buffer
	if err := PrintJSON(&b, "t", 1, &issued); err != nil {
		t.Fatal(err)
	}
	want := `{"topic":"t","partition":1,"offset":7,"time":"2026-07-01T10:00:00Z","key":"k","headers":{"ce_type":"promopool.code.issued"},"data":{"request_id":"r\u001b[2J","pool_id":"summer","customer_id":"c","code":"SUMMER-1234"}}` + "\n"
	if got := b.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	b.Reset()
	if err := PrintJSON(&b, "t", 1, &consumer.Record{Time: at, Value: []byte("no")}); err != nil || !strings.Contains(b.String(), `"key":null,"headers":{},"data":null,"data_base64":"bm8="`) {
		t.Errorf("got %s, %v", b.String(), err)
	}
}
