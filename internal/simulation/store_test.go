package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// store is the model as the issuer knows it: each method is the transactions that
// package postgres makes of it, lock by lock and statement by statement.
type store struct {
	db *db
	// call runs a transaction on a backend, as far from its client as a network is.
	call func(ctx context.Context, kind, detail string, interactive bool, work func(*session) error) error
}

var _ issuing.Store = (*store)(nil)

// takeoverTries bounds how often a claim ends whoever blocks it.
const takeoverTries = 5

func (s *store) Claim(ctx context.Context, stream string, number int, worker string, partitions int) (issuing.Claim, error) {
	for try := 1; ; try++ {
		var p partitionRow
		err := s.call(ctx, "claim", fmt.Sprint(number), false, func(b *session) error {
			if err := b.step("claim"); err != nil {
				return err
			}
			key := s.db.partitionKey(stream, number)
			if err := b.lock(lockKey{kind: partitionLock, n: int64(key)}, true); err != nil {
				return err
			}
			var ok bool
			if p, ok = b.partitions.get(key); !ok {
				p = partitionRow{key: key, stream: stream, number: number}
			}
			p.epoch++
			p.worker = worker
			b.partitions.put(key, p)
			return b.commit()
		})
		if err == nil {
			c := issuing.Claim{Stream: stream, Number: number, Partition: p.key, Epoch: p.epoch, BatchNo: p.batchNo, NextOffset: p.nextOffset}
			return c, s.EndPredecessors(ctx, c)
		}
		if !errors.Is(err, issuing.ErrBlocked) || try == takeoverTries {
			return issuing.Claim{}, err
		}
		now, err := s.partition(ctx, stream, number)
		if err != nil {
			return issuing.Claim{}, err
		}
		if err := s.EndPredecessors(ctx, issuing.Claim{Partition: now.key, Epoch: now.epoch + 1}); err != nil {
			return issuing.Claim{}, err
		}
	}
}

// partitionKey is the key of a partition, which it has before its row is there:
// PostgreSQL's insert waits for one under way just as an update does.
func (d *db) partitionKey(stream string, number int) int32 { return int32(number) + 1 }

func (s *store) partition(ctx context.Context, stream string, number int) (p partitionRow, err error) {
	err = s.call(ctx, "partition", fmt.Sprint(number), false, func(b *session) error {
		if err := b.step("read"); err != nil {
			return err
		}
		p, _ = b.partitions.get(s.db.partitionKey(stream, number))
		return nil
	})
	return p, err
}

func (s *store) Resolve(ctx context.Context, c issuing.Claim, worker string) (issuing.Claim, error) {
	for try := 1; ; try++ {
		var p partitionRow
		found := false
		err := s.call(ctx, "resolve", fmt.Sprint(c.Number), false, func(b *session) error {
			if err := b.step("resolve"); err != nil {
				return err
			}
			if p, _ = b.partitions.get(c.Partition); p.epoch != c.Epoch || p.worker != worker {
				return nil
			}
			if err := b.lock(lockKey{kind: partitionLock, n: int64(c.Partition)}, true); err != nil {
				return err
			}
			if p, _ = b.partitions.get(c.Partition); p.epoch != c.Epoch || p.worker != worker {
				return nil
			}
			found = true
			p.epoch++
			b.partitions.put(p.key, p)
			return b.commit()
		})
		switch {
		case err == nil && !found:
			return s.resolveAgain(ctx, c, worker)
		case err == nil:
			c.Epoch, c.BatchNo, c.NextOffset = p.epoch, p.batchNo, p.nextOffset
			return c, s.EndPredecessors(ctx, c)
		case !errors.Is(err, issuing.ErrBlocked) || try == takeoverTries:
			return issuing.Claim{}, err
		}
		if err := s.EndPredecessors(ctx, issuing.Claim{Partition: c.Partition, Epoch: c.Epoch + 1}); err != nil {
			return issuing.Claim{}, err
		}
	}
}

func (s *store) resolveAgain(ctx context.Context, c issuing.Claim, worker string) (issuing.Claim, error) {
	p, err := s.partition(ctx, c.Stream, c.Number)
	if err != nil {
		return issuing.Claim{}, err
	}
	if p.worker != worker || p.epoch == c.Epoch {
		return issuing.Claim{}, issuing.ErrFenced
	}
	c.Epoch = p.epoch
	return s.Resolve(ctx, c, worker)
}

func (s *store) CloseGate(ctx context.Context, c issuing.Claim, offset int64, reason string) error {
	return s.call(ctx, "close gate", fmt.Sprint(c.Number), false, func(b *session) error {
		if err := b.step("close"); err != nil {
			return err
		}
		if p, _ := b.partitions.get(c.Partition); p.epoch != c.Epoch || p.nextOffset > offset {
			return issuing.ErrFenced
		}
		s.db.data.gate = cmp.Or(s.db.data.gate, reason)
		return nil
	})
}

func (s *store) EndPredecessors(ctx context.Context, c issuing.Claim) error {
	return s.call(ctx, "end predecessors", fmt.Sprint(c.Number), false, func(b *session) error {
		if err := b.step("end"); err != nil || s.db.EndNobody {
			return err
		}
		for other := range s.db.sessions {
			for _, m := range other.marks {
				if m.partition == c.Partition && m.epoch < c.Epoch {
					other.end()
					break
				}
			}
		}
		return nil
	})
}

func (s *store) Ranges(ctx context.Context, partition int32, position int64, atMost int) (ranges []domain.Range, err error) {
	err = s.read(ctx, "ranges", fmt.Sprint(partition, " ", position), func(b *session) error {
		rows := b.batches.where(func(r batchRow) bool { return r.partition == partition && r.end > position },
			func(a, b batchRow) int { return cmp.Compare(a.first, b.first) })
		for _, r := range rows[:min(len(rows), atMost)] {
			rejections, err := domain.ParseVerdicts(r.verdicts, r.first)
			if err != nil {
				return fmt.Errorf("%w: %w", issuing.ErrCorrupt, err)
			}
			ranges = append(ranges, domain.Range{First: r.first, End: r.end, DecidedAt: r.at, Rejections: rejections})
		}
		return nil
	})
	return ranges, err
}

// read is one statement that changes nothing.
func (s *store) read(ctx context.Context, kind, detail string, work func(*session) error) error {
	return s.call(ctx, kind, detail, false, func(b *session) error {
		if err := b.step("read"); err != nil {
			return err
		}
		return work(b)
	})
}

func (s *store) PoolsByID(ctx context.Context, ids []string) (pools map[string]*domain.Pool, err error) {
	err = s.read(ctx, "pools", strings.Join(ids, ","), func(b *session) error {
		pools = b.poolsByID(ids)
		return nil
	})
	return pools, err
}

func (s *session) poolsByID(ids []string) map[string]*domain.Pool {
	pools := map[string]*domain.Pool{}
	for _, p := range s.poolRows(ids) {
		pools[p.ID] = &p.Pool
	}
	return pools
}

// poolRows are the rows of pools by id, in the order of their keys.
func (s *session) poolRows(ids []string) []poolRow {
	return s.pools.where(func(p poolRow) bool { return slices.Contains(ids, p.ID) }, func(a, b poolRow) int { return cmp.Compare(a.Key, b.Key) })
}

func (s *store) Held(ctx context.Context, partition int32) (held map[string]*issuing.Stock, err error) {
	err = s.read(ctx, "held", fmt.Sprint(partition), func(b *session) error {
		held = map[string]*issuing.Stock{}
		runs := b.runs.where(func(r runRow) bool { return r.holder == partition && r.next < r.hi }, byRunKey)
		slices.SortStableFunc(runs, func(x, y runRow) int {
			v, w := b.window(x), b.window(y)
			return cmp.Or(cmp.Compare(x.pool, y.pool), compareEnds(v.IssueEnd, w.IssueEnd), compareEnds(v.AvailableTill, w.AvailableTill), x.compare(y.runKey))
		})
		for _, r := range runs {
			p, _ := b.pools.get(r.pool)
			if held[p.ID] == nil {
				held[p.ID] = &issuing.Stock{Pool: &p.Pool}
			}
			held[p.ID].Runs = append(held[p.ID].Runs, b.run(r))
		}
		return nil
	})
	return held, err
}

func (s *session) window(r runRow) *domain.Window {
	l, _ := s.lots.get(lotKey{r.pool, r.lot})
	return &l.window
}

func (s *session) run(r runRow) *domain.Run {
	l, _ := s.lots.get(lotKey{r.pool, r.lot})
	return &domain.Run{Lot: &domain.Lot{Pool: r.pool, No: r.lot, Size: l.size, Window: l.window}, Lo: r.lo, Next: r.next, Hi: r.hi, GrantNo: r.grantNo, Holder: r.holder}
}

// Refill: the grant is a transaction, what is read after it is not in it.
func (s *store) Refill(ctx context.Context, partition int32, pool *domain.Pool, want int64) (issuing.Stock, error) {
	var granted []runRow
	err := s.call(ctx, "refill", fmt.Sprint(partition, " ", pool.ID), false, func(b *session) (err error) {
		if granted, err = b.refill(partition, pool.Key, want); err != nil {
			return err
		}
		return b.commit()
	})
	if err != nil {
		return issuing.Stock{}, err
	}
	pools, err := s.PoolsByID(ctx, []string{pool.ID})
	if err != nil {
		return issuing.Stock{}, err
	}
	st := issuing.Stock{Pool: cmp.Or(pools[pool.ID], pool)}
	if len(granted) == 0 {
		return st, nil
	}
	err = s.read(ctx, "lots", fmt.Sprint(partition, " ", pool.ID), func(b *session) error {
		for _, g := range granted {
			st.Runs = append(st.Runs, b.run(g))
		}
		return nil
	})
	return st, err
}

// refill is the function of that name.
func (s *session) refill(partition, pool int32, want int64) ([]runRow, error) {
	if err := s.step("lock pool"); err != nil {
		return nil, err
	}
	if err := s.lock(lockKey{kind: poolLock, n: int64(pool)}, true); err != nil {
		return nil, err
	}
	if err := s.step("grant"); err != nil {
		return nil, err
	}
	p, ok := s.pools.get(pool)
	if !ok || p.State != domain.Active || p.Mode != domain.Ample {
		return nil, nil
	}
	for _, r := range s.runsOf(pool, func(r runRow) bool { return r.holder == partition && r.next == r.hi }) {
		if !s.lockedByOthers(r.runKey) {
			s.fold(r)
		}
	}
	now := s.db.now()
	if s.scattered(pool, now) {
		if err := s.handBack(pool, nil); err != nil {
			return nil, err
		}
		p, _ = s.pools.get(pool)
		p.Mode = domain.Scarce
		s.pools.put(pool, p)
		return nil, nil
	}
	if !p.MultiUse {
		want = min(want, s.freeStock(pool, now)/(2*s.db.partitions))
	}
	if want <= 0 {
		return nil, nil
	}
	return s.grant(p, partition, want, now), nil
}

// grant splits the heads of free runs off for a partition.
func (s *session) grant(p poolRow, partition int32, want int64, now time.Time) (granted []runRow) {
	stamp := p.grantNo + 1
	for _, r := range s.free(p.Key, func(w *domain.Window) bool { return open(w, now) }) {
		n := min(want, r.left())
		rest := r
		r.hi, r.holder, r.grantNo = r.next+n, partition, stamp
		s.runs.put(r.runKey, r)
		if r.hi < rest.hi {
			rest.lo, rest.next, rest.grantNo = r.hi, r.hi, stamp
			s.runs.put(rest.runKey, rest)
		}
		granted = append(granted, r)
		if want -= n; want == 0 {
			break
		}
	}
	if len(granted) > 0 {
		p.grantNo = stamp
		s.pools.put(p.Key, p)
	}
	return granted
}

func (s *session) lockedByOthers(k runKey) bool {
	return !s.db.free(lockKey{kind: runLock, run: k}, s, true)
}

// handBack is the function hand_back: holders nil means everybody.
func (s *session) handBack(pool int32, holders []int32) error {
	theirs := func(r runRow) bool { return r.holder != 0 && (holders == nil || slices.Contains(holders, r.holder)) }
	if !s.db.NoRunLocks {
		if err := s.lockRuns(s.runsOf(pool, theirs)); err != nil {
			return err
		}
	}
	p, _ := s.pools.get(pool)
	touched := map[int32]bool{}
	stamp := p.grantNo + 1
	for _, r := range s.runsOf(pool, theirs) {
		if r.holder = 0; !s.db.NoStamp {
			r.grantNo = stamp
		}
		s.runs.put(r.runKey, r)
		touched[r.lot] = true
	}
	if len(touched) > 0 {
		p.grantNo = stamp
		s.tidy(pool, touched, s.lockedByOthers)
	}
	s.setMode(&p, holders == nil)
	s.pools.put(pool, p)
	return nil
}

// setMode turns a pool scarce, where everything was handed back, or ample.
func (s *session) setMode(p *poolRow, whole bool) {
	now := s.db.now()
	free := s.freeStock(p.Key, now)
	switch {
	case p.Mode == domain.Ample && !p.MultiUse && whole && free < s.db.scarceMark():
		p.Mode = domain.Scarce
	case p.Mode == domain.Scarce && !s.scattered(p.Key, now) && (p.MultiUse || free > 2*s.db.scarceMark()):
		p.Mode = domain.Ample
	}
}

func (s *session) lockRuns(runs []runRow) error {
	for _, r := range runs {
		if err := s.lock(lockKey{kind: runLock, run: r.runKey}, true); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) GiveBack(ctx context.Context, partition int32, pool int32) error {
	return s.call(ctx, "give back", fmt.Sprint(partition, " ", pool), false, func(b *session) error {
		if err := b.step("lock pool"); err != nil {
			return err
		}
		if err := b.lock(lockKey{kind: poolLock, n: int64(pool)}, true); err != nil {
			return err
		}
		if err := b.handBack(pool, []int32{partition}); err != nil {
			return err
		}
		return b.commit()
	})
}

func (s *store) Texts(ctx context.Context, runs []*domain.Run) (texts [][]string, err error) {
	if len(runs) == 0 {
		return nil, nil
	}
	r := runs[0]
	err = s.read(ctx, "texts", fmt.Sprint(r.Lot.Pool, " ", r.Lot.No, " ", r.Lo, " ", r.GrantNo), func(b *session) error {
		texts = nil
		for _, r := range runs {
			if now, ok := b.runs.get(runKey{r.Lot.Pool, r.Lot.No, r.Lo}); !ok || now.grantNo != r.GrantNo {
				return issuing.ErrCursor
			}
			texts = append(texts, b.texts(r.Lot, r.Next, r.Hi))
		}
		return nil
	})
	return texts, err
}

func (s *session) texts(l *domain.Lot, from, till int64) []string {
	row, _ := s.lots.get(lotKey{l.Pool, l.No})
	texts := make([]string, 0, till-from)
	for n := from; n < till; n++ {
		texts = append(texts, row.texts[n%row.size])
	}
	return texts
}

func (s *store) LookUp(ctx context.Context, keys []domain.Key, pools map[int32]*domain.Pool) (known map[domain.Key]*domain.Issuance, now time.Time, err error) {
	detail := ""
	if len(keys) > 0 {
		detail = fmt.Sprint(keys[0].Pool, keys[0].RequestID, len(keys))
	}
	err = s.read(ctx, "look up", detail, func(b *session) error {
		known, now = b.lookUp(keys, pools), s.db.now()
		return nil
	})
	return known, now, err
}

func (s *session) lookUp(keys []domain.Key, pools map[int32]*domain.Pool) map[domain.Key]*domain.Issuance {
	known := map[domain.Key]*domain.Issuance{}
	for _, k := range keys {
		at, ok := s.requests.get(k)
		if !ok {
			continue
		}
		i, _ := s.issued.get(at)
		l, _ := s.lots.get(lotKey{i.pool, i.lot})
		known[k] = &domain.Issuance{
			Pool: pools[k.Pool], Place: domain.Place{Lot: i.lot, Seq: i.seq}, Code: l.texts[i.seq%l.size],
			RequestID: i.request, CustomerID: i.customer, Context: bytesOf(i.context),
			IssuedAt: i.at, ValidFrom: i.from, ValidUntil: i.until,
		}
	}
	return known
}

func bytesOf(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func (s *store) Erased(context.Context, issuing.Claim, []string) (map[string]issuing.Erased, error) {
	return nil, nil // nobody is: customers are not modelled
}
