package issuing

import (
	"context"
	"maps"
	"slices"
	"time"

	"promopool/internal/domain"
)

// attempt is one try at making a group's decision true.
type attempt struct {
	i     *Issuer
	group []*ticket

	pools map[string]bool // every pool id asked for
	known map[domain.Key]*domain.Issuance
	now   time.Time

	sure  map[string]bool // pools to be locked
	whole map[string]bool // pools to be locked and seen whole
}

// attempt decides a group and commits it in one transaction. On success every
// ticket has its outcomes; on an error none has, and unless it is ErrUnknown
// nothing was written.
func (i *Issuer) attempt(ctx context.Context, group []*ticket) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	a := &attempt{i: i, group: group, pools: map[string]bool{}, sure: map[string]bool{}, whole: map[string]bool{}}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	for range 8 {
		done, err := a.round(ctx)
		if err != nil {
			i.clock.doubt()
		}
		if done || err != nil {
			return err
		}
	}
	return ErrAgain
}

// prepare reads what the decision needs: the pools that are not at hand, the
// stored issuances, the clock.
func (a *attempt) prepare(ctx context.Context) error {
	missing := map[string]bool{}
	for _, t := range a.group {
		t.p.merge()
		t.pools = map[string]int64{}
		for j := range t.asked() {
			t.pools[t.requests[j].PoolID]++
		}
		for id := range t.pools {
			a.pools[id] = true
			if t.p.buffers[id] == nil {
				missing[id] = true
			}
		}
	}
	if len(missing) > 0 {
		pools, err := a.i.store.PoolsByID(ctx, slices.Sorted(maps.Keys(missing)))
		if err != nil {
			return err
		}
		for _, t := range a.group {
			for id := range t.pools {
				if pools[id] != nil && t.p.buffers[id] == nil {
					t.p.buffers[id] = newBuffer(pools[id])
				}
			}
		}
	}
	err := a.lookUp(ctx)
	for _, t := range a.group {
		for id := range t.pools {
			switch b := t.p.buffers[id]; {
			case b == nil || b.pool.State != domain.Active:
				a.sure[id] = true
			case b.pool.Mode == domain.Scarce:
				a.whole[id] = true
			}
		}
	}
	return err
}

// lookUp finds the stored issuances, and the time. A small group does without
// while there were none of late: that none is stored is then said by the unique
// key when the plan is committed (ErrRaced), and the group is decided again.
func (a *attempt) lookUp(ctx context.Context) error {
	requests := 0
	for _, t := range a.group {
		requests += len(t.asked())
	}
	if requests < spread {
		if now, ok := a.i.clock.now(); ok {
			a.now = now
			return nil
		}
	}
	start := time.Now()
	var err error
	a.known, a.now, err = a.i.lookUp(ctx, a.group)
	a.i.metrics.step(stepLookUp, start)
	if err == nil {
		a.i.clock.set(a.now, start)
	}
	return err
}

// lookUp finds the stored issuances of all requests whose pools are at hand.
func (i *Issuer) lookUp(ctx context.Context, group []*ticket) (map[domain.Key]*domain.Issuance, time.Time, error) {
	n := 0
	for _, t := range group {
		n += len(t.asked())
	}
	keys := make([]domain.Key, 0, n)
	pools := map[int32]*domain.Pool{}
	for _, t := range group {
		for j := range t.asked() {
			if b := t.p.buffers[t.requests[j].PoolID]; b != nil {
				keys = append(keys, domain.Key{Pool: b.pool.Key, RequestID: t.requests[j].RequestID})
				pools[b.pool.Key] = b.pool
			}
		}
	}
	return i.store.LookUp(ctx, keys, pools)
}

// round tries to decide with what it has; when that is not enough it gets
// more (codes, or locks for the next round) and reports false.
func (a *attempt) round(ctx context.Context) (bool, error) {
	if len(a.sure) > 0 || len(a.whole) > 0 {
		return a.locked(ctx)
	}
	plan := a.assign(a.now, a.known, nil, nil)
	if !plan.Whole() {
		return false, a.provide(ctx, &plan)
	}
	start := time.Now()
	err := a.i.store.Commit(ctx, a.entries(&plan), &plan)
	a.i.metrics.step(stepCommit, start)
	if err == nil {
		a.finish(&plan, nil)
	}
	return err == nil, err
}

// provide gets what a plan turned out to lack: codes, or locks for the next
// round.
func (a *attempt) provide(ctx context.Context, plan *domain.Plan) error {
	for _, id := range plan.Unsure {
		a.sure[id] = true
	}
	for _, id := range plan.Short {
		got, err := a.refill(ctx, id)
		if err != nil {
			return err
		}
		if !got {
			a.whole[id] = true
		}
	}
	return nil
}

// refill gets codes for the tickets that have too few of a pool, and reports
// whether all have enough now.
func (a *attempt) refill(ctx context.Context, id string) (bool, error) {
	for _, t := range a.group {
		need, b := t.pools[id], t.p.buffers[id]
		if b == nil && need > 0 {
			return false, nil // it is younger than what was read of it
		}
		t.p.settleRefill(id)
		for need > 0 && b.fitting(a.now) < need {
			had := b.fitting(a.now)
			if err := t.p.refillNow(ctx, b, need-had, a.now); err != nil {
				return false, err
			}
			// What a window let through that has opened since then is of no use
			// for this decision, and more of it would not be either.
			if b.fitting(a.now) == had {
				return false, nil
			}
		}
	}
	return true, nil
}

// assign decides on the buffers, or on the shelves where there is one.
func (a *attempt) assign(now time.Time, known map[domain.Key]*domain.Issuance, pools map[string]*domain.Pool, shelves map[string]*domain.Shelf) domain.Plan {
	start := time.Now()
	batches := make([]domain.Batch, len(a.group))
	for k, t := range a.group {
		if t.poisoned {
			continue
		}
		batch := domain.Batch{Requests: t.requests, Shelves: make(map[string]*domain.Shelf, len(a.pools))}
		for id := range a.pools {
			switch {
			case a.whole[id]:
				batch.Shelves[id] = shelves[id]
			case a.sure[id]:
				s := &domain.Shelf{Pool: pools[id], Locked: true}
				if b := t.p.buffers[id]; b != nil {
					s.Runs = b.runs
				}
				batch.Shelves[id] = s
			default:
				if b := t.p.buffers[id]; b != nil {
					batch.Shelves[id] = &domain.Shelf{Pool: b.pool, Runs: b.runs}
				}
			}
		}
		batches[k] = batch
	}
	plan := domain.Assign(now, batches, known)
	for k, t := range a.group {
		if t.poisoned {
			plan.Outcomes[k] = []domain.Outcome{{Request: &t.requests[0], Verdict: domain.Rejected, Reason: domain.Poison, DecidedAt: now}}
		}
	}
	a.i.metrics.step(stepAssign, start)
	return plan
}

// locked decides under the locks of the pools that need it.
func (a *attempt) locked(ctx context.Context) (bool, error) {
	for id := range a.whole {
		for _, t := range a.group {
			t.p.settleRefill(id)
		}
	}
	l := Locking{Requests: map[string][]string{}}
	for _, t := range a.group {
		l.Claims = append(l.Claims, &t.p.claim)
		for j := range t.asked() {
			if r := &t.requests[j]; a.sure[r.PoolID] || a.whole[r.PoolID] {
				l.Requests[r.PoolID] = append(l.Requests[r.PoolID], r.RequestID)
			}
		}
	}
	cursors := map[int32]bool{}
	for id := range a.pools {
		if a.whole[id] {
			l.Whole = append(l.Whole, id)
			continue
		}
		if a.sure[id] {
			l.Sure = append(l.Sure, id)
		}
		for _, t := range a.group {
			if b := t.p.buffers[id]; b != nil && len(b.runs) > 0 {
				cursors[b.pool.Key] = true
			}
		}
	}
	slices.Sort(l.Whole)
	slices.Sort(l.Sure)
	l.Cursors = slices.Sorted(maps.Keys(cursors))

	var plan domain.Plan
	var seen Locked
	made := false
	start := time.Now()
	err := a.i.store.CommitLocked(ctx, l, func(in Locked) Decision {
		known := in.Known
		for k, issue := range a.known {
			if _, ok := known[k]; !ok {
				known[k] = issue
			}
		}
		plan = a.assign(in.Now, known, in.Pools, in.Shelves)
		if d, ok := a.handBack(&plan, in); ok {
			return d
		}
		if !plan.Whole() {
			return Decision{}
		}
		made, seen = true, in
		return Decision{Plan: &plan, Entries: a.entries(&plan)}
	})
	a.i.metrics.step(stepCommit, start)
	switch {
	case err != nil:
		return false, err
	case !made:
		return false, a.provide(ctx, &plan)
	}
	a.finish(&plan, seen.Pools)
	return true, nil
}

// handBack says of which pools everybody's codes must be seen: those that
// others hold while a request went short, and those that have grown scarce.
func (a *attempt) handBack(plan *domain.Plan, in Locked) (Decision, bool) {
	var d Decision
	for id, s := range in.Shelves {
		if slices.Contains(plan.Short, id) && s.Others > 0 || slices.Contains(in.Turning, id) {
			d.HandBack = append(d.HandBack, id)
		}
	}
	slices.Sort(d.HandBack)
	if len(d.HandBack) > 0 {
		a.i.metrics.handBacks.Add(float64(len(d.HandBack)))
	}
	return d, len(d.HandBack) > 0
}

// entries are the tickets' parts of the transaction.
func (a *attempt) entries(plan *domain.Plan) []Entry {
	entries := make([]Entry, len(a.group))
	for k, t := range a.group {
		e := Entry{Claim: &t.p.claim, First: t.first, End: t.end}
		for j := range plan.Outcomes[k] {
			if o := &plan.Outcomes[k][j]; o.Verdict == domain.Rejected {
				e.Rejections = append(e.Rejections, domain.Rejection{Offset: o.Request.Offset, Hash: o.Request.Hash(), Reason: o.Reason})
			}
		}
		entries[k] = e
	}
	return entries
}

// finish carries a plan that has become true over into memory.
func (a *attempt) finish(plan *domain.Plan, pools map[string]*domain.Pool) {
	for id := range a.whole {
		for _, t := range a.group {
			t.p.forget(id, pools[id])
		}
	}
	holders := make(map[int32]*Partition, len(a.group))
	for _, t := range a.group {
		holders[t.p.claim.Partition] = t.p
	}
	for _, take := range plan.Takes {
		run := take.Run
		run.Next += take.N
		if p := holders[run.Holder]; p != nil {
			p.hold(-textBytes(run.Texts[:take.N]))
			run.Texts = run.Texts[take.N:]
		}
	}
	for k, t := range a.group {
		t.p.claim.BatchNo++
		t.p.claim.NextOffset = max(t.p.claim.NextOffset, t.end)
		t.p.alarmed = false
		t.outcomes = plan.Outcomes[k]
		for id := range a.sure {
			if b := t.p.buffers[id]; b != nil && pools[id] != nil {
				b.pool = pools[id]
			}
		}
		t.p.topUp(t.pools, plan.At)
	}
	a.i.clock.saw(plan.Outcomes)
	a.i.touched.add(plan.Takes)
	a.i.metrics.group(len(a.group))
}
