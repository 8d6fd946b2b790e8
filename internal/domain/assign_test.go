package domain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// TestAssign holds Assign against slowAssign, and both against the rules that
// can be told from the plan alone.
func TestAssign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before, knownBefore := cloneBatches(w.batches), maps.Clone(w.known)

		plan := Assign(noon, w.batches, w.known)

		if diff := gocmp.Diff(before, w.batches); diff != "" {
			t.Fatalf("Assign changed its input:\n%s", diff)
		}
		if diff := gocmp.Diff(knownBefore, w.known); diff != "" {
			t.Fatalf("Assign changed what is known:\n%s", diff)
		}
		if diff := gocmp.Diff(slowAssign(noon, w.batches, w.known), plan); diff != "" {
			t.Fatalf("plan (-want +got):\n%s", diff)
		}
		checkPlan(t, w, &plan)
	})
}

// checkPlan verifies what must hold of every plan.
func checkPlan(t *rapid.T, w world, plan *Plan) {
	places := map[int32]map[Place]bool{}
	requests := map[Key]*Issuance{}
	for _, n := range plan.Issues {
		i, take := n.Issuance, plan.Takes[n.Take]
		if places[i.Pool.Key] == nil {
			places[i.Pool.Key] = map[Place]bool{}
		}
		if places[i.Pool.Key][i.Place] {
			t.Fatalf("%v of pool %s is issued twice", i.Place, i.Pool.ID)
		}
		places[i.Pool.Key][i.Place] = true
		key := Key{i.Pool.Key, i.RequestID}
		if w.known[key] != nil || requests[key] != nil {
			t.Fatalf("%v is issued twice", key)
		}
		requests[key] = i
		if want := take.Run.Next + n.At; i.Seq != want || i.Lot != take.Run.Lot.No || n.At >= take.N || want >= take.Run.Hi {
			t.Fatalf("issue %+v does not lie in its take %+v", n, take)
		}
		if barred(take.Run.Lot, i.Seq) {
			t.Fatalf("a blocked code was issued: %+v", i)
		}
		if !take.Run.Lot.Fits(noon) || outside(i.Pool, noon) || i.Pool.State != Active {
			t.Fatalf("issued outside its window or state: %+v", i)
		}
	}
	var taken int64
	for _, take := range plan.Takes {
		for n := range take.N {
			if !barred(take.Run.Lot, take.Run.Next+n) {
				taken++
			}
		}
	}
	if taken != int64(len(plan.Issues)) {
		t.Fatalf("%d codes taken for %d issues", taken, len(plan.Issues))
	}
	checkOutcomes(t, w, plan, requests)
	checkSooner(t, w, plan)
}

func checkOutcomes(t *rapid.T, w world, plan *Plan, fresh map[Key]*Issuance) {
	whole := true
	for b, outcomes := range plan.Outcomes {
		batch := w.batches[b]
		for j, o := range outcomes {
			r := &batch.Requests[j]
			if o.Request != r {
				t.Fatalf("outcome %d of batch %d is another request's", j, b)
			}
			switch o.Verdict {
			case 0:
				whole = false
			case Rejected:
				shelf := batch.Shelves[r.PoolID]
				if o.Reason != RequestConflict && !shelf.Locked {
					t.Fatalf("%s from a shelf that is not locked", o.Reason)
				}
				if (o.Reason == PoolExhausted || o.Reason == NoCodeInWindow) && (!shelf.Whole || shelf.Others > 0) {
					t.Fatalf("%s from a shelf that is not whole", o.Reason)
				}
			default:
				key := Key{batch.Shelves[r.PoolID].Pool.Key, r.RequestID}
				want := cmp.Or(w.known[key], fresh[key])
				if o.Issue != want || o.Issue.CustomerID != r.CustomerID {
					t.Fatalf("request %v has %+v, want %+v", key, o.Issue, want)
				}
			}
		}
	}
	if plan.Whole() != whole {
		t.Fatalf("Whole is %v, but there is a request without an outcome: %v", plan.Whole(), !whole)
	}
}

// checkSooner: no code is issued while one of its shelf that expires sooner,
// and may be issued, stays.
func checkSooner(t *rapid.T, w world, plan *Plan) {
	taken := map[*Run]int64{}
	for _, take := range plan.Takes {
		taken[take.Run] += take.N
	}
	for _, b := range w.batches {
		for _, shelf := range b.Shelves {
			for _, stays := range shelf.Runs {
				if !stays.Lot.Fits(noon) || stays.Lot.Next(stays.Next+taken[stays], stays.Hi) == stays.Hi {
					continue
				}
				for _, run := range shelf.Runs {
					if taken[run] > 0 && stays.Lot.Sooner(&run.Lot.Window) {
						t.Fatalf("lot %d is issued from before lot %d, which expires sooner", run.Lot.No, stays.Lot.No)
					}
				}
			}
		}
	}
}

// barred reports whether an ordinal is of a blocked code.
func barred(l *Lot, n int64) bool { return slices.Contains(l.Blocked, n%l.Size) }

// outside reports whether the pool's own window lets nothing be issued.
func outside(p *Pool, now time.Time) bool {
	return !p.IssueStart.IsZero() && p.IssueStart.After(now) || !p.IssueEnd.IsZero() && !p.IssueEnd.After(now)
}

// slowAssign is Assign, said so that it is plainly right: codes lie in a row,
// and each request walks along it.
func slowAssign(now time.Time, batches []Batch, known map[Key]*Issuance) Plan {
	plan := Plan{At: now, Outcomes: [][]Outcome{}, Issues: []NewIssue{}}
	issued := maps.Clone(known)
	used := map[*Run]map[int64]bool{}
	evidenced := map[*Shelf]bool{}
	note := func(pools *[]string, id string) {
		if !slices.Contains(*pools, id) {
			*pools = append(*pools, id)
		}
	}

	decide := func(r *Request, s *Shelf) Outcome {
		left := Outcome{Request: r}
		rejected := func(why Reason) Outcome {
			return Outcome{Request: r, Verdict: Rejected, Reason: why, DecidedAt: now}
		}
		if s == nil {
			note(&plan.Unsure, r.PoolID)
			return left
		}
		var why Reason
		if s.Pool == nil {
			why = PoolNotFound
		} else if i := issued[Key{s.Pool.Key, r.RequestID}]; i != nil && i.CustomerID == r.CustomerID {
			return Outcome{Request: r, Verdict: Repeated, Issue: i}
		} else if i != nil {
			return rejected(RequestConflict)
		} else if s.Pool.State != Active {
			why = PoolNotActive
		} else if !r.ExpiresAt.IsZero() && (now.Equal(r.ExpiresAt) || now.After(r.ExpiresAt)) {
			why = RequestExpired
		}
		if why != 0 {
			if !s.Locked {
				note(&plan.Unsure, r.PoolID)
				return left
			}
			return rejected(why)
		}

		unexpired := s.Later
		for _, run := range s.Runs {
			for seq := run.Next; seq < run.Hi; seq++ {
				if used[run][seq] || barred(run.Lot, seq) {
					continue
				}
				if !run.Lot.Expired(now) {
					unexpired++
				}
				if !run.Lot.Fits(now) || outside(s.Pool, now) {
					continue
				}
				if used[run] == nil {
					used[run] = map[int64]bool{}
				}
				take := slices.IndexFunc(plan.Takes, func(t Take) bool { return t.Run == run })
				if take < 0 {
					take = len(plan.Takes)
					from, until := s.Pool.Valid(run.Lot, now)
					plan.Takes = append(plan.Takes, Take{Run: run, Pool: s.Pool, ValidFrom: from, ValidUntil: until})
				}
				used[run][seq] = true
				i := &Issuance{
					Pool: s.Pool, Place: Place{run.Lot.No, seq}, RequestID: r.RequestID, CustomerID: r.CustomerID, Context: r.Context,
					IssuedAt: now, ValidFrom: plan.Takes[take].ValidFrom, ValidUntil: plan.Takes[take].ValidUntil,
				}
				if at := int(seq - run.Next); at < len(run.Texts) {
					i.Code = run.Texts[at]
				}
				plan.Issues = append(plan.Issues, NewIssue{Issuance: i, Take: take, At: seq - run.Next})
				n := seq + 1
				for n < run.Hi && barred(run.Lot, n) {
					n++
				}
				plan.Takes[take].N = n - run.Next
				issued[Key{s.Pool.Key, r.RequestID}] = i
				return Outcome{Request: r, Verdict: Issued, Issue: i}
			}
		}
		if !s.Whole || s.Others > 0 {
			note(&plan.Short, r.PoolID)
			return left
		}
		if !evidenced[s] {
			evidenced[s] = true
			plan.Evidence = append(plan.Evidence, Evidence{
				Pool: s.Pool.Key, Revision: s.Pool.Revision, Left: unexpired, At: now, IssueStart: s.Pool.IssueStart, IssueEnd: s.Pool.IssueEnd,
			})
		}
		if unexpired > 0 {
			return rejected(NoCodeInWindow)
		}
		return rejected(PoolExhausted)
	}

	for _, b := range batches {
		outcomes := []Outcome{}
		for i := range b.Requests {
			outcomes = append(outcomes, decide(&b.Requests[i], b.Shelves[b.Requests[i].PoolID]))
		}
		plan.Outcomes = append(plan.Outcomes, outcomes)
	}
	return plan
}

// world is a situation in which Assign may be called.
type world struct {
	pools   map[string]*Pool
	batches []Batch
	known   map[Key]*Issuance
}

func drawWorld(t *rapid.T) world {
	w := world{pools: map[string]*Pool{}, known: map[Key]*Issuance{}}
	w.batches = make([]Batch, rapid.IntRange(1, 3).Draw(t, "batches"))
	offset := int64(0)
	for i := range w.batches {
		w.batches[i].Shelves = map[string]*Shelf{}
		for range rapid.IntRange(0, 12).Draw(t, "requests") {
			offset += int64(rapid.IntRange(1, 3).Draw(t, "gap"))
			w.batches[i].Requests = append(w.batches[i].Requests, drawRequest(t, offset))
		}
	}
	for key := range int32(3) {
		pool := drawPool(t, key)
		w.pools[pool.ID] = pool
		w.shelve(t, pool)
		for request := range 5 {
			if rapid.IntRange(0, 5).Draw(t, "known") == 0 {
				id := fmt.Sprintf("r%d", request)
				w.known[Key{key, id}] = &Issuance{
					Pool: pool, Place: Place{99, int64(request)}, Code: "KNOWN", RequestID: id,
					CustomerID: drawCustomer(t), IssuedAt: noon.Add(-time.Hour), ValidFrom: noon.Add(-time.Hour),
				}
			}
		}
	}
	missing := &Shelf{Locked: rapid.Bool().Draw(t, "missing pool locked")}
	for i := range w.batches {
		w.batches[i].Shelves["pool-3"] = missing
	}
	return w // pool-4 has no shelf at all
}

func drawRequest(t *rapid.T, offset int64) Request {
	r := Request{
		Offset:     offset,
		PoolID:     fmt.Sprintf("pool-%d", rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 2, 3, 4}).Draw(t, "pool")),
		RequestID:  fmt.Sprintf("r%d", rapid.IntRange(0, 15).Draw(t, "request")),
		CustomerID: drawCustomer(t),
		ExpiresAt:  rapid.SampledFrom([]time.Time{{}, {}, {}, {}, noon.Add(-1), noon, noon.Add(1)}).Draw(t, "expires"),
	}
	if rapid.Bool().Draw(t, "context") {
		r.Context = fmt.Appendf(nil, `{"n":%d}`, offset)
	}
	return r
}

func drawCustomer(t *rapid.T) string {
	return rapid.SampledFrom([]string{"c0", "c0", "c0", "c1"}).Draw(t, "customer")
}

func drawPool(t *rapid.T, key int32) *Pool {
	bound := rapid.SampledFrom([]time.Time{{}, {}, {}, {}, noon.Add(-time.Hour), noon, noon.Add(time.Hour)})
	return &Pool{
		Key: key, ID: fmt.Sprintf("pool-%d", key),
		State:      rapid.SampledFrom([]State{Active, Active, Active, Active, Draft, Archived}).Draw(t, "state"),
		MultiUse:   rapid.Bool().Draw(t, "multi"),
		Validity:   rapid.SampledFrom([]Period{{}, {Clock: 90 * time.Minute}, {Days: 30}}).Draw(t, "validity"),
		IssueStart: bound.Draw(t, "pool's issue_start"),
		IssueEnd:   bound.Draw(t, "pool's issue_end"),
		Revision:   int64(key) + 100,
	}
}

// shelve lays a pool's codes on the batches' shelves: on one that all share,
// seen under the pool's lock, or as buffers, each batch its own.
func (w *world) shelve(t *rapid.T, pool *Pool) {
	var shelves []*Shelf
	if rapid.Bool().Draw(t, "locked") {
		s := &Shelf{Pool: pool, Locked: true, Whole: rapid.Bool().Draw(t, "whole")}
		if rapid.IntRange(0, 3).Draw(t, "held elsewhere") == 0 {
			s.Others = 5
		}
		if s.Whole && rapid.IntRange(0, 3).Draw(t, "for later") == 0 {
			s.Later = 7
		}
		shelves = []*Shelf{s}
	} else {
		for range w.batches {
			shelves = append(shelves, &Shelf{Pool: pool})
		}
	}
	for i := range w.batches {
		w.batches[i].Shelves[pool.ID] = shelves[i%len(shelves)]
	}
	for no := range int32(rapid.IntRange(0, 4).Draw(t, "lots")) {
		lot := &Lot{Pool: pool.Key, No: no, Size: 30, Window: drawWindow(t)}
		if pool.MultiUse && rapid.Bool().Draw(t, "blocks") {
			lot.Size = rapid.Int64Range(1, 4).Draw(t, "size")
			lot.Blocked = rapid.SliceOfNDistinct(rapid.Int64Range(0, lot.Size-1), 0, int(lot.Size), rapid.ID[int64]).Draw(t, "blocked")
			slices.Sort(lot.Blocked)
		}
		next := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "runs") {
			run := &Run{Lot: lot, Lo: next, GrantNo: 1}
			run.Next = run.Lo + int64(rapid.IntRange(0, 2).Draw(t, "issued"))
			run.Hi = run.Next + int64(rapid.IntRange(0, 4).Draw(t, "left"))
			next = run.Hi
			for seq := run.Next; seq < run.Hi; seq++ {
				run.Texts = append(run.Texts, fmt.Sprintf("%s-%d-%d", pool.ID, no, seq%lot.Size))
			}
			run.Texts = run.Texts[:rapid.IntRange(0, len(run.Texts)).Draw(t, "texts")]
			s := shelves[rapid.IntRange(0, len(shelves)-1).Draw(t, "shelf")]
			s.Runs = append(s.Runs, run)
		}
	}
	for _, s := range shelves {
		slices.SortStableFunc(s.Runs, func(a, b *Run) int {
			switch {
			case a.Lot.Sooner(&b.Lot.Window):
				return -1
			case b.Lot.Sooner(&a.Lot.Window):
				return 1
			}
			return 0
		})
	}
}

func drawWindow(t *rapid.T) Window {
	moment := rapid.SampledFrom([]time.Time{{}, {}, {}, noon.Add(-2 * time.Hour), noon.Add(-time.Hour), noon, noon.Add(time.Hour), noon.Add(2 * time.Hour)})
	return Window{
		IssueStart:    moment.Draw(t, "issue_start"),
		IssueEnd:      moment.Draw(t, "issue_end"),
		AvailableFrom: moment.Draw(t, "available_from"),
		AvailableTill: moment.Draw(t, "available_till"),
	}
}

func cloneBatches(batches []Batch) []Batch {
	runs := map[*Run]*Run{}
	shelves := map[*Shelf]*Shelf{}
	var clones []Batch
	for _, b := range batches {
		c := Batch{Requests: slices.Clone(b.Requests), Shelves: map[string]*Shelf{}}
		for i := range c.Requests {
			c.Requests[i].Context = slices.Clone(c.Requests[i].Context)
		}
		for id, s := range b.Shelves {
			if shelves[s] == nil {
				clone := *s
				clone.Runs = nil
				for _, r := range s.Runs {
					if runs[r] == nil {
						run, lot := *r, *r.Lot
						run.Lot, run.Texts = &lot, slices.Clone(r.Texts)
						runs[r] = &run
					}
					clone.Runs = append(clone.Runs, runs[r])
				}
				if s.Pool != nil {
					pool := *s.Pool
					clone.Pool = &pool
				}
				shelves[s] = &clone
			}
			c.Shelves[id] = shelves[s]
		}
		clones = append(clones, c)
	}
	return clones
}

// TestAssignMultiUse: a code that many may use is given to all, in turn.
func TestAssignMultiUse(t *testing.T) {
	pool := &Pool{Key: 1, ID: "p", State: Active, MultiUse: true}
	run := &Run{Lot: &Lot{Size: 2}, Next: 5, Hi: 1 << 62, Texts: []string{"B", "A", "B", "A"}}
	b := Batch{Shelves: map[string]*Shelf{"p": {Pool: pool, Runs: []*Run{run}}}}
	for i := range 3 {
		b.Requests = append(b.Requests, Request{PoolID: "p", RequestID: fmt.Sprint(i), CustomerID: "c"})
	}
	plan := Assign(noon, []Batch{b}, nil)
	var got []string
	for _, n := range plan.Issues {
		got = append(got, fmt.Sprint(n.Issuance.Seq, n.Issuance.Code))
	}
	if want := []string{"5B", "6A", "7B"}; !slices.Equal(got, want) {
		t.Errorf("issued %v, want %v", got, want)
	}
}

// TestAssignBlocked: the ordinals of blocked codes are passed over, those behind
// the last issue too.
func TestAssignBlocked(t *testing.T) {
	pool := &Pool{Key: 1, ID: "p", State: Active, MultiUse: true}
	run := &Run{Lot: &Lot{Size: 4, Blocked: []int64{0, 3}}, Next: 3, Hi: 1 << 62}
	b := Batch{Shelves: map[string]*Shelf{"p": {Pool: pool, Runs: []*Run{run}}}}
	for i := range 2 {
		b.Requests = append(b.Requests, Request{PoolID: "p", RequestID: fmt.Sprint(i), CustomerID: "c"})
	}
	plan := Assign(noon, []Batch{b}, nil)
	if got := []int64{plan.Issues[0].Issuance.Seq, plan.Issues[1].Issuance.Seq, plan.Issues[0].At, plan.Issues[1].At, plan.Takes[0].N}; !slices.Equal(got, []int64{5, 6, 2, 3, 6}) {
		t.Errorf("got ordinals, distances and the take %v", got)
	}
	run.Lot.Blocked = []int64{0, 1, 2, 3}
	b.Shelves["p"].Locked, b.Shelves["p"].Whole = true, true
	if plan := Assign(noon, []Batch{b}, nil); plan.Outcomes[0][0].Reason != PoolExhausted || plan.Evidence[0].Left != 0 {
		t.Errorf("all blocked: got %+v", plan.Outcomes[0][0])
	}
}

// TestAssignStock: which of the two reasons a pool without a code to give has,
// and what is kept as evidence.
func TestAssignStock(t *testing.T) {
	before, now, after := noon.Add(-1), noon, noon.Add(1)
	for _, c := range []struct {
		name   string
		window Window // of the codes
		pool   Window // of the pool
		codes  int64
		others int64
		want   Reason // 0: none
		left   int64
	}{
		{"Left", Window{}, Window{}, 2, 0, 0, 0},
		{"Taken", Window{}, Window{}, 1, 0, PoolExhausted, 0},
		{"Empty", Window{}, Window{}, 0, 0, PoolExhausted, 0},
		{"HeldByOthers", Window{}, Window{}, 0, 1, 0, 0},
		{"Expired", Window{IssueEnd: now}, Window{}, 5, 0, PoolExhausted, 0},
		{"NoLongerUseful", Window{AvailableTill: now}, Window{}, 5, 0, PoolExhausted, 0},
		{"NotYet", Window{IssueStart: after}, Window{}, 5, 0, NoCodeInWindow, 5},
		{"NeverAny", Window{IssueStart: after, IssueEnd: now}, Window{}, 5, 0, PoolExhausted, 0},
		{"PoolOpen", Window{}, Window{IssueStart: now, IssueEnd: after}, 5, 0, 0, 0},
		{"PoolNotYet", Window{}, Window{IssueStart: after}, 5, 0, NoCodeInWindow, 5},
		{"PoolOver", Window{}, Window{IssueEnd: now}, 5, 0, NoCodeInWindow, 5},
		{"PoolOverEarlier", Window{IssueStart: after}, Window{IssueEnd: now}, 5, 0, NoCodeInWindow, 5},
		{"PoolOverAllExpired", Window{IssueEnd: now}, Window{IssueEnd: before}, 5, 0, PoolExhausted, 0},
		{"PoolNotYetEmpty", Window{}, Window{IssueStart: after}, 0, 0, PoolExhausted, 0},
		{"PoolNotYetHeldByOthers", Window{}, Window{IssueStart: after}, 0, 1, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := &Pool{Key: 1, ID: "p", State: Active, Revision: 7, IssueStart: c.pool.IssueStart, IssueEnd: c.pool.IssueEnd}
			run := &Run{Lot: &Lot{Window: c.window}, Hi: c.codes}
			plan := Assign(noon, []Batch{{
				Requests: []Request{{PoolID: "p", RequestID: "1", CustomerID: "c"}, {PoolID: "p", RequestID: "2", CustomerID: "c"}},
				Shelves:  map[string]*Shelf{"p": {Pool: pool, Runs: []*Run{run}, Locked: true, Whole: true, Others: c.others}},
			}}, nil)
			if got := plan.Outcomes[0][1].Reason; got != c.want {
				t.Fatalf("reason %s, want %s", got, c.want)
			}
			var want []Evidence
			if c.want != 0 {
				want = []Evidence{{Pool: 1, Revision: 7, Left: c.left, At: noon, IssueStart: c.pool.IssueStart, IssueEnd: c.pool.IssueEnd}}
			}
			if diff := gocmp.Diff(want, plan.Evidence); diff != "" {
				t.Errorf("evidence (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAssignMissingPool: that there is no such pool must be seen in the
// transaction that says so, like every other ground of rejection.
func TestAssignMissingPool(t *testing.T) {
	for _, locked := range []bool{false, true} {
		plan := Assign(noon, []Batch{{
			Requests: []Request{{PoolID: "p", RequestID: "r", CustomerID: "c"}},
			Shelves:  map[string]*Shelf{"p": {Locked: locked}},
		}}, nil)
		if plan.Whole() != locked {
			t.Errorf("locked %v: outcome %+v", locked, plan.Outcomes[0][0])
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	pool := &Pool{Key: 1, ID: "summer-sale", State: Active}
	const n = 1000
	batch := Batch{}
	run := &Run{Lot: &Lot{No: 1, Size: n}, Hi: n}
	for i := range n {
		batch.Requests = append(batch.Requests, Request{PoolID: pool.ID, RequestID: fmt.Sprintf("0197c3f2-%08d", i), CustomerID: "c"})
		run.Texts = append(run.Texts, fmt.Sprintf("SUMMER-%08d", i))
	}
	batch.Shelves = map[string]*Shelf{pool.ID: {Pool: pool, Runs: []*Run{run}}}
	known := map[Key]*Issuance{}
	b.ReportAllocs()
	for b.Loop() {
		if plan := Assign(noon, []Batch{batch}, known); !plan.Whole() {
			b.Fatal("a request has no outcome")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/request")
}
