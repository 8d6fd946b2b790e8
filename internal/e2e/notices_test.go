package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/kafkatest"
)

// TestNotices: three processes, of which one is killed or frozen every other
// moment, while a pool's stock crosses its threshold again and again by issuing,
// by expiry, by blocking, by edits and by refills. Each crossing is told once, and
// everybody who subscribes hears of each once.
func TestNotices(t *testing.T) {
	w := newWorld(t)
	n := newNotices(w)
	n.Pool("p")
	for id, scopes := range map[string][]string{
		"anna": {"all"}, "ben": {"pool:p", "campaign:c", "all"}, "cleo": {"campaign:c"}, "dora": {"all", "pool:p"}, "eve": {},
	} {
		n.Hire(id, scopes...)
	}
	n.ask("PATCH", "/v1/staff/dora", `{"active": false}`, "")
	n.told = []string{"anna", "ben", "cleo"}
	stop := n.Havoc()

	ways := []func(){n.byIssuing, n.byExpiry, n.byThreshold, n.bySwitch, n.bySellingOut, n.byLaunch, n.byBlocking}
	for round := 0; n.crossings < sized(8, 50); round++ {
		ways[round%len(ways)]()
	}
	stop()
	n.Check()
	w.Verify()
}

// threshold is where the pool's notice is set, unless a way moves it.
const threshold = 50

// notices drives a pool across its threshold, and keeps what readers hear.
type notices struct {
	*world
	t        *testing.T
	told     []string // who subscribes
	left     int      // codes of p
	made     int      // codes so far
	asked    int      // requests so far
	launched int

	crossings int // that staff are told of

	alive struct {
		sync.Mutex
		nodes []*node
	}
	heard struct {
		sync.Mutex
		events  map[string]heardEvent // by ce_id
		repeats int
	}
	news    chan struct{}
	stepped chan struct{} // a step begins

	killed, frozen int // owned by Havoc
}

// heardEvent is a pool event or a notice.
type heardEvent struct {
	typ   string
	value string
	Pool  string `json:"pool_id"`
	Kind  string `json:"kind"`
	Staff string `json:"staff_id"`
	At    string `json:"occurred_at"`

	Threshold *int64 `json:"threshold"`
	ID        string `json:"notification_id"`
}

func newNotices(w *world) *notices {
	n := &notices{world: w, t: w.t.(*testing.T), news: make(chan struct{}, 1), stepped: make(chan struct{}, 1)}
	n.heard.events = map[string]heardEvent{}
	for range 3 {
		n.alive.nodes = append(n.alive.nodes, w.Serve())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, topic := range []string{w.names.PoolEvents, w.names.Notifications} {
		r := w.reader(topic)
		all.Go(func() {
			r.more(time.Hour, func(_ int, rec *consumer.Record) bool { n.hear(rec); return ctx.Err() != nil })
		})
	}
	// A reader looks at its end when something comes.
	n.t.Cleanup(cancel)
	return n
}

func (n *notices) hear(rec *consumer.Record) {
	e := heardEvent{typ: strings.TrimPrefix(string(consumer.Header(rec, "ce_type")), "promopool."), value: string(rec.Value)}
	if err := json.Unmarshal(rec.Value, &e); err != nil {
		n.t.Errorf("%s is not JSON: %v", rec.Value, err)
	}
	id := string(consumer.Header(rec, "ce_id"))
	if e.ID != "" && e.ID != id {
		n.t.Errorf("notification %s has the ce_id %s", e.ID, id)
	}
	n.heard.Lock()
	defer n.heard.Unlock()
	if before, again := n.heard.events[id]; again {
		n.heard.repeats++
		if before.value != e.value || before.typ != e.typ {
			n.t.Errorf("%s was %s and is %s", id, before.value, e.value)
		}
	}
	n.heard.events[id] = e
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// count is how many different events of a type are known of a pool.
func (n *notices) count(typ, pool string) int {
	n.heard.Lock()
	defer n.heard.Unlock()
	found := 0
	for _, e := range n.heard.events {
		if e.typ == typ && e.Pool == pool {
			found++
		}
	}
	return found
}

// Await does something and waits until one more event of each type is known of
// the pool.
func (n *notices) Await(pool string, do func(), types ...string) {
	n.t.Helper()
	before := map[string]int{}
	for _, typ := range types {
		before[typ] = n.count(typ, pool)
	}
	select {
	case n.stepped <- struct{}{}:
	default:
	}
	do()
	deadline := time.After(90 * time.Second)
	for _, typ := range types {
		if typ != "pool.replenished" {
			n.crossings++
		}
		for n.count(typ, pool) == before[typ] {
			select {
			case <-n.news:
			case <-deadline:
				n.t.Fatalf("no %s of %s within 90 s; left: %d", typ, pool, n.number(`SELECT coalesce(sum(hi - next), 0)::bigint FROM runs`))
			}
		}
	}
}

// ask puts a question to processes until one answers it with success. unless: an
// answer that says the same.
func (n *notices) ask(method, path, body, unless string, header ...string) []byte {
	n.t.Helper()
	var last string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		n.alive.Lock()
		base := n.alive.nodes[rand.N(len(n.alive.nodes))].http
		n.alive.Unlock()
		ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Second)
		status, answer, err := send(ctx, method, base+path, body, header...)
		cancel()
		switch last = string(answer); {
		case err != nil:
			last = err.Error()
		case status < 300 || unless != "" && strings.Contains(last, unless):
			return answer
		case status < 500:
			n.t.Fatalf("%s %s %s: %d %s", method, path, body, status, answer)
		}
	}
	n.t.Fatalf("%s %s: no answer: %s", method, path, last)
	return nil
}

func send(ctx context.Context, method, url, body string, header ...string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Hire adds someone with subscriptions.
func (n *notices) Hire(id string, scopes ...string) {
	n.t.Helper()
	n.ask("POST", "/v1/staff", fmt.Sprintf(`{"id": %q, "name": %q, "email": "%s@example.com"}`, id, id, id), "id-taken")
	for _, s := range scopes {
		n.ask("PUT", "/v1/staff/"+id+"/subscriptions/"+s, "", "")
	}
}

// Pool launches a pool with codes for two crossings, told of below the threshold.
func (n *notices) Pool(id string) {
	n.t.Helper()
	n.Draft(id)
	n.Set(id, fmt.Sprintf(`"notify_below": %d`, threshold))
	n.Fill(id, 3*threshold, "")
	n.left = 3 * threshold
	n.Await(id, func() { n.ask("POST", "/v1/pools/"+id+"/launch", "", "") }, "pool.launched")
	n.crossings = 0
}

// Set changes settings of a pool. A process that was frozen in the middle of it
// and goes on later finds that the pool has another version by then.
func (n *notices) Set(id, fields string) {
	n.t.Helper()
	var want map[string]any
	if err := json.Unmarshal([]byte("{"+fields+"}"), &want); err != nil {
		n.t.Fatal(err)
	}
	for {
		var have map[string]any
		if err := json.Unmarshal(n.ask("GET", "/v1/pools/"+id, "", ""), &have); err != nil {
			n.t.Fatal(err)
		}
		same := true
		for field, value := range want {
			same = same && have[field] == value
		}
		if same {
			return
		}
		n.ask("PATCH", "/v1/pools/"+id, "{"+fields+"}", "/problems/stale", "If-Match", fmt.Sprintf(`"%v"`, have["version"]))
	}
}

// Fill uploads so many codes; till: when they expire.
func (n *notices) Fill(id string, codes int, till string) {
	n.t.Helper()
	var file bytes.Buffer
	file.WriteString("code,issue_end\n")
	for range codes {
		n.made++
		fmt.Fprintf(&file, "c0de-%06d,%s\n", n.made, till)
	}
	var told struct {
		Task   int64
		Status string
	}
	for !strings.HasPrefix(told.Status, "completed") { // with refusals where a code has expired by then
		if told.Task == 0 || told.Status == "failed" {
			if err := json.Unmarshal(n.ask("POST", "/v1/pools/"+id+"/imports", file.String(), "", "Content-Type", "text/csv"), &told); err != nil {
				n.t.Fatal(err)
			}
		}
		if err := json.Unmarshal(n.ask("GET", fmt.Sprint("/v1/imports/", told.Task), "", ""), &told); err != nil {
			n.t.Fatal(err)
		}
	}
}

// Issue has so many codes of p issued.
func (n *notices) Issue(codes int) {
	n.t.Helper()
	var asks []ask
	for range codes {
		n.asked++
		asks = append(asks, ask{pool: "p", request: fmt.Sprint("r-", n.asked), customer: fmt.Sprint("c-", n.asked)})
	}
	n.Send(asks...)
	n.left -= codes
}

// refill brings p back above its threshold.
func (n *notices) refill() {
	n.t.Helper()
	codes := 3*threshold - n.left
	n.Await("p", func() { n.Fill("p", codes, "") }, "pool.replenished")
	n.left += codes
}

func (n *notices) byIssuing() {
	n.t.Helper()
	n.Await("p", func() { n.Issue(n.left - threshold + 1) }, "pool.low")
	n.refill()
}

func (n *notices) bySellingOut() {
	n.t.Helper()
	n.Await("p", func() { n.Issue(n.left) }, "pool.low", "pool.exhausted")
	n.refill()
}

// byExpiry: half of the codes that are above the threshold are gone a little
// later, without anybody doing anything.
func (n *notices) byExpiry() {
	n.t.Helper()
	const more = 20
	n.Fill("p", more, time.Now().Add(3*time.Second).UTC().Format(time.RFC3339))
	n.Await("p", func() { n.Set("p", fmt.Sprintf(`"notify_below": %d`, n.left+more/2)) }, "pool.low")
	n.Await("p", func() { n.Set("p", fmt.Sprintf(`"notify_below": %d`, threshold)) }, "pool.replenished")
}

func (n *notices) byThreshold() {
	n.t.Helper()
	n.Await("p", func() { n.Set("p", fmt.Sprintf(`"notify_below": %d`, n.left+1)) }, "pool.low")
	n.Await("p", func() { n.Set("p", fmt.Sprintf(`"notify_below": %d`, threshold)) }, "pool.replenished")
}

func (n *notices) bySwitch() {
	n.t.Helper()
	n.Set("p", fmt.Sprintf(`"notify": false, "notify_below": %d`, n.left+1))
	n.Await("p", func() { n.Set("p", `"notify": true`) }, "pool.low")
	n.Await("p", func() { n.Set("p", fmt.Sprintf(`"notify_below": %d`, threshold)) }, "pool.replenished")
}

// byLaunch launches another pool, which has too few codes from the beginning.
func (n *notices) byLaunch() {
	n.t.Helper()
	n.launched++
	id := fmt.Sprint("few-", n.launched)
	n.Draft(id)
	n.Set(id, `"notify_below": 10`)
	n.Fill(id, 5, "")
	told := n.told // ben and the others subscribe to all or to the campaign
	n.Await(id, func() { n.ask("POST", "/v1/pools/"+id+"/launch", "", "") }, "pool.launched", "pool.low")
	n.crossings-- // launched is none
	n.told = told
}

// byBlocking blocks codes one by one until too few are left.
func (n *notices) byBlocking() {
	n.t.Helper()
	rows, err := n.db.Query(n.t.Context(), `SELECT c.code FROM codes c
		JOIN pools p ON p.pool = c.pool AND p.id = 'p'
		JOIN runs r ON r.pool = c.pool AND r.lot = c.lot AND c.seq >= r.next AND c.seq < r.hi AND r.issue_end = 'infinity'
		ORDER BY c.lot DESC, c.seq DESC LIMIT $1`, n.left-threshold+1)
	if err != nil {
		n.t.Fatal(err)
	}
	codes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		n.t.Fatal(err)
	}
	n.Await("p", func() {
		for _, code := range codes {
			n.ask("POST", "/v1/pools/p/codes/"+code+"/block", "{}", "")
		}
	}, "pool.low")
	n.left -= len(codes)
	n.refill()
}

// Havoc kills a process and starts another, or freezes one for a while, at some
// moment of every step, or of every fourth, until it is stopped. Not faster: whoever
// issues needs its partitions back, which are a dead one's for 6 s. In the end all
// run.
func (n *notices) Havoc() (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	often := sized(4, 1)
	go func() {
		defer close(done)
		for step := 1; ; step++ {
			select {
			case <-ended:
				return
			case <-n.stepped:
			}
			if step%often != 0 {
				continue
			}
			time.Sleep(rand.N(1500 * time.Millisecond)) // at which moment is what is tried
			for !kafkatest.Real() && !n.atRest() {      // kfake never lets go of a member that dies while it joins
				select {
				case <-ended:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
			i := rand.N(3)
			n.alive.Lock()
			victim := n.alive.nodes[i]
			n.alive.Unlock()
			if rand.N(4) == 0 {
				victim.Freeze()
				time.Sleep(rand.N(time.Duration(sized(1, 4)) * time.Second))
				victim.Thaw()
				n.frozen++
				continue
			}
			victim.Kill()
			n.killed++
			another := n.Serve()
			n.alive.Lock()
			n.alive.nodes[i] = another
			n.alive.Unlock()
		}
	}()
	return func() { close(ended); <-done }
}

// atRest reports whether nobody joins or leaves the consumer groups.
func (n *notices) atRest() bool {
	groups := n.groups()
	return len(groups) == 2 && !slices.ContainsFunc(groups, func(g kafka.DescribeGroupsResponseGroup) bool {
		return g.Error != nil || g.GroupState != "Stable" || len(g.Members) != 3
	})
}

// Check wants the notices of each crossing, for each subscriber one.
func (n *notices) Check() {
	n.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); n.number("SELECT count(*) FROM outbox") > 0; {
		if time.Now().After(deadline) {
			n.t.Fatal("events wait in the outbox")
		}
	}
	notices := n.number("SELECT count(*) FROM notifications")
	for deadline := time.After(30 * time.Second); ; {
		n.heard.Lock()
		got := 0
		for _, e := range n.heard.events {
			if e.typ == "staff.notification" {
				got++
			}
		}
		n.heard.Unlock()
		if int64(got) >= notices {
			break
		}
		select {
		case <-n.news:
		case <-deadline:
			n.t.Fatalf("%d of %d notices came", got, notices)
		}
	}
	n.heard.Lock()
	defer n.heard.Unlock()
	crossings, heard, sent := map[string][]string{}, 0, map[string]int{}
	for _, e := range n.heard.events {
		switch {
		case e.typ == "staff.notification":
			place := e.Pool + " " + e.Kind + " " + e.At
			crossings[place] = append(crossings[place], e.Staff)
			sent[e.Staff]++
		case (e.typ == "pool.low" || e.typ == "pool.exhausted") && e.Threshold != nil:
			heard++
			place := e.Pool + " " + strings.ReplaceAll(e.typ, ".", "_") + " " + e.At
			crossings[place] = append(crossings[place], []string{}...)
		}
	}
	for place, staff := range crossings {
		if slices.Sort(staff); !slices.Equal(staff, n.told) {
			n.t.Errorf("of %s were told %v, want %v", place, staff, n.told)
		}
	}
	if heard != n.crossings || len(crossings) != heard || notices != int64(heard*len(n.told)) {
		n.t.Errorf("%d crossings were made, %d were told, in %d places, %d notices for %d subscribers", n.crossings, heard, len(crossings), notices, len(n.told))
	}
	n.t.Logf("%d crossings, %d notices %v, %d repeats on the topics; %d processes killed, %d frozen", heard, notices, sent, n.heard.repeats, n.killed, n.frozen)
}
