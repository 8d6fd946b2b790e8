package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/producer"
)

// sale is a redemption to be asked for.
type sale struct {
	ID       string `json:"redemption_id"`
	Pool     string `json:"pool_id,omitempty"`
	Code     string `json:"code,omitempty"`
	Customer string `json:"customer_id,omitempty"`
	Order    string `json:"order_id,omitempty"`
	Occurred string `json:"occurred_at,omitempty"`
}

// verdict is what a sale was answered: "redeemed", or the reason why not.
type verdict struct {
	ID         string `json:"redemption_id"`
	Reason     string `json:"reason"`
	Processing string `json:"processing"`
	Status     int    `json:"-"` // of HTTP
	EventID    string `json:"-"` // of Kafka
	Answers    string `json:"-"` // the delivery; "/": none
	Value      string `json:"-"`
}

func (v verdict) String() string {
	if v.Reason == "" {
		return "redeemed"
	}
	return v.Reason
}

// sell asks for redemptions over Kafka, each under a key of its own, so that one
// code is wanted on every partition.
func (w *world) sell(sales ...sale) {
	w.t.Helper()
	byPartition := map[int][]producer.Record{}
	for _, s := range sales {
		value, err := json.Marshal(s)
		if err != nil {
			w.t.Fatal(err)
		}
		p := producer.Partition([]byte(s.ID), partitions)
		byPartition[p] = append(byPartition[p], producer.Record{Key: []byte(s.ID), Value: value, Time: time.Now()})
	}
	for p, records := range byPartition {
		if err := w.producer.Publish(w.t.Context(), w.names.RedemptionRequests, p, records); err != nil {
			w.t.Fatal(err)
		}
	}
}

// sold parses an outcome.
func sold(t testing.TB, rec *consumer.Record) (v verdict) {
	if err := json.Unmarshal(rec.Value, &v); err != nil {
		t.Errorf("outcome is not JSON: %v", err)
	}
	h := func(key string) string { return string(consumer.Header(rec, key)) }
	v.EventID, v.Answers, v.Value = h("ce_id"), h("ce_requestpartition")+"/"+h("ce_requestoffset"), string(rec.Value)
	return v
}

// post asks for a redemption by HTTP, or with verb "check" whether it would be.
func (n *node) post(client *http.Client, verb string, s sale) (v verdict, err error) {
	path := n.http + "/v1/pools/" + url.PathEscape(s.Pool) + "/codes/" + url.PathEscape(s.Code) + "/" + verb
	s.Pool, s.Code = "", ""
	body, err := json.Marshal(s)
	if err != nil {
		return v, err
	}
	resp, err := client.Post(path, "application/json", bytes.NewReader(body))
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("%s: %w: %s", resp.Status, err, text)
	}
	v.Status, v.Value = resp.StatusCode, string(text)
	return v, nil
}

// unlimited lets tests guess as much as they like.
func unlimited(t *testing.T) {
	t.Setenv("PROMOPOOL_GUESS_LIMIT_CALLER", "1000000/100000000")
	t.Setenv("PROMOPOOL_GUESS_LIMIT_POOL", "1000000/100000000")
}

// issueTo has codes of the pool issued to a customer and returns them.
func (w *world) issueTo(outcomes *reader, pool, customer string, n int) (codes []string) {
	w.t.Helper()
	for i := range n {
		w.Send(ask{pool: pool, request: fmt.Sprint("for-", customer, "-", i), customer: customer})
	}
	for _, a := range outcomes.Answers(n, 30*time.Second) {
		if a.PoolID != pool || a.Code == "" {
			w.t.Fatalf("got %+v", a)
		}
		codes = append(codes, a.Code)
	}
	return codes
}

// TestRedemptionMatrix: every reason, by HTTP and over Kafka, from one table.
// What is checked first is answered the same.
func TestRedemptionMatrix(t *testing.T) {
	w := newWorld(t)
	n := w.Serve()
	issued := w.reader(w.names.Outcomes)
	for id, settings := range map[string]string{
		"open": "", "checked": "check_issued = true", "partner": "processing = 'external'",
		"limited": "multi_use = true, redemption_limit = 2", "each": "multi_use = true, redemption_limit_per_customer = 1", "archived": "",
	} {
		w.Draft(id)
		if settings != "" {
			w.exec("UPDATE pools SET "+settings+" WHERE id = $1", id)
		}
		w.AddCodes(id, id, 20)
		w.launch(n, id)
	}
	w.Draft("draft")
	w.AddCodes("draft", "draft", 5)
	lot := func(id, prefix string, from, till any) {
		w.AddCodes(id, prefix, 10)
		w.exec(`UPDATE lots l SET available_from = $2::timestamptz, available_till = $3::timestamptz FROM (SELECT lot, pool FROM codes WHERE code = 'c0de-' || $1 || '-0') c WHERE l.lot = c.lot AND l.pool = c.pool`, prefix, from, till)
		w.exec(`UPDATE runs r SET available_till = coalesce(l.available_till, 'infinity') FROM lots l WHERE l.pool = r.pool AND l.lot = r.lot`)
	}
	now := time.Now().UTC()
	lot("open", "later", now.Add(time.Hour), nil)
	lot("open", "over", nil, now.Add(-time.Hour))
	anna := w.issueTo(issued, "checked", "anna", 6)
	ofArchive := w.issueTo(issued, "archived", "anna", 2)
	(staff{t: t, base: n.http, name: "anna"}).Want(200, "POST", "/v1/pools/archived/archive", "")
	for _, code := range []string{"c0de-open-18", "c0de-open-19"} {
		w.exec("SELECT block_code(p.pool, c.lot, c.seq, 'anna', '') FROM pools p JOIN codes c ON c.pool = p.pool WHERE p.id = 'open' AND c.code = $1", code)
	}

	const redeemed = "redeemed"
	type row struct {
		name string
		sale sale
		code [2]string // by HTTP, over Kafka
		want string
	}
	two := func(format string, from int) [2]string {
		return [2]string{fmt.Sprintf(format, from), fmt.Sprintf(format, from+1)}
	}
	same := func(code string) [2]string { return [2]string{code, code} }
	table := []row{
		{"Unissued", sale{Pool: "open", Customer: "anna", Order: "o-1"}, two("c0de-open-%d", 0), redeemed},
		{"AlreadyRedeemed", sale{Pool: "open"}, two("c0de-open-%d", 0), "already_redeemed"},
		{"NoSuchPool", sale{Pool: "nowhere"}, same("c0de-x"), "pool_not_found"},
		{"Draft", sale{Pool: "draft"}, two("c0de-draft-%d", 0), "pool_not_active"},
		{"ArchivedIssued", sale{Pool: "archived"}, [2]string(ofArchive), redeemed},
		{"ArchivedUnissued", sale{Pool: "archived"}, two("c0de-archived-%d", 18), "pool_not_active"},
		{"NoSuchCode", sale{Pool: "open"}, same("C0DE-OPEN-5"), "code_not_found"},
		{"Blocked", sale{Pool: "open"}, two("c0de-open-%d", 18), "blocked"},
		{"NotIssued", sale{Pool: "checked", Customer: "anna"}, two("c0de-checked-%d", 18), "not_issued"},
		{"AnotherCustomer", sale{Pool: "checked", Customer: "bert"}, [2]string(anna[:2]), "not_issued_to_customer"},
		{"NoCustomer", sale{Pool: "checked"}, [2]string(anna[:2]), "not_issued_to_customer"},
		{"Issued", sale{Pool: "checked", Customer: "anna"}, [2]string(anna[:2]), redeemed},
		{"BeforeIssue", sale{Pool: "checked", Customer: "anna", Occurred: now.Add(-time.Hour).Format(time.RFC3339)}, [2]string(anna[2:4]), "not_yet_valid"},
		{"Later", sale{Pool: "open"}, two("c0de-later-%d", 0), "not_yet_valid"},
		{"Over", sale{Pool: "open"}, two("c0de-over-%d", 0), "expired"},
		{"OverButInTime", sale{Pool: "open", Occurred: now.Add(-2 * time.Hour).Format(time.RFC3339)}, two("c0de-over-%d", 0), redeemed},
		{"OverADayAgo", sale{Pool: "open", Occurred: now.Add(-25 * time.Hour).Format(time.RFC3339)}, two("c0de-over-%d", 2), "expired"},
		{"External", sale{Pool: "partner"}, two("c0de-partner-%d", 0), redeemed},
		{"ExternalAgain", sale{Pool: "partner"}, two("c0de-partner-%d", 0), redeemed},
		{"ExternalUnknown", sale{Pool: "partner"}, same("c0de-theirs"), redeemed},
		{"Limited", sale{Pool: "limited"}, same("c0de-limited-0"), redeemed}, // and over Kafka the second time
		{"LimitReached", sale{Pool: "limited"}, same("c0de-limited-0"), "limit_reached"},
		{"EachOnce", sale{Pool: "each", Customer: "anna"}, two("c0de-each-%d", 0), redeemed},
		{"EachTwice", sale{Pool: "each", Customer: "anna"}, two("c0de-each-%d", 0), "limit_reached"},
		{"EachAnother", sale{Pool: "each", Customer: "bert"}, two("c0de-each-%d", 0), redeemed},
		{"EachUnnamed", sale{Pool: "each"}, two("c0de-each-%d", 0), "limit_reached"},
	}
	outcomes := w.reader(w.names.RedemptionOutcomes)
	events := map[string][]verdict{} // by redemption
	hear := func(id string, answers func(verdict) bool) verdict {
		t.Helper()
		fits := func() int { return slices.IndexFunc(events[id], answers) }
		if fits() < 0 && !outcomes.more(20*time.Second, func(_ int, rec *consumer.Record) bool {
			v := sold(t, rec)
			events[v.ID] = append(events[v.ID], v)
			return fits() >= 0
		}) {
			t.Fatalf("no outcome of %s", id)
		}
		return events[id][fits()]
	}
	byOutbox := func(v verdict) bool { return v.Answers == "/" }
	byKafka := func(v verdict) bool { return v.Answers != "/" }
	for _, r := range table {
		web, bus := r.sale, r.sale
		web.ID, web.Code = "web "+r.name, r.code[0]
		bus.ID, bus.Code = "bus "+r.name, r.code[1]
		checked, err := n.post(http.DefaultClient, "check", web)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := n.post(http.DefaultClient, "redeem", web)
		if err != nil {
			t.Fatal(err)
		}
		w.sell(bus)
		status := http.StatusConflict
		if r.want == redeemed {
			status = http.StatusOK
		}
		if checked.String() != r.want || answer.String() != r.want || answer.Status != status || checked.Status != status {
			t.Errorf("%s: checked %s, by HTTP %s (%d), want %s", r.name, checked, answer, answer.Status, r.want)
		}
		told, heard := hear(web.ID, byOutbox), hear(bus.ID, byKafka)
		if told.String() != r.want || heard.String() != r.want {
			t.Errorf("%s: told %s, over Kafka %s, want %s", r.name, told, heard, r.want)
		}
		if external := heard.Processing == "external"; external != (r.sale.Pool == "partner") {
			t.Errorf("%s: processing %q", r.name, heard.Processing)
		}
	}
	// Each again, the other way: the first answer, and for another order a conflict.
	for _, r := range table {
		web, bus := r.sale, r.sale
		web.ID, web.Code = "bus "+r.name, r.code[1]
		bus.ID, bus.Code = "web "+r.name, r.code[0]
		answer, err := n.post(http.DefaultClient, "redeem", web)
		if err != nil {
			t.Fatal(err)
		}
		first := events[web.ID][slices.IndexFunc(events[web.ID], byKafka)]
		if answer.String() != r.want || r.want == redeemed && strings.TrimSpace(answer.Value) != first.Value {
			t.Errorf("%s again: %s, after %s", r.name, answer.Value, first.Value)
		}
		w.sell(bus)
		told := events[bus.ID][slices.IndexFunc(events[bus.ID], byOutbox)]
		if heard := hear(bus.ID, byKafka); heard.Value != told.Value || heard.EventID != told.EventID {
			t.Errorf("%s again: %s, after %s", r.name, heard.Value, told.Value)
		}
		bus.Order = "another"
		w.sell(bus)
		hear(bus.ID, func(v verdict) bool { return v.Reason == "redemption_conflict" && v.EventID != told.EventID })
		if answer, err := n.post(http.DefaultClient, "redeem", sale{ID: bus.ID, Pool: bus.Pool, Code: bus.Code, Order: "yet another"}); err != nil || answer.String() != "redemption_conflict" {
			t.Errorf("%s: %s for another order, %v", r.name, answer, err)
		}
	}
	w.settled()
	w.Verify()
}

// launch makes a draft active as staff do.
func (w *world) launch(n *node, id string) {
	w.t.Helper()
	(staff{t: w.t, base: n.http, name: "anna"}).Want(200, "POST", "/v1/pools/"+id+"/launch", "")
}

// settled waits until nothing is in the outbox and the redeeming group has
// committed all that is answered.
func (w *world) settled() {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); w.number("SELECT count(*) FROM outbox") > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("events wait in the outbox")
		}
	}
}

// TestRedeemAtOnce: of all who redeem one code at once, by HTTP at two processes
// and over Kafka on every partition, one does.
func TestRedeemAtOnce(t *testing.T) {
	unlimited(t)
	n, rounds := sized(200, 10_000), sized(3, 100)
	w := newWorld(t)
	w.Pool("p", 2*rounds)
	nodes := []*node{w.Serve(), w.Serve()}
	codes := w.issueTo(w.reader(w.names.Outcomes), "p", "anna", rounds/2) // every other round
	outcomes := w.reader(w.names.RedemptionOutcomes)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}, Timeout: time.Minute}
	began := time.Now()
	var slowest time.Duration
	for round := range rounds {
		code := fmt.Sprintf("c0de-p-%d", 2*rounds-1-round)
		if round%2 == 1 && len(codes) > 0 {
			code, codes = codes[0], codes[1:]
		}
		var mu sync.Mutex
		got := map[string]int{}
		count := func(v verdict) {
			mu.Lock()
			defer mu.Unlock()
			got[v.String()]++
		}
		started := time.Now()
		var all sync.WaitGroup
		var bus []sale
		for i := range n {
			s := sale{ID: fmt.Sprintf("%d-%d", round, i), Pool: "p", Code: code}
			if i%2 == 0 {
				s.ID = "bus-" + s.ID
				bus = append(bus, s)
				continue
			}
			all.Go(func() {
				v, err := nodes[i/2%2].post(client, "redeem", s)
				if err != nil || v.Status != 200 && v.Status != 409 {
					t.Errorf("got %v (%d) %s, %v", v, v.Status, v.Value, err)
				}
				count(v)
			})
		}
		all.Go(func() { w.sell(bus...) })
		heard := map[string]bool{}
		if !outcomes.more(2*time.Minute, func(_ int, rec *consumer.Record) bool {
			if v := sold(t, rec); strings.HasPrefix(v.ID, fmt.Sprintf("bus-%d-", round)) && !heard[v.ID] {
				heard[v.ID] = true
				count(v)
			}
			return len(heard) == len(bus)
		}) {
			t.Fatalf("round %d: %d of %d were answered over Kafka", round, len(heard), len(bus))
		}
		all.Wait()
		slowest = max(slowest, time.Since(started))
		if got["redeemed"] != 1 || got["already_redeemed"] != n-1 {
			t.Errorf("round %d: got %v", round, got)
		}
	}
	t.Logf("%d rounds of %d at once in %.1f s, the slowest in %.1f s: one success each", rounds, n, time.Since(began).Seconds(), slowest.Seconds())
	w.settled()
	if got := w.number("SELECT count(*) FROM redemptions WHERE reason = 0"); got != int64(rounds) {
		t.Errorf("%d redemptions are stored, want %d", got, rounds)
	}
	w.Verify()
}

// TestRedeemKilled: processes are killed and started while codes are redeemed,
// each by several: each once, and everything answered.
func TestRedeemKilled(t *testing.T) {
	unlimited(t)
	codes, rounds := sized(1000, 20_000), sized(1, 8)
	w := newWorld(t)
	w.Pool("p", codes)
	a, b := w.Serve(), w.Serve()
	outcomes := w.reader(w.names.RedemptionOutcomes)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		pause := func(most int) { time.Sleep(time.Duration(100+rand.IntN(most)) * time.Millisecond) }
		for round := range rounds {
			// kfake keeps a member for ever that dies while it joins.
			if !a.AwaitReady() || !b.AwaitReady() {
				return
			}
			pause(1000)
			a.Kill()
			if round%2 == 0 {
				pause(400)
				b.Kill()
				b = w.Serve()
			}
			a, b = b, w.Serve()
		}
	}()
	const each = 3
	answered, wins, words := map[string]bool{}, map[string]int{}, map[string]string{}
	var mu sync.Mutex
	heard := func(v verdict) {
		mu.Lock()
		defer mu.Unlock()
		if !answered[v.ID] && v.Reason == "" {
			code, _, _ := strings.Cut(v.ID, "/")
			wins[code]++
		}
		answered[v.ID] = true
	}
	go func() {
		pace := time.NewTicker(time.Duration(sized(100, 200)) * time.Millisecond)
		defer pace.Stop()
		for i := 0; i < codes; i += 50 {
			<-pace.C
			var sales []sale
			for c := i; c < min(i+50, codes); c++ {
				for k := range each {
					sales = append(sales, sale{ID: fmt.Sprintf("%d/%d", c, k), Pool: "p", Code: fmt.Sprintf("c0de-p-%d", c), Order: "o"})
				}
			}
			rand.Shuffle(len(sales), func(i, j int) { sales[i], sales[j] = sales[j], sales[i] })
			w.sell(sales...)
		}
	}()
	if !outcomes.more(5*time.Minute, func(_ int, rec *consumer.Record) bool {
		v := sold(t, rec)
		if before, ok := words[v.EventID]; ok && before != v.Value {
			t.Errorf("%s is told in other words: %s, then %s", v.ID, before, v.Value)
		}
		words[v.EventID] = v.Value
		heard(v)
		return len(answered) == codes*each
	}) {
		t.Fatalf("%d of %d were answered\n%s\n%s", len(answered), codes*each, a.Problems(), b.Problems())
	}
	<-killed
	for c := range codes {
		if wins[fmt.Sprint(c)] != 1 {
			t.Errorf("code %d was redeemed %d times", c, wins[fmt.Sprint(c)])
		}
	}
	w.settled()
	w.Verify()
}

// TestGuessing: one caller tries codes without end, another redeems beside it.
func TestGuessing(t *testing.T) {
	tries, beside := sized(3000, 100_000), sized(100, 1000)
	w := newWorld(t)
	w.Pool("p", 10)
	n := w.Serve()
	from := func(addr string) *http.Client {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
		return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 32}, Timeout: time.Minute}
	}
	shop := from("127.0.0.2")
	redeem := func(prefix string) (took []time.Duration) {
		for i := range beside {
			began := time.Now()
			v, err := n.post(shop, "check", sale{ID: fmt.Sprint(prefix, i), Pool: "p", Code: "c0de-p-3"})
			if err != nil || v.Status != 200 {
				t.Fatalf("the other caller got %v (%d), %v", v, v.Status, err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took
	}
	calm := redeem("calm-")

	thief := from("127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	status := map[int]int{}
	began := time.Now()
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range tries {
			select {
			case next <- i:
			case <-ctx.Done():
			}
		}
	}()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range next {
				verb := []string{"redeem", "check"}[i%2]
				v, err := n.post(thief, verb, sale{ID: fmt.Sprint("try-", i), Pool: "p", Code: fmt.Sprint("c0de-guess-", i)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				status[v.Status]++
				mu.Unlock()
			}
		})
	}
	busy := redeem("busy-")
	all.Wait()
	took := time.Since(began)
	if most := 100 + int(took.Minutes()*60) + 1; status[409] < 100 || status[409] > most || status[409]+status[429] != tries {
		t.Errorf("got %v in %v, want 100 to %d looked at and the others turned away", status, took, most)
	}
	if metrics := n.get("/metrics"); !strings.Contains(metrics, fmt.Sprintf(`promopool_redemption_tries_limited_total{scope="caller"} %s`, number(status[429]))) {
		t.Error("what was turned away is not counted")
	}
	if got := w.number("SELECT count(*) FROM redemptions"); got > int64(status[409]) {
		t.Errorf("%d tries are stored, %d were looked at", got, status[409])
	}
	n.Stop()
	if lines := strings.Count(n.log.String(), "turning more away"); lines < 1 || lines > 1+int(took.Minutes()) {
		t.Errorf("%d lines are logged of it", lines)
	}
	t.Logf("%d tries in %.1f s: %d looked at, %d turned away (%.0f/s); another caller: p50 %v, p99 %v before, p50 %v, p99 %v beside",
		tries, took.Seconds(), status[409], status[429], float64(tries)/took.Seconds(), calm[len(calm)/2], calm[len(calm)*99/100], busy[len(busy)/2], busy[len(busy)*99/100])
}

// number is n as metrics show it.
func number(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%g", float64(n))
	}
	return fmt.Sprint(n)
}
