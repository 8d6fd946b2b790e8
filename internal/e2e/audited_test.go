package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"promopool/internal/producer"
	"promopool/internal/verify"
)

// TestAuditedLive: the auditor runs again and again over a service to which
// everything happens at once, one of its two processes being killed every second,
// and never finds a promise broken.
func TestAuditedLive(t *testing.T) {
	unlimited(t)
	w := newWorld(t)
	l := &life{world: w, stop: make(chan struct{}), did: map[string]int{}}
	l.begin()
	for i, actor := range []func(*rand.Rand, int){l.ask, l.shop, l.clerk, l.clerk, l.manage, l.transact, l.retain} {
		l.work.Go(func() { l.loop(uint64(i), actor) })
	}
	l.work.Go(l.audit)
	for until := time.Now().Add(time.Duration(sized(5, 600)) * time.Second); time.Now().Before(until); {
		n := l.node(0)
		n.AwaitReady() // kfake never gets over a member that is killed while it joins
		n.Kill()
		fresh := w.Serve()
		l.mu.Lock()
		l.nodes = []*node{l.nodes[1], fresh}
		l.mu.Unlock()
		l.count("kill")
	}
	close(l.stop)
	l.work.Wait()
	w.Verify()
	var did []string
	for _, what := range slices.Sorted(maps.Keys(l.did)) {
		if l.did[what] > 0 {
			did = append(did, fmt.Sprintf("%s %d", what, l.did[what]))
		}
	}
	t.Logf("%d audits, at most %d in flight; %s", l.audits, l.flying, strings.Join(did, ", "))
	if l.audits < 2 || l.flying == 0 {
		t.Errorf("%d audits saw at most %d in flight", l.audits, l.flying)
	}
}

// life is a service and all that is done to it.
type life struct {
	*world
	stop chan struct{}
	work sync.WaitGroup
	sent atomic.Int64 // requests of the numbered kind

	mu    sync.Mutex
	nodes []*node
	did   map[string]int

	audits, flying int64 // owned by audit
}

// The pools: of many codes and of few, for many uses, generated, with an issue
// check, and judged by another system.
var lively = []string{"ample", "scarce", "many", "made", "checked", "partner"}

func (l *life) begin() {
	l.nodes = []*node{l.Serve(), l.Serve()}
	anna := staff{t: l.t, base: l.nodes[0].http, name: "anna"}
	anna.Want(201, "POST", "/v1/campaigns", `{"id": "live", "name": "Live"}`)
	for id, settings := range map[string]string{
		"ample": "", "scarce": `, "notify_below": 50`, "many": `, "multi_use": true, "redemption_limit": 1000`, "made": `, "validity": "P1M"`,
		"checked": `, "check_issued": true, "validity": "PT1H", "notify_below": 2900`, "partner": `, "processing": "external"`,
	} {
		anna.Want(201, "POST", "/v1/pools", fmt.Sprintf(`{"id": %q, "campaign_id": "live", "name": %q, "description": "x"%s}`, id, id, settings))
	}
	for id, n := range map[string]int{"ample": 40_000, "scarce": 60, "many": 7, "checked": 3000, "partner": 3000} {
		l.AddCodes(id, id, n)
	}
	anna.Want(202, "POST", "/v1/pools/made/generate", `{"count": 5000, "pattern": "S-########"}`)
	for _, id := range lively {
		anna.Want(200, "POST", "/v1/pools/"+id+"/launch", "")
	}
	for _, id := range []string{"ann", "ben"} {
		anna.Want(201, "POST", "/v1/staff", fmt.Sprintf(`{"id": %q, "name": %q, "email": "%s@example.com"}`, id, id, id))
		anna.Want(200, "PUT", "/v1/staff/"+id+"/subscriptions/all", "")
	}
}

// loop does something again and again until the end.
func (l *life) loop(seed uint64, actor func(*rand.Rand, int)) {
	dice := rand.New(rand.NewPCG(seed, 6))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			actor(dice, n)
		}
	}
}

// audit checks until the end.
func (l *life) audit() {
	for {
		report, err := verify.Run(l.t.Context(), verify.Config{Client: l.client, Prefix: l.prefix, DatabaseURL: l.database})
		switch {
		case err != nil && strings.Contains(err.Error(), "the first ever"): // it asks to be repeated
		case err != nil:
			l.t.Errorf("verify: %v", err)
		case !report.Holds():
			var text strings.Builder
			_ = report.WriteText(&text)
			l.t.Errorf("audit %d:\n%s", l.audits+1, text.String())
		default:
			l.audits++
			l.flying = max(l.flying, report.InFlight.Undecided+report.InFlight.Unanswered+report.InFlight.Redemptions)
		}
		select {
		case <-l.stop:
			return
		default:
		}
	}
}

func (l *life) node(i int) *node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[i]
}

func (l *life) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.did[what]++
}

// call asks one of the processes, which may be killed before it answers, or refuse.
func (l *life) call(what, method, path, body string) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, l.node(rand.IntN(2)).http+path, strings.NewReader(body))
	if err != nil {
		l.t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "/imports") {
		req.Header.Set("Content-Type", "text/csv")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.count(what + " lost")
		return
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(resp.Body)
	switch {
	case resp.StatusCode < 300:
		l.count(what)
	case resp.StatusCode == http.StatusConflict, resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusNotFound:
		l.count(what + " refused")
	default:
		l.t.Errorf("%s %s %s: %s: %s", method, path, body, resp.Status, text.String())
	}
}

// ask sends requests over Kafka: new ones, repeats, of other customers, late ones,
// for pools that are not there, and what is no request.
func (l *life) ask(dice *rand.Rand, n int) {
	var asks []ask
	for range 20 {
		a := ask{pool: lively[dice.IntN(len(lively))], request: fmt.Sprint("r-", l.sent.Add(1)), customer: fmt.Sprint("c-", dice.IntN(500))}
		switch dice.IntN(20) {
		case 0:
			a.request = fmt.Sprint("r-", 1+dice.Int64N(l.sent.Load()))
		case 1:
			a.pool = "nowhere"
		}
		asks = append(asks, a)
		if dice.IntN(20) == 0 {
			asks = append(asks, a) // twice in one go, on two partitions
			asks[len(asks)-1].key = "another"
		}
	}
	l.Send(asks...)
	late := time.Now().Add(time.Duration(dice.IntN(60)-20) * time.Millisecond)
	l.publish(map[int][]producer.Record{dice.IntN(partitions): {
		{Key: []byte("x"), Value: []byte(`{"request_id": 7}`), Time: time.Now()},
		{Key: []byte("x"), Value: fmt.Appendf(nil, `{"request_id": "late-%d", "pool_id": "ample", "customer_id": "c", "expires_at": %q}`, n, late.UTC().Format(time.RFC3339Nano)), Time: time.Now()},
	}})
	l.count("requests")
}

// shop redeems over Kafka and by HTTP, and rolls back.
func (l *life) shop(dice *rand.Rand, n int) {
	pool := []string{"ample", "many", "checked", "partner", "scarce"}[dice.IntN(5)]
	code := fmt.Sprintf("c0de-%s-%d", pool, dice.IntN(60))
	s := sale{ID: fmt.Sprint("k-", n-dice.IntN(3)), Pool: pool, Code: code, Customer: fmt.Sprint("c-", dice.IntN(500))}
	l.sell(s)
	l.call("redeem", "POST", "/v1/pools/"+pool+"/codes/"+code+"/redeem", fmt.Sprintf(`{"redemption_id": "h-%d", "customer_id": "c-%d"}`, n, dice.IntN(500)))
	if n%4 == 0 {
		l.call("roll back", "POST", fmt.Sprintf("/v1/pools/%s/redemptions/h-%d/rollback", pool, n-dice.IntN(5)), "")
	}
}

// clerk issues, blocks and unblocks by hand.
func (l *life) clerk(dice *rand.Rand, n int) {
	pool := lively[dice.IntN(len(lively))]
	code := fmt.Sprintf("/v1/pools/%s/codes/c0de-%s-%d/", pool, pool, dice.IntN(200))
	who := fmt.Sprintf(`{"request_id": "r-%d", "customer_id": "c-%d"}`, l.sent.Load()+dice.Int64N(40)-20, dice.IntN(500))
	switch dice.IntN(5) {
	case 0:
		l.call("issue", "POST", "/v1/pools/"+pool+"/issue", who)
	case 1:
		l.call("issue code", "POST", code+"issue", who)
	case 2:
		l.call("block", "POST", code+"block", "")
	default:
		l.call("unblock", "POST", code+"unblock", "")
	}
}

// manage changes pools, their codes, staff and customers.
func (l *life) manage(dice *rand.Rand, n int) {
	soon := func() string {
		return time.Now().Add(time.Duration(dice.IntN(3000)-1000) * time.Millisecond).UTC().Format(time.RFC3339Nano)
	}
	switch dice.IntN(9) {
	case 0: // few codes again, and of a large pool some with other dates
		l.call("import", "POST", "/v1/pools/scarce/imports", fmt.Sprintf("code\nc0de-scarce-%d\nc0de-scarce-%d\n", 1000+n, 2000+n))
	case 1:
		var file strings.Builder
		file.WriteString("code;available_till\n")
		for i := range 50 {
			fmt.Fprintf(&file, "c0de-ample-%d;%d-01-01T00:00:00Z\n", dice.IntN(200)+200*i, 2090+dice.IntN(9))
		}
		l.call("move", "POST", "/v1/pools/ample/imports", file.String())
	case 2:
		l.call("generate", "POST", "/v1/pools/made/generate", fmt.Sprintf(`{"count": %d, "pattern": "S-########"}`, 1+dice.IntN(50)))
	case 3:
		l.call("window", "PATCH", "/v1/pools/checked", fmt.Sprintf(`{"issue_start": null, "issue_end": %q}`, soon()))
		l.call("window", "PATCH", "/v1/pools/checked", fmt.Sprintf(`{"issue_end": null, "validity": "P%dD"}`, 1+dice.IntN(9)))
	case 4:
		l.call("threshold", "PATCH", "/v1/pools/scarce", fmt.Sprintf(`{"notify_below": %d}`, 1+dice.IntN(60)))
	case 5:
		l.call("subscribe", "PUT", "/v1/staff/ben/subscriptions/pool:scarce", "")
		l.call("unsubscribe", "DELETE", "/v1/staff/ben/subscriptions/all", "")
	case 6:
		l.call("unsubscribe", "DELETE", "/v1/staff/ben/subscriptions/pool:scarce", "")
		l.call("subscribe", "PUT", "/v1/staff/ben/subscriptions/all", "")
	case 7:
		l.call("erase", "DELETE", fmt.Sprint("/v1/customers/c-", dice.IntN(500)), "")
	case 8: // a short life
		id := fmt.Sprint("short-", n)
		l.call("create", "POST", "/v1/pools", fmt.Sprintf(`{"id": %q, "campaign_id": "live", "name": "Short", "description": "x"}`, id))
		l.call("generate", "POST", "/v1/pools/"+id+"/generate", `{"count": 30, "pattern": "X-########"}`)
		l.Send(ask{pool: id, request: "1", customer: "c-1"})
		l.call("launch", "POST", "/v1/pools/"+id+"/launch", "")
		var asks []ask
		for i := range 40 {
			asks = append(asks, ask{pool: id, request: fmt.Sprint(1 + i), customer: fmt.Sprint("c-", i)})
		}
		l.Send(asks...)
		l.call("archive", "POST", "/v1/pools/"+id+"/archive", "")
	}
}

// transact sends requests in transactions, some of which are aborted.
func (l *life) transact(dice *rand.Rand, n int) {
	if n%10 != 0 {
		return
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(l.kafka), kgo.TransactionalID(l.prefix+"sender"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		l.t.Error(err)
		return
	}
	for p := range int32(3) {
		a := ask{pool: "ample", request: fmt.Sprintf("t-%d-%d", n, p), customer: "c-t"}
		if err := c.ProduceSync(l.t.Context(), &kgo.Record{Topic: l.names.Requests, Partition: p, Value: a.record().Value}).FirstErr(); err != nil {
			l.t.Error(err)
		}
	}
	how, what := kgo.TryCommit, "commit"
	if dice.IntN(2) == 0 {
		how, what = kgo.TryAbort, "abort"
	}
	if err := c.EndTransaction(l.t.Context(), how); err != nil {
		l.t.Error(err)
	}
	l.count(what)
}

// retain has the log of a partition begin later, as retention does.
func (l *life) retain(dice *rand.Rand, n int) {
	if n%60 != 59 {
		return
	}
	p := int32(dice.IntN(partitions))
	committed := l.number(`SELECT max(next_offset) FROM partitions WHERE number = $1`, p)
	c, err := kgo.NewClient(kgo.SeedBrokers(l.kafka))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer c.Close()
	for _, topic := range []string{l.names.Requests, l.names.Outcomes} {
		req := kmsg.NewPtrDeleteRecordsRequest()
		rt := kmsg.NewDeleteRecordsRequestTopic()
		rt.Topic = topic
		rt.Partitions = []kmsg.DeleteRecordsRequestTopicPartition{{Partition: p, Offset: committed / 3}}
		req.Topics = append(req.Topics, rt)
		if _, err := req.RequestWith(l.t.Context(), c); err != nil {
			l.t.Error(err)
		}
	}
	l.count("retention")
}
