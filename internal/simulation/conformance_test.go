package simulation

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// fataler is what testing.T and rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// pair does everything on both sides and compares what they answer and store.
type pair struct {
	fataler
	sides  [2]side // the model, PostgreSQL
	stream string

	claims [2]map[int]issuing.Claim
	stocks [2]map[int]map[string]*issuing.Stock
	pools  []string
	lots   map[string][]int32
	sizes  map[int32]int64
	spans  map[int32]domain.Window // of lots
	asked  int
	ends   map[int]int64
	tag    string
	worker string // as which partitions were claimed last
}

func newPair(t *testing.T) *pair {
	return &pair{fataler: t, sides: [2]side{newModelSide(), newPostgresSide(t)}, stream: stream, lots: map[string][]int32{}, sizes: map[int32]int64{}, spans: map[int32]domain.Window{}, ends: map[int]int64{}}
}

// both does the same on both sides; what is compared is the text that it returns
// and the class of its error, and then all that is stored.
func (p *pair) both(what string, do func(i int, s side) (string, error)) (answer string) {
	p.Helper()
	var got [2]string
	for i, s := range p.sides {
		text, err := do(i, s)
		got[i] = text + " · " + class(err)
	}
	if got[0] != got[1] {
		p.Fatalf("%s: the model says\n%s\nand PostgreSQL\n%s", what, got[0], got[1])
	}
	p.same(what)
	return got[0]
}

func (p *pair) same(what string) {
	p.Helper()
	if diff := cmp.Diff(p.sides[1].dump(), p.sides[0].dump()); diff != "" {
		p.Fatalf("%s leaves another state (-postgres +model):\n%s", what, diff)
	}
}

func (p *pair) claim(n int) {
	p.Helper()
	p.worker = fmt.Sprint("w", p.asked)
	p.both(fmt.Sprint("claim ", n), func(i int, s side) (string, error) {
		c, err := s.Claim(context.Background(), p.stream, n, p.worker, conformers)
		if p.claims[i] == nil {
			p.claims[i], p.stocks[i] = map[int]issuing.Claim{}, map[int]map[string]*issuing.Stock{}
		}
		p.claims[i][n] = c
		return fmt.Sprint(c.Epoch, c.BatchNo, c.NextOffset), err
	})
	p.held(n)
}

// held reads what a partition holds, with its texts.
func (p *pair) held(n int) {
	p.Helper()
	p.both(fmt.Sprint("held of ", n), func(i int, s side) (string, error) {
		held, err := s.Held(context.Background(), p.claims[i][n].Partition)
		if err != nil {
			return "", err
		}
		p.stocks[i][n] = held
		text := ""
		for _, id := range slices.Sorted(maps.Keys(held)) {
			texts, err := s.Texts(context.Background(), held[id].Runs)
			if err != nil {
				return text, err
			}
			for j, r := range held[id].Runs {
				r.Texts = texts[j]
				text += describeRun(id, r) + fmt.Sprint(r.Texts[:1])
			}
		}
		return text, nil
	})
}

func describeRun(id string, r *domain.Run) string {
	return fmt.Sprintf("[%s %d/%d–%d–%d @%d]", id, r.Lot.No, r.Lo, r.Next, r.Hi, r.GrantNo)
}

func (p *pair) refill(n int, id string, want int64) {
	p.Helper()
	p.both(fmt.Sprintf("refill of %d with %d of %s", n, want, id), func(i int, s side) (string, error) {
		pools, err := s.PoolsByID(context.Background(), []string{id})
		if err != nil {
			return "", err
		}
		st, err := s.Refill(context.Background(), p.claims[i][n].Partition, pools[id], want)
		text := ""
		for _, r := range st.Runs {
			text += describeRun(id, r)
		}
		return text, err
	})
}

// plan decides on what a partition was last seen to hold.
func (p *pair) plan(i, n int, requests []domain.Request, at time.Time) domain.Plan {
	shelves := map[string]*domain.Shelf{}
	for id, st := range p.stocks[i][n] {
		shelves[id] = &domain.Shelf{Pool: st.Pool, Runs: st.Runs}
	}
	return domain.Assign(at, []domain.Batch{{Requests: requests, Shelves: shelves}}, nil)
}

func (p *pair) requests(id string, k int) []domain.Request {
	all := make([]domain.Request, k)
	for j := range all {
		p.asked++
		all[j] = domain.Request{PoolID: id, RequestID: fmt.Sprintf("%sr%d", p.tag, p.asked), CustomerID: "c"}
	}
	return all
}

// commit makes a plan on buffers true, or tries to.
func (p *pair) commit(n int, requests []domain.Request, age time.Duration) {
	p.Helper()
	first := p.ends[n]
	for j := range requests {
		requests[j].Offset = first + int64(j)
	}
	answer := p.both(fmt.Sprint("commit of ", n), func(i int, s side) (string, error) {
		_, now, err := s.LookUp(context.Background(), nil, nil)
		if err != nil {
			return "", err
		}
		plan := p.plan(i, n, requests, now.Add(-age))
		if !plan.Whole() {
			return "not whole", nil
		}
		claim := p.claims[i][n]
		err = s.Commit(context.Background(), []issuing.Entry{{Claim: &claim, First: first, End: first + int64(len(requests))}}, &plan)
		if err == nil {
			claim.BatchNo++
			p.claims[i][n] = claim
			for _, t := range plan.Takes {
				t.Run.Next, t.Run.Texts = t.Run.Next+t.N, t.Run.Texts[t.N:]
			}
		}
		return "", err
	})
	if answer == " · done" {
		p.ends[n] += int64(len(requests))
	}
}

// commitLocked decides under locks: the pools to be seen whole, others sure.
func (p *pair) commitLocked(n int, ids []string, sure bool, requests []domain.Request) string {
	p.Helper()
	first := p.ends[n]
	for j := range requests {
		requests[j].Offset = first + int64(j)
	}
	answer := p.both(fmt.Sprintf("locked commit of %d from %v", n, ids), func(i int, s side) (string, error) {
		claim := p.claims[i][n]
		l := issuing.Locking{Claims: []*issuing.Claim{&claim}, Requests: map[string][]string{}}
		if sure {
			l.Sure = ids
		} else {
			l.Whole = ids
		}
		for _, r := range requests {
			l.Requests[r.PoolID] = append(l.Requests[r.PoolID], r.RequestID)
		}
		text := ""
		err := s.CommitLocked(context.Background(), l, func(seen issuing.Locked) issuing.Decision {
			d := decideAs(&claim, ids, seen, first, requests, &text)
			return d
		})
		if err == nil {
			claim.BatchNo++
			p.claims[i][n] = claim
		}
		return text, err
	})
	if strings.HasSuffix(answer, "· done") && !strings.Contains(answer, "left") {
		p.ends[n] += int64(len(requests))
	}
	return answer
}

// decideAs decides as the issuer does, and tells what it saw.
func decideAs(claim *issuing.Claim, ids []string, seen issuing.Locked, first int64, requests []domain.Request, text *string) (d issuing.Decision) {
	shelves := map[string]*domain.Shelf{}
	for _, id := range ids {
		if s := seen.Shelves[id]; s != nil {
			shelves[id] = s
			*text += fmt.Sprintf("%s: others %d, later %d", id, s.Others, s.Later)
			for _, r := range s.Runs {
				*text += describeRun(id, r)
			}
			continue
		}
		shelves[id] = &domain.Shelf{Pool: seen.Pools[id], Locked: true}
	}
	*text += fmt.Sprint(" turning ", seen.Turning, " known ", len(seen.Known))
	plan := domain.Assign(seen.Now, []domain.Batch{{Requests: requests, Shelves: shelves}}, seen.Known)
	for _, id := range ids {
		if s := seen.Shelves[id]; s != nil && (slices.Contains(plan.Short, id) && s.Others > 0 || slices.Contains(seen.Turning, id)) {
			d.HandBack = append(d.HandBack, id)
		}
	}
	if len(d.HandBack) > 0 {
		*text += fmt.Sprint(" hands back ", d.HandBack)
		return d
	}
	if !plan.Whole() {
		*text += " left"
		return issuing.Decision{}
	}
	e := issuing.Entry{Claim: claim, First: first, End: first + int64(len(requests))}
	for j := range plan.Outcomes[0] {
		o := &plan.Outcomes[0][j]
		*text += fmt.Sprint(" ", o.Verdict, o.Reason)
		if o.Issue != nil {
			*text += fmt.Sprint(o.Issue.Place)
		}
		if o.Verdict == domain.Rejected {
			e.Rejections = append(e.Rejections, domain.Rejection{Offset: o.Request.Offset, Hash: o.Request.Hash(), Reason: o.Reason})
		}
	}
	for _, e := range plan.Evidence {
		*text += fmt.Sprint(" left over ", e.Left)
	}
	return issuing.Decision{Plan: &plan, Entries: []issuing.Entry{e}}
}

// pool makes one with lots of the sizes.
func (p *pair) pool(edit func(*domain.Pool), launch bool, sizes ...int) string {
	p.Helper()
	id := fmt.Sprintf("%spool-%d", strings.ToLower(p.tag), len(p.pools)+1)
	pool := domain.Pool{ID: id, CampaignID: "summer", Name: id, Description: "for tests", ParameterName: "code", Processing: domain.Internal}
	if edit != nil {
		edit(&pool)
	}
	p.both("create "+id, func(_ int, s side) (string, error) { return "", s.create(context.Background(), pool) })
	p.pools = append(p.pools, id)
	for _, n := range sizes {
		p.fill(id, n, domain.Window{}, 0)
	}
	if launch {
		p.both("launch "+id, func(_ int, s side) (string, error) { return "", s.launch(context.Background(), id) })
	}
	return id
}

func (p *pair) fill(id string, n int, w domain.Window, into int32) {
	p.Helper()
	if into != 0 {
		w = p.spans[into] // what is behind others has their dates
	}
	var lot int32
	answer := p.both(fmt.Sprintf("fill %s with %d behind %d", id, n, into), func(_ int, s side) (_ string, err error) {
		lot, err = s.fill(context.Background(), id, n, w, into, p.sizes[into])
		return "", err
	})
	if strings.HasSuffix(answer, "done") {
		if into == 0 {
			p.lots[id] = append(p.lots[id], lot)
		}
		p.sizes[lot] += int64(n)
		p.spans[lot] = w
	}
}

// TestConformance holds the model to PostgreSQL: random sequences of all that is
// done to a store, with every answer and all that is stored compared.
func TestConformance(t *testing.T) {
	fewerChecks(t)
	base := newPair(t)
	cases := 0
	rapid.Check(t, func(rt *rapid.T) {
		cases++
		p := *base
		p.fataler, p.tag, p.stream = rt, fmt.Sprintf("case-%d-", cases), fmt.Sprint(stream, cases)
		p.claims, p.stocks = [2]map[int]issuing.Claim{}, [2]map[int]map[string]*issuing.Stock{}
		p.pools, p.lots, p.sizes, p.spans, p.ends = nil, map[string][]int32{}, map[int32]int64{}, map[int32]domain.Window{}, map[int]int64{}
		p.sides[0].(*modelSide).forget()
		p.sides[1].(*postgresSide).forget()
		for n := range conformers {
			p.claim(n)
		}
		p.pool(nil, true, 2600)
		p.pool(func(q *domain.Pool) { q.Validity = domain.Period{Days: 2} }, true, 30)
		rt.Repeat(p.steps())
	})
}

// steps are what can be done.
func (p *pair) steps() map[string]func(*rapid.T) {
	number := rapid.IntRange(0, conformers-1)
	anyPool := func(t *rapid.T) string { return rapid.SampledFrom(p.pools).Draw(t, "pool") }
	anyLot := func(t *rapid.T, id string) int32 {
		if len(p.lots[id]) == 0 {
			t.Skip("no codes")
		}
		return rapid.SampledFrom(p.lots[id]).Draw(t, "lot")
	}
	ctx := context.Background()
	return map[string]func(*rapid.T){
		"claim": func(t *rapid.T) { p.claim(number.Draw(t, "partition")) },
		"held":  func(t *rapid.T) { p.held(number.Draw(t, "partition")) },
		"refill": func(t *rapid.T) {
			n := number.Draw(t, "partition")
			p.refill(n, anyPool(t), int64(rapid.IntRange(1, 500).Draw(t, "want")))
			p.held(n)
		},
		"commit": func(t *rapid.T) {
			age := rapid.SampledFrom([]time.Duration{0, 0, 0, 2 * time.Second}).Draw(t, "age")
			p.commit(number.Draw(t, "partition"), p.requests(anyPool(t), rapid.IntRange(1, 20).Draw(t, "requests")), age)
		},
		"repeat": func(t *rapid.T) { // a request that has its code, on buffers
			r := p.requests(anyPool(t), 1)
			p.commit(0, slices.Clone(r), 0)
			p.commit(1, append(p.requests(r[0].PoolID, 2), r...), 0)
		},
		"locked": func(t *rapid.T) {
			id := anyPool(t)
			p.commitLocked(number.Draw(t, "partition"), []string{id}, false, p.requests(id, rapid.IntRange(1, 40).Draw(t, "requests")))
		},
		"locked two": func(t *rapid.T) {
			ids := []string{p.pools[0], p.pools[1]}
			p.commitLocked(number.Draw(t, "partition"), ids, false, slices.Concat(p.requests(ids[1], 3), p.requests(ids[0], 3)))
		},
		"sure": func(t *rapid.T) {
			id := anyPool(t)
			r := p.requests(id, 2)
			r[0].ExpiresAt, r[1].ExpiresAt = time.Unix(1, 0), time.Unix(1, 0)
			p.commitLocked(number.Draw(t, "partition"), []string{id, "nowhere"}, true, append(r, p.requests("nowhere", 1)...))
		},
		"give back": func(t *rapid.T) {
			n, id := number.Draw(t, "partition"), anyPool(t)
			p.both("give back", func(i int, s side) (string, error) {
				pools, err := s.PoolsByID(ctx, []string{id})
				if err != nil {
					return "", err
				}
				return "", s.GiveBack(ctx, p.claims[i][n].Partition, pools[id].Key)
			})
		},
		"resolve": func(t *rapid.T) {
			n := number.Draw(t, "partition")
			who := rapid.SampledFrom([]string{p.worker, "somebody else"}).Draw(t, "worker")
			p.both("resolve", func(i int, s side) (string, error) {
				c, err := s.Resolve(ctx, p.claims[i][n], who)
				if err == nil {
					p.claims[i][n] = c
				}
				return fmt.Sprint(c.Epoch, c.BatchNo), err
			})
		},
		"ranges": func(t *rapid.T) {
			n, from := number.Draw(t, "partition"), int64(rapid.IntRange(0, 50).Draw(t, "from"))
			p.both("ranges", func(i int, s side) (text string, err error) {
				ranges, err := s.Ranges(ctx, p.claims[i][n].Partition, from, 3)
				for _, r := range ranges {
					text += fmt.Sprint(r.First, r.End, r.Rejections)
				}
				return text, err
			})
		},
		"pool": func(t *rapid.T) {
			if len(p.pools) < 5 {
				p.pool(func(q *domain.Pool) { q.MultiUse = rapid.Bool().Draw(t, "multi") }, rapid.Bool().Draw(t, "launch"), rapid.SampledFrom([]int{3, 50, 1300}).Draw(t, "codes"))
			}
		},
		"launch": func(t *rapid.T) {
			id := anyPool(t)
			p.both("launch "+id, func(_ int, s side) (string, error) { return "", s.launch(ctx, id) })
		},
		"archive": func(t *rapid.T) {
			id := anyPool(t)
			if rapid.IntRange(0, 5).Draw(t, "really") == 0 {
				p.both("archive "+id, func(_ int, s side) (string, error) { return "", s.archive(ctx, id) })
			}
		},
		"window": func(t *rapid.T) {
			id := anyPool(t)
			start, end := drawWindow(t)
			p.both("window of "+id, func(_ int, s side) (string, error) { return "", s.setWindow(ctx, id, start, end) })
		},
		"validity": func(t *rapid.T) {
			id, days := anyPool(t), rapid.IntRange(0, 5).Draw(t, "days")
			p.both("validity of "+id, func(_ int, s side) (string, error) { return "", s.setValidity(ctx, id, days) })
		},
		"fill": func(t *rapid.T) {
			start, end := drawWindow(t)
			p.fill(anyPool(t), rapid.SampledFrom([]int{1, 7, 300, 1500}).Draw(t, "codes"), domain.Window{IssueStart: start, IssueEnd: end}, 0)
		},
		"grow": func(t *rapid.T) {
			id := anyPool(t)
			p.fill(id, rapid.IntRange(1, 60).Draw(t, "codes"), domain.Window{}, anyLot(t, id))
		},
		"block": func(t *rapid.T) {
			id := anyPool(t)
			lot := anyLot(t, id)
			seq := rapid.Int64Range(0, p.sizes[lot]-1).Draw(t, "seq")
			if !p.multi(id) {
				p.both("block", func(_ int, s side) (string, error) { return "", s.block(ctx, id, lot, seq) })
			}
		},
		"by hand": func(t *rapid.T) {
			id := anyPool(t)
			lot := anyLot(t, id)
			seq := rapid.Int64Range(0, min(p.sizes[lot], 40)-1).Draw(t, "seq")
			r := p.requests(id, 1)[0]
			if !p.multi(id) {
				p.both("by hand", func(_ int, s side) (string, error) { return "", s.issueCode(ctx, id, lot, seq, r) })
			}
		},
	}
}

func (p *pair) multi(id string) bool {
	pools, _ := p.sides[0].PoolsByID(context.Background(), []string{id})
	return pools[id].MultiUse
}

// drawWindow is open, over, or yet to begin: never so that it changes meanwhile.
func drawWindow(t *rapid.T) (start, end time.Time) {
	now := time.Now().UTC().Truncate(time.Hour)
	switch rapid.IntRange(0, 4).Draw(t, "window") {
	case 0:
		end = now.Add(48 * time.Hour)
	case 1:
		end = now.Add(-2 * time.Hour)
	case 2:
		start = now.Add(2 * time.Hour)
	}
	return start, end
}

// fewerChecks keeps the suite short, unless who runs it says otherwise.
func fewerChecks(t *testing.T) {
	asked := slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, "rapid.checks") })
	if !asked {
		if err := flag.Set("rapid.checks", "12"); err != nil {
			t.Fatal(err)
		}
	}
}
