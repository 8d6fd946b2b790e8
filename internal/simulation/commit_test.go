package simulation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// Commit is one call of commit_batches.
func (s *store) Commit(ctx context.Context, entries []issuing.Entry, plan *domain.Plan) error {
	return s.call(ctx, "commit", describe(entries), false, func(b *session) error {
		if err := b.commitBatches(entries, plan); err != nil {
			return err
		}
		return b.commit()
	})
}

func describe(entries []issuing.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, " %d@%d:%d–%d", e.Claim.Number, e.Claim.Epoch, e.First, e.End)
	}
	return b.String()
}

// enter begins a transaction of partitions.
func (s *session) enter(claims []*issuing.Claim) error {
	if err := s.step("enter"); err != nil {
		return err
	}
	for _, c := range claims {
		s.marks = append(s.marks, mark{c.Partition, c.Epoch})
	}
	if s.db.data.gate != "" {
		return issuing.ErrGate
	}
	for _, c := range claims {
		if p, _ := s.partitions.get(c.Partition); p.epoch != c.Epoch && !s.db.NoFence {
			return issuing.ErrFenced
		}
	}
	return nil
}

// commitBatches is the function commit_batches, without its COMMIT.
func (s *session) commitBatches(entries []issuing.Entry, plan *domain.Plan) error {
	claims := make([]*issuing.Claim, len(entries))
	for i, e := range entries {
		claims[i] = e.Claim
	}
	if err := s.enter(claims); err != nil {
		return err
	}
	if err := s.moveCursors(plan.Takes); err != nil {
		return err
	}
	if err := s.fence(entries); err != nil {
		return err
	}
	if !s.db.now().Before(plan.At.Add(time.Second)) && !s.db.NoStale {
		return issuing.ErrAgain
	}
	if err := s.insert(plan); err != nil {
		return err
	}
	for _, e := range entries {
		row := batchRow{batchKey: batchKey{e.Claim.Partition, e.First}, end: e.End, at: plan.At, verdicts: domain.AppendVerdicts(nil, e.First, e.Rejections)}
		if err := s.lock(lockKey{kind: batchLock, n: int64(e.Claim.Partition)<<32 + e.First}, true); err != nil {
			return err
		}
		if _, ok := s.batches.get(row.batchKey); ok || row.first >= row.end {
			return issuing.ErrCorrupt
		}
		for _, r := range e.Rejections {
			if r.Reason == domain.PoolExhausted || r.Reason == domain.NoCodeInWindow {
				row.evidence = plan.Evidence
			}
		}
		s.batches.put(row.batchKey, row)
	}
	s.entries, s.plan = entries, plan
	return nil
}

func (s *session) moveCursors(takes []domain.Take) error {
	sorted := slices.SortedFunc(slices.Values(takes), func(a, b domain.Take) int {
		return keyOf(a.Run).compare(keyOf(b.Run))
	})
	if err := s.step("lock cursors"); err != nil {
		return err
	}
	fromFree := slices.ContainsFunc(sorted, func(t domain.Take) bool { return t.Run.Holder == 0 })
	for _, t := range sorted {
		if _, ok := s.runs.get(keyOf(t.Run)); ok {
			if fromFree && !s.db.free(lockKey{kind: runLock, run: keyOf(t.Run)}, s, true) {
				return issuing.ErrCursor // SKIP LOCKED, and counted
			}
			if err := s.lock(lockKey{kind: runLock, run: keyOf(t.Run)}, true); err != nil {
				return err
			}
		}
	}
	if err := s.step("move cursors"); err != nil {
		return err
	}
	for _, t := range sorted {
		r, ok := s.runs.get(keyOf(t.Run))
		ours := ok && r.holder == t.Run.Holder && r.next == t.Run.Next && (r.grantNo == t.Run.GrantNo || s.db.NoGrantNo) && t.Run.Next+t.N <= r.hi
		switch {
		case !ours && !s.db.NoRaise:
			return issuing.ErrCursor
		case !ours:
			continue
		}
		r.next += t.N
		if r.holder == 0 && r.next == r.hi {
			s.fold(r)
		} else {
			s.runs.put(r.runKey, r)
		}
	}
	return nil
}

func keyOf(r *domain.Run) runKey { return runKey{r.Lot.Pool, r.Lot.No, r.Lo} }

func (s *session) fence(entries []issuing.Entry) error {
	if err := s.step("fence"); err != nil {
		return err
	}
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b issuing.Entry) int { return cmp.Compare(a.Claim.Partition, b.Claim.Partition) })
	for _, e := range sorted {
		if err := s.lock(lockKey{kind: partitionLock, n: int64(e.Claim.Partition)}, true); err != nil {
			return err
		}
	}
	for _, e := range sorted {
		p, ok := s.partitions.get(e.Claim.Partition)
		if !ok || (p.epoch != e.Claim.Epoch || p.batchNo != e.Claim.BatchNo) && !s.db.NoFence {
			return issuing.ErrFenced
		}
		p.batchNo++
		p.nextOffset = max(p.nextOffset, e.End)
		s.partitions.put(p.key, p)
	}
	return nil
}

// insert adds the issuances, in the order of their requests. As PostgreSQL does, it
// looks at the primary key first, and waits for whoever is about to take an entry.
func (s *session) insert(plan *domain.Plan) error {
	if err := s.step("insert"); err != nil {
		return err
	}
	issues := slices.SortedFunc(slices.Values(plan.Issues), func(a, b domain.NewIssue) int {
		return cmp.Or(cmp.Compare(a.Issuance.Pool.Key, b.Issuance.Pool.Key), strings.Compare(a.Issuance.RequestID, b.Issuance.RequestID))
	})
	for _, i := range issues {
		t := plan.Takes[i.Take]
		if err := s.add(issueRow{
			place:   place{t.Run.Lot.Pool, t.Run.Lot.No, t.Run.Next + i.At},
			request: i.Issuance.RequestID, customer: i.Issuance.CustomerID, context: string(i.Issuance.Context),
			at: plan.At, from: t.ValidFrom, until: t.ValidUntil,
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) add(row issueRow) error {
	if s.db.poison(&row) {
		return issuing.ErrPoison
	}
	key := domain.Key{Pool: row.pool, RequestID: row.request}
	if !s.db.NoPlaceKey {
		if err := s.lock(lockKey{kind: placeLock, run: runKey{row.pool, row.lot, row.seq}}, true); err != nil {
			return err
		}
		if _, ok := s.issued.get(row.place); ok {
			s.db.alarm("a code in hand is issued already: %v", row.place)
			return issuing.ErrPlaceTaken
		}
	}
	if !s.db.NoRequestKey {
		if err := s.lock(lockKey{kind: requestLock, n: int64(row.pool), id: row.request}, true); err != nil {
			return err
		}
		if _, ok := s.requests.get(key); ok {
			return issuing.ErrRaced
		}
	}
	s.issued.put(row.place, row)
	s.requests.put(key, row.place)
	return nil
}

// CommitLocked decides within the transaction.
func (s *store) CommitLocked(ctx context.Context, l issuing.Locking, decide func(issuing.Locked) issuing.Decision) error {
	detail := ""
	for _, c := range l.Claims {
		detail += fmt.Sprintf(" %d@%d", c.Number, c.Epoch)
	}
	return s.call(ctx, "commit locked", detail, true, func(b *session) error {
		seen, err := b.lockAndSee(l)
		for {
			if err != nil {
				return err
			}
			d := decide(seen)
			if len(d.HandBack) == 0 {
				if d.Plan == nil {
					return nil
				}
				if !b.holds(d.Plan) {
					return issuing.ErrCursor
				}
				b.loadTaken(d.Plan)
				if err := b.commitBatches(d.Entries, d.Plan); err != nil {
					return err
				}
				return b.commit()
			}
			if err := b.step("hand back"); err != nil {
				return err
			}
			for _, p := range b.poolRows(d.HandBack) {
				if err := b.handBack(p.Key, nil); err != nil {
					return err
				}
			}
			seen, err = b.see(l)
		}
	})
}

// holds reports whether the cursors that a plan takes from are locked, as those that
// are still the claims' own have been.
func (s *session) holds(plan *domain.Plan) bool {
	return !slices.ContainsFunc(plan.Takes, func(t domain.Take) bool {
		row, ok := s.runs.get(keyOf(t.Run))
		gone := !ok || row.holder != t.Run.Holder || !s.held[lockKey{kind: runLock, run: keyOf(t.Run)}]
		return t.Run.Holder != 0 && gone
	})
}

// lockAndSee takes every lock in the one order, and reads in later statements.
func (s *session) lockAndSee(l issuing.Locking) (seen issuing.Locked, err error) {
	if err := s.enter(l.Claims); err != nil {
		return seen, err
	}
	stale := s.db.OneStatement
	var before *tables
	if stale {
		before = s.db.data.copy()
	}
	if err := s.lockAll(l); err != nil {
		return seen, err
	}
	s.looked = s.db.event()
	if stale {
		return s.seeOf(before, l)
	}
	return s.see(l)
}

func (s *session) lockAll(l issuing.Locking) error {
	holders := make([]int32, len(l.Claims))
	for i, c := range l.Claims {
		holders[i] = c.Partition
	}
	for _, id := range slices.Sorted(slices.Values(l.Sure)) {
		if err := s.lock(lockKey{kind: nameLock, id: id}, false); err != nil {
			return err
		}
	}
	if err := s.step("lock pools"); err != nil {
		return err
	}
	ids := slices.Concat(l.Sure, l.Whole)
	for _, p := range s.poolRows(ids) {
		if s.db.NoPoolLock {
			break
		}
		if err := s.lock(lockKey{kind: poolLock, n: int64(p.Key)}, true); err != nil {
			return err
		}
	}
	if err := s.step("lock runs"); err != nil {
		return err
	}
	whole := s.poolRows(l.Whole)
	isWhole := func(pool int32) bool {
		return slices.ContainsFunc(whole, func(p poolRow) bool { return p.Key == pool })
	}
	runs := s.runs.where(func(r runRow) bool {
		return r.holder != 0 && (isWhole(r.pool) || slices.Contains(holders, r.holder) && slices.Contains(l.Cursors, r.pool))
	}, byRunKey)
	if err := s.lockRuns(runs); err != nil {
		return err
	}
	for _, p := range whole {
		if err := s.handBack(p.Key, holders); err != nil {
			return err
		}
	}
	return nil
}

// see reads what the locks guard.
func (s *session) see(l issuing.Locking) (seen issuing.Locked, err error) {
	if err := s.step("see pools"); err != nil {
		return seen, err
	}
	seen.Pools = s.poolsByID(slices.Concat(l.Sure, l.Whole))
	if err := s.step("see issuances"); err != nil {
		return seen, err
	}
	return s.seeRest(seen, l), nil
}

func (s *session) seeRest(seen issuing.Locked, l issuing.Locking) issuing.Locked {
	byKey := map[int32]*domain.Pool{}
	var keys []domain.Key
	for id, pool := range seen.Pools {
		byKey[pool.Key] = pool
		for _, r := range l.Requests[id] {
			keys = append(keys, domain.Key{Pool: pool.Key, RequestID: r})
		}
	}
	seen.Known, seen.Now = s.lookUp(keys, byKey), s.db.now()
	seen.Shelves = map[string]*domain.Shelf{}
	for _, id := range l.Whole {
		shelf := &domain.Shelf{Pool: seen.Pools[id], Locked: true, Whole: true}
		seen.Shelves[id] = shelf
		if shelf.Pool == nil {
			continue
		}
		s.layOut(shelf, len(l.Requests[id]), seen.Now)
		if p := shelf.Pool; p.Mode == domain.Ample && !p.MultiUse && s.freeStock(p.Key, s.db.now()) < s.db.scarceMark() {
			seen.Turning = append(seen.Turning, id)
		}
	}
	return seen
}

// layOut lays the free codes of a locked pool out that may be issued now, no more
// runs than there are requests, and counts the others.
func (s *session) layOut(shelf *domain.Shelf, need int, now time.Time) {
	pool := shelf.Pool.Key
	isOpen := !now.Before(shelf.Pool.IssueStart) && (shelf.Pool.IssueEnd.IsZero() || now.Before(shelf.Pool.IssueEnd))
	usable := int64(0)
	for _, r := range s.free(pool, func(w *domain.Window) bool {
		return open(w, now) || s.db.WindowInclusive && w.IssueStart.Compare(now) <= 0
	}) {
		if isOpen && len(shelf.Runs) < need {
			shelf.Runs = append(shelf.Runs, s.run(r))
			usable += r.left()
		}
	}
	for _, r := range s.runsOf(pool, func(r runRow) bool { return r.holder != 0 && !lapsed(s.window(r), now) }) {
		shelf.Others += r.left()
	}
	if usable >= int64(need) {
		return
	}
	for _, r := range s.free(pool, func(w *domain.Window) bool { return !lapsed(w, now) && (!isOpen || w.IssueStart.After(now)) }) {
		shelf.Later = min(shelf.Later+r.left(), 9e18)
	}
}

// loadTaken gives issuances from free runs their codes, which were not at hand.
func (s *session) loadTaken(plan *domain.Plan) {
	for _, i := range plan.Issues {
		if run := plan.Takes[i.Take].Run; run.Texts == nil {
			i.Issuance.Code = s.texts(run.Lot, i.Issuance.Seq, i.Issuance.Seq+1)[0]
		}
	}
}

// copy is for the bug of reading in the statement that waits.
func (t *tables) copy() *tables {
	c := newTables()
	for k, v := range t.pools {
		c.pools[k] = v
	}
	for k, v := range t.lots {
		c.lots[k] = v
	}
	for k, v := range t.runs {
		c.runs[k] = v
	}
	for k, v := range t.issued {
		c.issued[k] = v
	}
	for k, v := range t.requests {
		c.requests[k] = v
	}
	return c
}

// seeOf is see on what was committed before the wait.
func (s *session) seeOf(before *tables, l issuing.Locking) (issuing.Locked, error) {
	now := s.tx
	s.tx = before.begin()
	defer func() { s.tx = now }()
	return s.seeRest(issuing.Locked{Pools: s.poolsByID(slices.Concat(l.Sure, l.Whole))}, l), nil
}
