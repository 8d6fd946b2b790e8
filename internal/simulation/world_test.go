package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

// world is everything that one run of the simulation has.
type world struct {
	*scheduler
	db    *db
	log   *brokerLog
	check *checker
	staff *store

	partitions  int
	nodes       []*node // those that live
	born        int
	live        []*generation // whose work has not returned, or is not taken note of
	owners      []*generation // by partition; nil: nobody's
	groupOffset []int64
	generations int
	pending     int // staff at work
	idleTurn    bool
	plenty      bool // a run with large pools and few odd requests: buffers matter
	starved     bool // a run with small pools, filled by a few codes at a time: stock matters
	calm        bool // a run in which little fails: what is done only then matters

	pools    []string
	lots     map[string][]lotKey
	drafts   map[string]bool
	asked    []domain.Request // so that requests come again
	appended int
}

// pauseBriefly is a wait that is too short for a timer, in fake time. It is no part
// of the times that others wait, so that who comes and who looks never do so at one
// moment, in an order that no seed tells.
func pauseBriefly() { time.Sleep(50*time.Microsecond + 13*time.Nanosecond) }

// some says how many of n batches a Fetch brings.
func (w *world) some(n int) int { return 1 + w.rng.IntN(n) }

func newWorld(seed uint64, bugs Bugs) *world {
	w := &world{scheduler: newScheduler(seed), lots: map[string][]lotKey{}, drafts: map[string]bool{}}
	w.partitions = []int{1, 2, 2, 3, 3}[w.rng.IntN(5)]
	theme := w.rng.IntN(3)
	w.plenty, w.starved, w.calm = theme == 1, theme == 2, w.chance(3)
	w.rarer = 1
	if w.calm {
		w.rarer = 30
	}
	w.groupOffset = make([]int64, w.partitions)
	w.owners = make([]*generation, w.partitions)
	for p := range w.groupOffset {
		w.groupOffset[p] = consumer.NoOffset
	}
	w.db = newDB([]int64{2, 4, 10}[w.rng.IntN(3)], int64(w.partitions))
	w.db.Bugs = bugs
	w.db.now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	w.db.pace = w.pace
	w.db.alarm = func(format string, args ...any) { w.fail("alarm: "+format, args...) }
	w.db.event = func() int { return w.events }
	w.db.poison = func(i *issueRow) bool { return strings.HasPrefix(i.request, "poison") }
	w.log = newLog(w.partitions, requests, outcomes, deadLetters)
	w.check = newChecker(w)
	w.db.committing = w.check.commit
	w.log.appended = w.check.appended
	w.staff = &store{db: w.db, call: w.byStaff}
	return w
}

// byStaff runs a transaction of staff's, who wait for the answer.
func (w *world) byStaff(_ context.Context, kind, detail string, _ bool, work func(*session) error) error {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	s := w.db.session("staff " + kind + " " + detail)
	s.kind, s.staff, s.began = kind, true, w.events
	s.patience = time.Second
	err := work(s)
	s.close()
	w.count(kind + outcomeOf(err))
	return err
}

// do has staff do something while everybody else goes on.
func (w *world) do(what func() error) {
	w.pending++
	go func() {
		_ = what()
		w.mu.Lock()
		w.pending--
		w.mu.Unlock()
	}()
	w.settle()
}

// found makes the pools that a run begins with.
func (w *world) found() {
	w.faultless = true
	for range 1 + w.rng.IntN(4) {
		w.newPool()
	}
	for range 2 + w.rng.IntN(2) {
		w.addNode()
	}
}

func (w *world) newPool() {
	id := fmt.Sprintf("pool-%d", len(w.pools)+1)
	p := domain.Pool{ID: id, CampaignID: "summer", Name: id, Description: "simulated", ParameterName: "code", Processing: domain.Internal}
	p.MultiUse = w.chance(6)
	if w.chance(4) {
		p.Validity = domain.Period{Days: 3}
	}
	w.pools = append(w.pools, id)
	n := []int{0, 5, 30, 100, 200, 400}[w.rng.IntN(6)]
	launch := !w.chance(5)
	if w.plenty {
		n, launch = 600, true
	}
	if w.starved {
		n, launch = w.rng.IntN(6), true
	}
	if !launch {
		w.drafts[id] = true
	}
	window := w.window()
	w.do(func() error {
		ctx := context.Background()
		if err := w.staff.create(ctx, p); err != nil {
			return err
		}
		if n > 0 {
			if err := w.fill(id, n, window, lotKey{}); err != nil {
				return err
			}
		}
		if launch {
			return w.staff.launch(ctx, id)
		}
		return nil
	})
}

// window is a lot's: most have none.
func (w *world) window() (v domain.Window) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	some := func(most time.Duration) time.Time {
		return now.Add(time.Duration(w.rng.Int64N(int64(most)))).Truncate(time.Microsecond)
	}
	kinds := 8
	if w.plenty || w.starved {
		kinds = 50
	}
	switch w.rng.IntN(kinds) {
	case 0:
		v.IssueEnd = some(20 * time.Second)
	case 1:
		v.AvailableTill = some(30 * time.Second)
	case 2:
		v.IssueStart = some(5 * time.Second)
		v.IssueEnd = v.IssueStart.Add(10 * time.Second)
	case 3:
		v.IssueStart = some(8 * time.Second)
	case 4:
		v.AvailableFrom = some(20 * time.Second)
	}
	return v
}

// codeText is the code at a place.
func codeText(pool string, lot int32, seq int64) string {
	return fmt.Sprintf("%s-%d-%d", pool, lot, seq)
}

// fill imports n codes, into a lot of their own or behind those of another.
func (w *world) fill(id string, n int, window domain.Window, into lotKey) error {
	w.db.mu.Lock()
	size := w.db.data.lots[into].size
	w.db.mu.Unlock()
	made, err := w.staff.importCodes(context.Background(), id, window, func(lot int32, first int64) []string {
		texts := make([]string, n)
		for i := range texts {
			texts[i] = codeText(id, lot, first+int64(i))
		}
		return texts
	}, into.no, size)
	if err == nil && into.no == 0 {
		w.mu.Lock()
		w.lots[id] = append(w.lots[id], lotKey{w.keyOf(id), made})
		w.mu.Unlock()
	}
	return err
}

func (w *world) keyOf(id string) int32 {
	for k, p := range w.db.data.pools {
		if p.ID == id {
			return k
		}
	}
	return 0
}

func (w *world) addNode() {
	w.born++
	w.nodes = append(w.nodes, w.newNode(fmt.Sprintf("n%d", w.born)))
}

// ask puts requests into the log.
func (w *world) ask() {
	n := 1 + w.rng.IntN(6)
	all, values := make([]delivery, n), make([][]byte, n)
	for i := range n {
		all[i].request, values[i] = w.request()
		if all[i].malformed = values[i] == nil; all[i].malformed {
			values[i] = []byte(`{"request_id": "no end`)
		}
	}
	w.publish(w.rng.IntN(w.partitions), all, values)
	if w.chance(4) && (!w.calm || w.chance(5)) {
		// A second producer sends the same, to where it thinks right.
		w.count("requests from a second producer")
		w.publish(w.rng.IntN(w.partitions), all, values)
	}
	w.settle()
}

func (w *world) publish(p int, all []delivery, values [][]byte) {
	first, n := w.log.part(requests, p).end, len(all)
	records := make([]kafka.Record, 0, n)
	for i, d := range all {
		w.check.asked(p, first+int64(i), d)
		records = append(records, kafka.Record{Key: kafka.NewBytes([]byte(d.request.CustomerID)), Value: kafka.NewBytes(values[i]), Time: time.Now()})
	}
	b, err := encodeBatch(records)
	if err == nil {
		err = w.log.add(requests, p, b)
	}
	if err != nil {
		w.fail("append requests: %v", err)
	}
	w.appended += n
	w.count("requests")
	w.note(fmt.Sprintf("%d requests for p%d", n, p))
}

// request makes one, or repeats one that another has made before, perhaps for
// another customer; nil: malformed.
func (w *world) request() (domain.Request, []byte) {
	r := domain.Request{PoolID: w.anyPool(), RequestID: fmt.Sprintf("r%d", len(w.asked)), CustomerID: fmt.Sprintf("c%d", w.rng.IntN(50))}
	kind := w.rng.IntN(200)
	if (w.plenty || w.starved) && kind < 6 && !w.chance(20) || w.calm && kind < 23 && !w.chance(10) {
		kind = 100
	}
	switch kind {
	case 0, 1, 2:
		return r, nil
	case 3, 4:
		r.PoolID = "nowhere"
	case 5:
		r.RequestID = "poison" + r.RequestID
	case 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22:
		if len(w.asked) > 0 {
			r = w.asked[max(0, len(w.asked)-1-w.rng.IntN(20))]
			r.ExpiresAt = time.Time{}
			w.count("requests repeated")
			if w.chance(6) {
				r.CustomerID = "another"
			}
		}
	}
	if w.chance(25) && !w.plenty {
		r.ExpiresAt = time.Now().UTC().Add(time.Duration(w.rng.IntN(3000)-200) * time.Millisecond).Truncate(time.Millisecond)
	}
	if w.chance(5) {
		r.Context = fmt.Appendf(nil, `{"n":%d}`, len(w.asked))
	} else {
		r.Context = nil
	}
	w.asked = append(w.asked, r)
	value := fmt.Appendf(nil, `{"request_id":%q,"pool_id":%q,"customer_id":%q`, r.RequestID, r.PoolID, r.CustomerID)
	if !r.ExpiresAt.IsZero() {
		value = fmt.Appendf(value, `,"expires_at":%q`, r.ExpiresAt.Format(time.RFC3339Nano))
	}
	if r.Context != nil {
		value = fmt.Appendf(value, `,"context":%s`, r.Context)
	}
	return r, append(value, '}')
}

func (w *world) anyPool() string {
	if w.chance(2) {
		return w.pools[0] // one is hot
	}
	return w.pools[w.rng.IntN(len(w.pools))]
}
