package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/topics"
)

// shredded is what the interface says of an erasure.
type shredded struct {
	Done        bool
	Issuances   int64
	Redemptions int64
	HeldUntil   time.Time `json:"held_until"`
	Topics      []struct {
		Topic     string
		HeldUntil time.Time `json:"held_until"`
	}
}

// Erase erases a customer, asking until it is done.
func (n *node) Erase(customer string) (e shredded) {
	n.w.t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !e.Done; {
		req, err := http.NewRequestWithContext(n.w.t.Context(), http.MethodDelete, n.http+"/v1/customers/"+url.PathEscape(customer), nil)
		if err != nil {
			n.w.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			n.w.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || json.Unmarshal(text, &e) != nil || resp.StatusCode >= 300 || time.Now().After(deadline) {
			n.w.t.Fatalf("erase: %s, %v: %s", resp.Status, err, text)
		}
	}
	return e
}

// Codes are the codes of a customer, page by page.
func (n *node) Codes(customer string) (codes []string) {
	n.w.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Items []struct{ Code string }
			Next  *string
		}
		text := n.get("/v1/customers/" + url.PathEscape(customer) + "/codes?limit=7" + cursor)
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			n.w.t.Fatalf("%v in %s", err, text)
		}
		for _, i := range page.Items {
			codes = append(codes, i.Code)
		}
		if page.Next == nil {
			return codes
		}
		cursor = "&cursor=" + *page.Next
	}
}

// said is what was published in answer to a delivery, or by the outbox.
type said struct {
	topic, answers, id, time, key, value string
}

// said reads n more outcomes, or as many as come.
func (r *reader) said(n int, within time.Duration) []said {
	r.w.t.Helper()
	var all []said
	if n > 0 {
		r.more(within, func(_ int, rec *consumer.Record) bool {
			h := func(key string) string { return string(consumer.Header(rec, key)) }
			all = append(all, said{r.topic, h("ce_requestpartition") + "/" + h("ce_requestoffset"), h("ce_id"), h("ce_time"), string(rec.Key), string(rec.Value)})
			return len(all) >= n
		})
	}
	return all
}

// there reads all that a topic holds.
func (r *reader) there() []said {
	r.w.t.Helper()
	_, ends, err := topics.Ends(r.w.t.Context(), r.w.client, r.topic, partitions)
	if err != nil {
		r.w.t.Fatal(err)
	}
	n := 0
	for _, end := range ends {
		n += int(end)
	}
	return r.said(n, time.Minute)
}

// Rewind sets the groups' offsets back to where the topics begin. Nobody may be in
// them.
func (w *world) Rewind() {
	w.t.Helper()
	for group, topic := range map[string]string{w.names.IssuingGroup: w.names.Requests, w.names.RedeemingGroup: w.names.RedemptionRequests} {
		var back []kafka.OffsetCommit
		for p := range partitions {
			back = append(back, kafka.OffsetCommit{Partition: p})
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			res, err := w.client.OffsetCommit(w.t.Context(), &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: back}})
			for _, p := range res.Topics[topic] {
				if err == nil {
					err = p.Error
				}
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				w.t.Fatal(err)
			}
		}
	}
}

// named are the columns of the database in which a text stands.
func (w *world) named(text string) (where []string) {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), `SELECT table_name, column_name, data_type FROM information_schema.columns
		WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'jsonb')`)
	if err != nil {
		w.t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Table, Column, Type string }])
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range columns {
		look := fmt.Sprintf("SELECT count(*) FROM %s WHERE %s::text LIKE '%%' || $1 || '%%'", c.Table, c.Column)
		if c.Type == "bytea" {
			look = fmt.Sprintf("SELECT count(*) FROM %s WHERE position(convert_to($1, 'UTF8') IN %s) > 0", c.Table, c.Column)
		}
		if w.number(look, text) > 0 {
			where = append(where, c.Table+"."+c.Column)
		}
	}
	return where
}

// TestErasedAndReplayed: a customer is erased, the logs of requests are read again from
// their first records, and nothing that is published from then on names the customer;
// every delivery is answered as it was, under the same ce_id.
func TestErasedAndReplayed(t *testing.T) {
	unlimited(t)
	w := newWorld(t)
	w.Pool("p", 300)
	w.Pool("dry", 1)
	w.Draft("draft")
	first, second := w.Serve(), w.Serve()

	const gone, order = "gone-quux", "order-quux"
	var asks []ask
	for i := range 40 {
		asks = append(asks, ask{pool: "p", request: fmt.Sprint("g-", i), customer: gone}, ask{pool: "p", request: fmt.Sprint("s-", i), customer: fmt.Sprint("stays-", i%5)})
	}
	asks = append(asks,
		ask{pool: "p", request: "g-0", customer: gone, key: "another key of " + gone}, // a repeat
		ask{pool: "nowhere", request: "g-0", customer: gone},
		ask{pool: "draft", request: "g-0", customer: gone})
	w.Send(asks...)
	for i := range 4 {
		asks = append(asks, ask{pool: "dry", request: fmt.Sprint("g-", i), customer: gone})
		w.Send(asks[len(asks)-1])
	}
	r := w.reader(w.names.Outcomes)
	answers := r.Answers(len(asks), time.Minute)
	code := ""
	for _, a := range answers {
		if a.RequestID == "g-1" && a.PoolID == "p" {
			code = a.Code
		}
	}
	conflict := ask{pool: "p", request: "s-0", customer: gone}
	w.Send(conflict)
	r.Answers(1, time.Minute)
	asks = append(asks, conflict)
	sales := []sale{
		{ID: "t-1", Pool: "p", Code: code, Customer: gone, Order: order}, {ID: "t-1", Pool: "p", Code: code, Customer: gone, Order: order},
		{ID: "t-1", Pool: "p", Code: code, Customer: gone, Order: order + "-b"}, {ID: "t-2", Pool: "p", Code: code, Customer: gone}, {ID: "t-3", Pool: "p", Code: "none", Customer: gone},
		{ID: "t-4", Pool: "nowhere", Code: "none", Customer: gone}, {ID: "t-5", Pool: "p", Code: code, Order: order}, {ID: "t-6", Pool: "p", Code: code, Customer: "stays-1"},
	}
	outcomes := w.reader(w.names.RedemptionOutcomes)
	for i, s := range sales {
		w.sell(s)
		if len(outcomes.said(1, time.Minute)) != 1 {
			t.Fatalf("sale %d is not answered", i)
		}
	}
	if got := len(first.Codes(gone)); got != 41 {
		t.Errorf("the customer has %d codes, want 41", got)
	}
	if got := len(first.Codes("stays-1")); got != 8 {
		t.Errorf("another has %d codes, want 8", got)
	}

	e := first.Erase(gone)
	if e.Issuances != 41 || e.Redemptions != 7 {
		t.Errorf("erased %d issuances and %d redemptions, want 41 and 7", e.Issuances, e.Redemptions)
	}
	// Outcomes are kept for 30 days, and a segment for a week.
	if days := time.Until(e.HeldUntil).Hours() / 24; days < 36.9 || days > 37.1 || len(e.Topics) != 5 {
		t.Errorf("held for %.1f days by %+v", days, e.Topics)
	}
	for _, text := range []string{gone, order} {
		if where := w.named(text); len(where) > 0 {
			t.Errorf("%s is still in %q", text, where)
		}
	}
	if got := first.Codes(gone); len(got) != 0 {
		t.Errorf("erased, the customer has %q", got)
	}
	w.Verify()

	for _, forgotten := range []bool{false, true} {
		first.Stop()
		second.Stop()
		issues, uses := w.reader(w.names.Outcomes), w.reader(w.names.RedemptionOutcomes)
		before := append(issues.there(), uses.there()...)
		if forgotten {
			// As when the log could not deliver them again: what is read is new.
			w.exec("DELETE FROM batches")
		}
		w.Rewind()
		first, second = w.Serve(), w.Serve()
		after := append(issues.said(len(asks), time.Minute), uses.said(len(sales), time.Minute)...)
		if len(after) < len(asks)+len(sales) {
			t.Fatalf("%d answers after the logs were read again, want %d", len(after), len(asks)+len(sales))
		}
		known := map[string]said{}
		for _, s := range before {
			known[s.topic+" "+s.answers] = s
		}
		hushed := 0
		for _, s := range after {
			if text := s.key + s.value; strings.Contains(text, "quux") {
				t.Errorf("named in %+v", s)
			}
			if strings.Contains(s.value, `"erased:`) {
				hushed++
			}
			was, rejected := known[s.topic+" "+s.answers], strings.Contains(s.value, `"rejected_at"`)
			if was.id != s.id || was.time != s.time && (!forgotten || !rejected) {
				t.Errorf("answered as %s of %s, was %s of %s", s.id, s.time, was.id, was.time)
			}
		}
		if want := 40 + 3 + 4 + 1 + 7; hushed < want {
			t.Errorf("%d answers without a name, want %d", hushed, want)
		}
		if !forgotten {
			w.Verify()
		}
	}
	for _, n := range []*node{first, second} {
		if text := n.log.String() + n.get("/metrics"); strings.Contains(text, "quux") || strings.Contains(text, "erased:") {
			t.Error("the customer is in a log or a metric")
		}
	}

	// What comes later is new.
	later := w.reader(w.names.Outcomes)
	later.there()
	w.Send(ask{pool: "p", request: "new", customer: gone})
	if a := later.Answers(1, time.Minute)[0]; a.RequestID != "new" || a.CustomerID != gone || a.Code == "" {
		t.Errorf("got %+v", a)
	}
	if got := len(second.Codes(gone)); got != 1 {
		t.Errorf("the customer has %d codes, want 1", got)
	}
}

// TestEraseLive: very many issuances of one customer are erased while others' requests
// are answered.
func TestEraseLive(t *testing.T) {
	w := newWorld(t)
	n := sized(20_000, 1_000_000)
	w.Pool("big", n)
	w.Pool("p", sized(50_000, 2_000_000))
	w.exec(`WITH r AS (UPDATE runs SET next = hi WHERE pool = (SELECT pool FROM pools WHERE id = 'big') RETURNING pool, lot, hi),
		u AS (INSERT INTO unlisted (at, pools, lots, firsts, counts) SELECT clock_timestamp(), ARRAY[pool], ARRAY[lot], ARRAY[0], ARRAY[hi] FROM r)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id, context)
		SELECT pool, lot, s, now(), now(), 'big-' || s, 'whale-quux', '{"who": "whale-quux"}' FROM r, generate_series(0, hi - 1) s`)
	w.exec("VACUUM ANALYZE issuances")
	node := w.Serve()
	w.Serve()
	s := w.Stream("p", sized(500, 2_000))
	settle := time.Now()
	for time.Since(settle) < time.Duration(sized(2, 20))*time.Second {
		if s.between(settle, time.Now()).rate > 0 && w.number("SELECT count(*) FROM customer_codes") >= int64(n) {
			break
		}
	}
	before := time.Now()
	<-time.After(time.Duration(sized(1, 20)) * time.Second)
	from, used := time.Now(), w.processor()
	e := node.Erase("whale-quux")
	till, now := time.Now(), w.processor()
	s.Stop()
	t.Logf("before: %v", s.between(before, from))
	t.Logf("%d issuances erased in %v: %v; %.2f cores of the database", e.Issuances, till.Sub(from).Round(10*time.Millisecond), s.between(from, till),
		(now.database-used.database).Seconds()/till.Sub(from).Seconds())
	if e.Issuances != int64(n) {
		t.Errorf("erased %d issuances, want %d", e.Issuances, n)
	}
	if where := w.named("whale"); len(where) > 0 {
		t.Errorf("still in %q", where)
	}
	if len(s.rejected) > 0 {
		t.Errorf("rejected: %v", s.rejected)
	}
	w.Verify()
}

// TestErasureResumed: whoever erases is killed, and the customer is erased none the
// less.
func TestErasureResumed(t *testing.T) {
	w := newWorld(t)
	w.Pool("p", 3_000)
	doomed := w.Serve()
	var asks []ask
	for i := range 2_000 {
		asks = append(asks, ask{pool: "p", request: fmt.Sprint("g-", i), customer: "gone-quux", key: fmt.Sprint(i)})
	}
	w.Send(asks...)
	w.reader(w.names.Outcomes).Answers(len(asks), time.Minute)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, doomed.http+"/v1/customers/gone-quux", bytes.NewReader(nil))
		if err == nil {
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}
	}()
	for w.number("SELECT coalesce(max(issuances), 0) FROM erasures") == 0 {
	}
	doomed.Kill()
	<-ended
	// As if nobody had waited for long.
	w.exec("UPDATE erasures SET begun_at = begun_at - interval '1 minute' WHERE done_at IS NULL")
	for _, table := range []string{"issuances", "customer_codes"} {
		w.exec("UPDATE " + table + " SET issued_at = issued_at - interval '2 minutes'")
	}
	t.Logf("killed when %d were erased", w.number("SELECT issuances FROM erasures"))
	w.Serve()
	for deadline := time.Now().Add(time.Minute); w.number("SELECT count(*) FROM erasures WHERE done_at IS NULL") > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not erased")
		}
	}
	if where := w.named("quux"); len(where) > 0 {
		t.Errorf("still in %q", where)
	}
}
