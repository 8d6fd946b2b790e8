package load

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/producer"
	"promopool/internal/tail"
	"promopool/internal/topics"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

func TestIDs(t *testing.T) {
	ids, others := NewIDs("load-"), NewIDs("load-")
	now := time.UnixMilli(1_700_000_000_000)
	last := ""
	for _, i := range []int{0, 1, 255, 256, 65_535, 65_536, 1<<20 - 1, 1 << 20, 1<<28 + 5, maxIndex} {
		id := ids.At(i, now)
		if got, ok := ids.Index(id); !ok || got != i {
			t.Errorf("%s: number %d, %v; want %d", id, got, ok, i)
		}
		if _, ok := others.Index(id); ok {
			t.Errorf("%s: taken for another load's", id)
		}
		if id <= last {
			t.Errorf("%s does not come after %s", id, last)
		}
		if id[len("load-")+14] != '7' || !strings.ContainsRune("89ab", rune(id[len("load-")+19])) {
			t.Errorf("%s is no UUID of version 7", id)
		}
		last = id
	}
	for _, id := range []string{"", "load-", "r-1", "load-01a20ba7-33dd-7000-8000-zz23281e1c8a"} {
		if _, ok := ids.Index(id); ok {
			t.Errorf("%q: taken for ours", id)
		}
	}
}

func TestFile(t *testing.T) {
	key, err := ParseKeyRule("customer")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"Lines", "{\"request_id\":\"r\", \"pool_id\":\"p\",\"customer_id\":\"c\"}\n\n{\"customer_id\":\"d\",\"pool_id\":\"q\",\"request_id\":\"s\",\"context\":{\"a\": 1}}",
			`p r c {"request_id":"r", "pool_id":"p","customer_id":"c"}; q s d {"customer_id":"d","pool_id":"q","request_id":"s","context":{"a": 1}}`},
		{"LineWithoutPool", `{"request_id":"r","customer_id":"c"}`, `default r c {"request_id":"r","pool_id":"default","customer_id":"c"}`},
		{"LineWithoutCustomer", `{"request_id":"r","pool_id":"p"}`, "line 1: pool_id or customer_id is missing"},
		{"NotJSON", "{\"request_id\":\"r\",\"customer_id\":\"c\"}\n{", `default r c {"request_id":"r","pool_id":"default","customer_id":"c"}; line 2: not the JSON of a code request`},
		{"CSV", "request_id,customer_id,context\nr,c,\"{\"\"a\"\":1}\"\n", `default r c {"request_id":"r","pool_id":"default","customer_id":"c","context":{"a":1}}`},
		{"CSVSemicolons", "\ufeffcustomer_id;request_id;pool_id\nc;r;p\n", `p r c {"request_id":"r","pool_id":"p","customer_id":"c"}`},
		{"CSVHeader", "a,b\n1,2\n", "line 1: the header must name customer_id, and may name request_id, pool_id, expires_at and context"},
		{"Empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := File{In: strings.NewReader(tt.in), Pool: "default", Key: key, IDs: NewIDs("")}
			var got []string
			for m, err := range f.Messages() {
				if err != nil {
					got = append(got, err.Error())
					break
				}
				got = append(got, fmt.Sprintf("%s %s %s %s", m.PoolID, m.RequestID, m.Key, m.Value))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPublishCollect has a service that answers everything, every tenth time
// with a rejection and every third time twice.
func TestPublishCollect(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rate  float64
		count int
	}{{"Fast", 0, 30_000}, {"Paced", 2000, 1000}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newService(t)
			key, _ := ParseKeyRule("request")
			g := Generator{Pools: []string{"a", "b"}, Count: tt.count, Customers: 7, Key: key, IDs: NewIDs(`with "quotes" `)}
			c, err := Collect(t.Context(), w.client, w.names.Outcomes, &g.IDs)
			if err != nil {
				t.Fatal(err)
			}
			results := make(chan Result, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				r, err := c.Run(ctx)
				if err != nil {
					t.Error(err)
				}
				results <- r
			}()
			acked := 0
			p, err := Publish(ctx, w.target, Pace{Rate: tt.rate, Concurrency: 1, Due: c.Expect, Acked: func(n int) { acked += n }}, g.Messages())
			if err != nil || p.Requests != int64(tt.count) || p.Acked != int64(tt.count) || acked != tt.count {
				t.Errorf("published %+v, %d counted, %v; want %d", p, acked, err, tt.count)
			}
			if tt.rate > 0 && p.Rate() > 1.01*tt.rate {
				t.Errorf("%.0f a second, want %.0f", p.Rate(), tt.rate)
			}
			c.Sent()
			r := <-results
			if r.Expected != int64(tt.count) || r.Missing != 0 || r.Issued+r.Rejected["pool_exhausted"] != int64(tt.count) || r.Rejected["pool_exhausted"] != int64(tt.count)/10 {
				t.Errorf("collected %+v, want %d answers, a tenth rejected", r, tt.count)
			}
			if r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
				t.Errorf("p50 %v, p99 %v, max %v", r.P50, r.P99, r.Max)
			}
		})
	}
}

// TestCollectMissing sees what nobody answers.
func TestCollectMissing(t *testing.T) {
	w := newService(t)
	c, err := Collect(t.Context(), w.client, w.names.Outcomes, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := Message{PoolID: "a", RequestID: "never published"}
	c.Expect(&m, time.Now())
	c.Sent()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := c.Run(ctx)
	if err != nil || r.Missing != 1 {
		t.Errorf("%d missing, %v; want 1", r.Missing, err)
	}
}

// TestPublishTooLarge goes on behind a message that the broker refuses.
func TestPublishTooLarge(t *testing.T) {
	w := newService(t)
	messages := func(yield func(Message, error) bool) {
		for i, size := range []int{10, 2 << 20, 10} {
			if !yield(Message{RequestID: fmt.Sprint(i), Key: []byte("k"), Value: make([]byte, size)}, nil) {
				return
			}
		}
	}
	p, err := Publish(t.Context(), w.target, Pace{}, messages)
	if err != nil || p.Requests != 3 || p.Acked != 2 {
		t.Errorf("got %+v, %v; want 2 of 3 acknowledged", p, err)
	}
}

type service struct {
	client *kafka.Client
	names  topics.Names
	target Target

	answered int // owned by Follow
}

func newService(t *testing.T) *service {
	t.Helper()
	const partitions = 3
	s := &service{names: topics.Named(kafkatest.Prefix(t)), client: topics.Client([]string{kafkatest.ForTest(t)})}
	t.Cleanup(func() { topics.Close(s.client) })
	if err := topics.Ensure(t.Context(), s.client, s.names, partitions); err != nil {
		t.Fatal(err)
	}
	s.target = Target{Producer: producer.New(s.client, nil, zerolog.Nop(), prometheus.NewRegistry()), Topic: s.names.Requests, Partitions: partitions}
	in, err := tail.Open(t.Context(), s.client, []string{s.names.Requests}, tail.From{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := in.Follow(ctx, func(_ string, p int, records []consumer.Record) error { return s.answer(ctx, p, records) }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *service) answer(ctx context.Context, partition int, records []consumer.Record) error {
	var out []producer.Record
	for i := range records {
		var d struct {
			RequestID string `json:"request_id"`
			PoolID    string `json:"pool_id"`
		}
		if json.Unmarshal(records[i].Value, &d) != nil {
			continue
		}
		req := domain.Request{RequestID: d.RequestID, PoolID: d.PoolID, CustomerID: "c"}
		rec := producer.Record{Key: records[i].Key, Time: time.Now(), Headers: []kafka.Header{{Key: "ce_type", Value: []byte(domain.TypeCodeIssued)}}}
		rec.Value = domain.AppendIssued(nil, &domain.Issuance{Pool: &domain.Pool{ID: d.PoolID}, RequestID: d.RequestID, Code: "x"})
		n := s.answered
		s.answered++
		if n%10 == 9 {
			rec.Headers[0].Value = []byte(domain.TypeCodeRejected)
			rec.Value = domain.AppendRejected(nil, &domain.Outcome{Request: &req, Reason: domain.PoolExhausted})
		}
		out = append(out, rec)
		if n%3 == 2 {
			out = append(out, rec)
		}
	}
	if err := s.target.Producer.Publish(ctx, s.names.Outcomes, partition, out); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
