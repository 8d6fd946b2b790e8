package domain

import (
	"math"
	"slices"
	"time"
)

// Shelf is what one batch may take a pool's codes from.
type Shelf struct {
	Pool *Pool  // nil: there is no such pool; true only where Locked
	Runs []*Run // in the order of taking

	// Locked: Pool was read, and the known issuances looked up, under the
	// pool's lock by the transaction that will commit the decision. Only such
	// a shelf can justify a rejection.
	Locked bool
	// Whole: moreover Runs are the first of the pool's unissued codes, at least as
	// many as there are requests for it, or all that may be issued now but Others,
	// which partitions outside the transaction hold. Only a whole shelf without
	// others can justify a rejection for want of codes.
	Whole  bool
	Others int64
	// Later is how many further codes are unissued and not expired, where Runs are
	// all that may be issued now.
	Later int64
}

// Batch is consecutive deliveries of one partition, with the shelves of their
// pools by pool id.
type Batch struct {
	Requests []Request
	Shelves  map[string]*Shelf
}

// Verdict is what became of a delivery.
type Verdict uint8

// Issued: a code was taken for it. Repeated: the request had its code before.
// Rejected: there is none for it.
const (
	Issued Verdict = iota + 1
	Repeated
	Rejected
)

// Outcome is the answer to one delivery.
type Outcome struct {
	Request   *Request
	Verdict   Verdict
	Issue     *Issuance // Issued and Repeated
	Reason    Reason    // Rejected
	DecidedAt time.Time // Rejected

	// Alias is what a customer is called who was erased after the request; "": the
	// answer says what the request does.
	Alias string
}

// known is the answer to a request that has its code, be it erased meanwhile.
func known(r *Request, issue *Issuance) Outcome {
	o := Outcome{Request: r, Verdict: Repeated, Issue: issue}
	if issue.CustomerID != r.CustomerID {
		o.Alias = issue.CustomerID
	}
	return o
}

// Take is N ordinals used up at the head of a run: issued, but for those of blocked
// codes.
type Take struct {
	Run        *Run
	Pool       *Pool
	N          int64
	ValidFrom  time.Time
	ValidUntil time.Time
}

// NewIssue is an issuance that a plan makes: ordinal number At of Takes[Take].
type NewIssue struct {
	Issuance *Issuance
	Take     int
	At       int64
}

// Evidence is the stock that made a pool's rejections true, read under its
// lock, so that an auditor can check them later.
type Evidence struct {
	Pool     int32     `json:"pool"`
	Revision int64     `json:"revision"`
	Left     int64     `json:"left"` // unissued and not expired; 0 where exhausted was said
	At       time.Time `json:"at"`

	// The pool's own window, where it had one.
	IssueStart time.Time `json:"issue_start,omitzero"`
	IssueEnd   time.Time `json:"issue_end,omitzero"`
}

// Plan is a decision on batches, not yet true.
type Plan struct {
	At       time.Time
	Outcomes [][]Outcome // by batch, in the order of its requests
	Takes    []Take
	Issues   []NewIssue
	Evidence []Evidence

	// Short are the pools whose shelves had no code for a request and could
	// not say that there is none; Unsure are those that had to be locked for a
	// rejection. With either the plan is not whole and cannot be committed.
	Short  []string
	Unsure []string
}

// Whole reports whether every request has its outcome.
func (p *Plan) Whole() bool { return len(p.Short) == 0 && len(p.Unsure) == 0 }

// Assign decides what each request gets at the given time. known holds the
// stored issuances of the requests, and only those of pools on the shelves.
// Within the batches the first request wins, and a repeat of it gets the same.
// Assign changes nothing that it is given.
func Assign(now time.Time, batches []Batch, known map[Key]*Issuance) Plan {
	n := 0
	for _, b := range batches {
		n += len(b.Requests)
	}
	a := assigner{
		plan:    Plan{At: now, Outcomes: make([][]Outcome, len(batches)), Issues: make([]NewIssue, 0, n)},
		known:   known,
		fresh:   make(map[Key]*Issuance, n),
		takes:   make(map[*Run]int),
		shelves: make(map[*Shelf]*cursor),
		slab:    make([]Issuance, 0, n),
	}
	for i, b := range batches {
		outcomes := make([]Outcome, len(b.Requests))
		a.lastShelf = nil
		for j := range b.Requests {
			outcomes[j] = a.decide(&b.Requests[j], b.Shelves)
		}
		a.plan.Outcomes[i] = outcomes
	}
	return a.plan
}

// assigner is the state of one call of Assign.
type assigner struct {
	plan    Plan
	known   map[Key]*Issuance
	fresh   map[Key]*Issuance // issued by this plan
	takes   map[*Run]int      // index in plan.Takes
	shelves map[*Shelf]*cursor
	slab    []Issuance

	// of the request before in the same batch, since neighbours often share a pool
	lastID    string
	lastShelf *Shelf
}

// cursor is how far a shelf has been emptied by this plan.
type cursor struct {
	run       int // index of the first run that may have codes
	evidenced bool
}

func (a *assigner) decide(r *Request, shelves map[string]*Shelf) Outcome {
	s := a.shelf(r.PoolID, shelves)
	if s == nil {
		return leave(r, &a.plan.Unsure)
	}
	if s.Pool == nil {
		return a.refuse(r, s, PoolNotFound)
	}
	key := Key{s.Pool.Key, r.RequestID}
	issue := a.known[key]
	if issue == nil {
		issue = a.fresh[key]
	}
	switch {
	case issue != nil && issue.IssuedTo(r.CustomerID):
		return known(r, issue)
	case issue != nil:
		// Needs no lock: the issuance is stored, or is by this very plan, and
		// stays for good.
		return a.reject(r, RequestConflict)
	case s.Pool.State != Active:
		return a.refuse(r, s, PoolNotActive)
	case !r.ExpiresAt.IsZero() && !a.plan.At.Before(r.ExpiresAt):
		return a.refuse(r, s, RequestExpired)
	}
	run := a.take(s)
	if run == nil {
		return a.refuseStock(r, s)
	}
	return a.issue(r, s.Pool, run, key)
}

func (a *assigner) shelf(id string, shelves map[string]*Shelf) *Shelf {
	if a.lastShelf == nil || a.lastID != id {
		a.lastID, a.lastShelf = id, shelves[id]
	}
	return a.lastShelf
}

// take finds the first run with a code that may be issued now.
func (a *assigner) take(s *Shelf) *Run {
	c := a.shelves[s]
	if c == nil {
		c = &cursor{}
		if !s.Pool.Open(a.plan.At) {
			c.run = len(s.Runs) // outside the pool's window no run has codes
		}
		a.shelves[s] = c
	}
	for ; c.run < len(s.Runs); c.run++ {
		run := s.Runs[c.run]
		if a.left(run) > 0 && run.Lot.Fits(a.plan.At) {
			return run
		}
	}
	return nil
}

// left is what this plan has left of the run.
func (a *assigner) left(run *Run) int64 {
	next := run.Next
	if i, ok := a.takes[run]; ok {
		next += a.plan.Takes[i].N
	}
	return run.Lot.Usable(next, run.Hi)
}

func (a *assigner) issue(r *Request, pool *Pool, run *Run, key Key) Outcome {
	i, ok := a.takes[run]
	if !ok {
		from, until := pool.Valid(run.Lot, a.plan.At)
		i = len(a.plan.Takes)
		a.takes[run] = i
		a.plan.Takes = append(a.plan.Takes, Take{Run: run, Pool: pool, ValidFrom: from, ValidUntil: until})
	}
	t := &a.plan.Takes[i]
	at := run.Lot.Next(run.Next+t.N, run.Hi) - run.Next
	a.slab = append(a.slab, Issuance{
		Pool: pool, Place: Place{Lot: run.Lot.No, Seq: run.Next + at},
		RequestID: r.RequestID, CustomerID: r.CustomerID, Context: r.Context,
		IssuedAt: a.plan.At, ValidFrom: t.ValidFrom, ValidUntil: t.ValidUntil,
	})
	issue := &a.slab[len(a.slab)-1]
	if at < int64(len(run.Texts)) {
		issue.Code = run.Texts[at]
	}
	a.plan.Issues = append(a.plan.Issues, NewIssue{Issuance: issue, Take: i, At: at})
	// What follows and is to be passed over goes with it, so that runs are used up.
	t.N = run.Lot.Next(run.Next+at+1, run.Hi) - run.Next
	a.fresh[key] = issue
	return Outcome{Request: r, Verdict: Issued, Issue: issue}
}

// refuseStock rejects for want of codes, when the shelf has seen them all.
func (a *assigner) refuseStock(r *Request, s *Shelf) Outcome {
	if !s.Whole || s.Others > 0 {
		return leave(r, &a.plan.Short)
	}
	left := s.Later
	for _, run := range s.Runs {
		if !run.Lot.Expired(a.plan.At) {
			left += min(a.left(run), math.MaxInt64-left) // codes of multi-use pools are without number
		}
	}
	if c := a.shelves[s]; !c.evidenced {
		c.evidenced = true
		a.plan.Evidence = append(a.plan.Evidence, Evidence{
			Pool: s.Pool.Key, Revision: s.Pool.Revision, Left: left, At: a.plan.At,
			IssueStart: s.Pool.IssueStart, IssueEnd: s.Pool.IssueEnd,
		})
	}
	if left > 0 {
		return a.reject(r, NoCodeInWindow)
	}
	return a.reject(r, PoolExhausted)
}

// refuse rejects, if the shelf was read under the lock that makes it true.
func (a *assigner) refuse(r *Request, s *Shelf, why Reason) Outcome {
	if !s.Locked {
		return leave(r, &a.plan.Unsure)
	}
	return a.reject(r, why)
}

func (a *assigner) reject(r *Request, why Reason) Outcome {
	return Outcome{Request: r, Verdict: Rejected, Reason: why, DecidedAt: a.plan.At}
}

// leave notes a request's pool among those that could not decide.
func leave(r *Request, pools *[]string) Outcome {
	if !slices.Contains(*pools, r.PoolID) {
		*pools = append(*pools, r.PoolID)
	}
	return Outcome{Request: r}
}
