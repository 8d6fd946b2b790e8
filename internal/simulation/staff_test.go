package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"promopool/internal/domain"
)

// What staff do to pools: REVOKE and AMPLE_AGAIN of the protocol.

var (
	errState  = errors.New("not possible in the pool's state")
	errIssued = errors.New("the code is issued")
)

// create makes a draft.
func (s *store) create(ctx context.Context, p domain.Pool) error {
	return s.call(ctx, "create", p.ID, false, func(b *session) error {
		if err := b.step("lock name"); err != nil {
			return err
		}
		if err := b.lock(lockKey{kind: nameLock, id: p.ID}, true); err != nil {
			return err
		}
		if len(b.poolRows([]string{p.ID})) > 0 {
			return domain.ErrTaken
		}
		s.db.poolNo++
		p.Key, p.State, p.Mode, p.Version = s.db.poolNo, domain.Draft, domain.Scarce, 1
		b.pools.put(p.Key, poolRow{Pool: p})
		return b.commit()
	})
}

// withPool runs a transaction under the locks of a pool's name and its row.
func (s *store) withPool(ctx context.Context, kind, id string, named bool, work func(b *session, p poolRow) error) error {
	return s.call(ctx, kind, id, false, func(b *session) error {
		b.change = kind + " " + id
		if err := b.step("lock"); err != nil {
			return err
		}
		if named {
			if err := b.lock(lockKey{kind: nameLock, id: id}, true); err != nil {
				return err
			}
		}
		found := b.poolRows([]string{id})
		if len(found) == 0 {
			return domain.ErrNotFound
		}
		if err := b.lock(lockKey{kind: poolLock, n: int64(found[0].Key)}, true); err != nil {
			return err
		}
		if err := b.step("change"); err != nil {
			return err
		}
		p, ok := b.pools.get(found[0].Key)
		if !ok {
			return domain.ErrNotFound
		}
		if err := work(b, p); err != nil {
			return err
		}
		return b.commit()
	})
}

func (s *store) launch(ctx context.Context, id string) error {
	return s.withPool(ctx, "launch", id, true, func(b *session, p poolRow) error {
		switch p.State {
		case domain.Active:
			return nil
		case domain.Archived:
			return errState
		}
		p.State = domain.Active
		p.LaunchedAt = s.db.now()
		p.Revision, p.Version = p.Revision+1, p.Version+1
		p.Mode = domain.Scarce
		if p.MultiUse || !b.scattered(p.Key, s.db.now()) && b.freeStock(p.Key, s.db.now()) >= s.db.scarceMark() {
			p.Mode = domain.Ample
		}
		b.pools.put(p.Key, p)
		return nil
	})
}

func (s *store) archive(ctx context.Context, id string) error {
	return s.withPool(ctx, "archive", id, true, func(b *session, p poolRow) error {
		switch p.State {
		case domain.Archived:
			return nil
		case domain.Draft:
			return errState
		}
		if !s.db.NoHandBack {
			if err := b.handBack(p.Key, nil); err != nil {
				return err
			}
			p, _ = b.pools.get(p.Key)
		}
		p.State = domain.Archived
		p.ArchivedAt = s.db.now()
		p.Revision, p.Version = p.Revision+1, p.Version+1
		b.pools.put(p.Key, p)
		return nil
	})
}

// setWindow edits what takes the buffers back.
func (s *store) setWindow(ctx context.Context, id string, start, end time.Time) error {
	return s.set(ctx, "window", id, func(p *poolRow) { p.IssueStart, p.IssueEnd = start, end })
}

// setValidity does, too.
func (s *store) setValidity(ctx context.Context, id string, days int) error {
	return s.set(ctx, "validity", id, func(p *poolRow) { p.Validity = domain.Period{Days: days} })
}

func (s *store) set(ctx context.Context, kind, id string, edit func(*poolRow)) error {
	return s.withPool(ctx, kind, id, true, func(b *session, p poolRow) error {
		before := p
		edit(&p)
		same := p.IssueStart.Equal(before.IssueStart) && p.IssueEnd.Equal(before.IssueEnd) && p.Validity == before.Validity
		p.Version++
		b.pools.put(p.Key, p)
		if p.State != domain.Active || same || s.db.NoHandBack {
			return nil
		}
		return b.handBack(p.Key, nil)
	})
}

// importCodes is a chunk of an import: new codes in a lot of their own, or behind
// the last of a lot that is there, whose size is remembered then.
func (s *store) importCodes(ctx context.Context, id string, w domain.Window, texts func(lot int32, first int64) []string, lot int32, size int64) (made int32, err error) {
	err = s.withPool(ctx, "import", id, false, func(b *session, p poolRow) error {
		if made = lot; lot == 0 {
			s.db.lotNo++ // and is not taken back
			made = s.db.lotNo
		}
		if p.State == domain.Archived {
			return errState
		}
		p.grantNo, p.Revision = p.grantNo+1, p.Revision+1
		more := texts(made, size)
		n := int64(len(more))
		row := lotRow{lotKey: lotKey{p.Key, made}, window: w, revision: p.Revision}
		longer := false
		if lot != 0 {
			var ok bool
			if row, ok = b.lots.get(lotKey{p.Key, lot}); !ok || row.size != size || p.MultiUse {
				return errState
			}
			runs := b.runsOf(p.Key, func(r runRow) bool { return r.lot == lot })
			if len(runs) > 0 {
				last := runs[len(runs)-1]
				if longer = last.holder == 0 && last.hi == size; longer {
					last.hi, last.grantNo = last.hi+n, p.grantNo
					b.runs.put(last.runKey, last)
				}
			}
		}
		row.size += n
		row.texts = append(row.texts[:len(row.texts):len(row.texts)], more...)
		b.lots.put(row.lotKey, row)
		if !longer {
			hi := size + n
			if p.MultiUse {
				hi = 9000000000000000
			}
			b.runs.put(runKey{p.Key, made, size}, runRow{runKey: runKey{p.Key, made, size}, next: size, hi: hi, grantNo: p.grantNo})
		}
		now := s.db.now()
		if p.Mode == domain.Scarce && (p.MultiUse || !b.scattered(p.Key, now) && b.freeStock(p.Key, now) > 2*s.db.scarceMark()) {
			p.Mode = domain.Ample
		}
		b.pools.put(p.Key, p)
		return nil
	})
	return made, err
}

// cutOut takes one number out of the run that has it still to issue.
func (s *session) cutOut(pool, lot int32, seq int64) (bool, error) {
	find := func() (found runRow, ok bool) {
		for _, r := range s.runsOf(pool, func(r runRow) bool { return r.lot == lot && r.lo <= seq }) {
			found, ok = r, true
		}
		return found, ok
	}
	r, ok := find()
	if ok && !s.db.NoRunLocks {
		before := s.patience
		s.patience = 500 * time.Millisecond
		err := s.lock(lockKey{kind: runLock, run: r.runKey}, true)
		s.patience = before
		if err != nil {
			return false, err
		}
	}
	if r, ok = find(); !ok || seq < r.next || seq >= r.hi {
		return false, nil
	}
	p, _ := s.pools.get(pool)
	p.grantNo, p.Revision = p.grantNo+1, p.Revision+1
	s.pools.put(pool, p)
	s.runs.remove(r.runKey)
	for _, e := range [][2]int64{{r.next, seq}, {seq + 1, r.hi}} {
		if e[0] < e[1] {
			s.runs.put(runKey{pool, lot, e[0]}, runRow{runKey: runKey{pool, lot, e[0]}, next: e[0], hi: e[1], holder: r.holder, grantNo: p.grantNo})
		}
	}
	l, _ := s.lots.get(lotKey{pool, lot})
	l.done += r.next - r.lo
	s.lots.put(l.lotKey, l)
	return true, nil
}

// block withdraws a code of a single-use pool; one that is issued stays so.
func (s *store) block(ctx context.Context, id string, lot int32, seq int64) error {
	return s.withPool(ctx, "block", id, false, func(b *session, p poolRow) error {
		if p.State == domain.Draft || p.MultiUse {
			return errState
		}
		cut, err := b.cutOut(p.Key, lot, seq)
		if err != nil || !cut {
			return err
		}
		l, _ := b.lots.get(lotKey{p.Key, lot})
		l.withdrawn++
		b.lots.put(l.lotKey, l)
		b.withdrawn.put(place{p.Key, lot, seq}, true)
		return nil
	})
}

// issueCode issues one very code by hand.
func (s *store) issueCode(ctx context.Context, id string, lot int32, seq int64, r domain.Request) error {
	return s.withPool(ctx, "issue by hand", id, false, func(b *session, p poolRow) error {
		key := domain.Key{Pool: p.Key, RequestID: r.RequestID}
		if _, ok := b.requests.get(key); ok {
			return nil // a repeat
		}
		_, issued := b.issued.get(place{p.Key, lot, seq})
		switch {
		case p.State != domain.Active || p.MultiUse:
			return errState
		case issued:
			return errIssued
		}
		if cut, err := b.cutOut(p.Key, lot, seq); err != nil || !cut {
			return cmpErr(err, errIssued)
		}
		l, _ := b.lots.get(lotKey{p.Key, lot})
		l.done++
		b.lots.put(l.lotKey, l)
		now := s.db.now()
		p, _ = b.pools.get(p.Key)
		if !open(&l.window, now) || now.Before(p.IssueStart) || !p.IssueEnd.IsZero() && !now.Before(p.IssueEnd) {
			return fmt.Errorf("outside its window: %w", errState)
		}
		from, until := p.Valid(&domain.Lot{Window: l.window}, now)
		return b.add(issueRow{place: place{p.Key, lot, seq}, request: r.RequestID, customer: r.CustomerID, at: now, from: from, until: until})
	})
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
