package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// IssueCode gives one very code of a pool to a request, wherever it is. A repeat
// of the request, whichever way it came, gets the same; the event is published
// by the outbox. *domain.Denied, domain.ErrNotFound where there is no such pool
// or code.
func (s *Store) IssueCode(ctx context.Context, who domain.Actor, code string, r domain.Request, traceparent string) (domain.Issuance, error) {
	var done *domain.Issuance
	err := s.change(ctx, crashpoint.IssueByHand, func(q *db.Queries, _ bool) error {
		h, err := s.beginHandout(ctx, q, r)
		if err != nil {
			return err
		}
		found, err := s.findCode(ctx, q, h.pool.Key, code)
		if err != nil {
			return orNotFound(err)
		}
		if h.known != nil {
			done, err = h.repeat(found)
			return err
		}
		done, err = h.issueFound(ctx, who, code, found)
		if denied := (*domain.Denied)(nil); errors.As(err, &denied) {
			// By now a batch that was in flight may have issued the very request.
			if missed := h.look(ctx); missed != nil || h.known == nil {
				return cmp.Or(missed, err)
			}
			done, err = h.repeat(found)
			return err
		}
		if err != nil {
			return err
		}
		return h.tell(ctx, done, traceparent)
	})
	return issuanceOf(done, err)
}

// IssueNext gives a request the next code of a pool, as over Kafka: the first
// expiring of those that are free, or of all, when only partitions have some.
// Otherwise as IssueCode.
func (s *Store) IssueNext(ctx context.Context, who domain.Actor, r domain.Request, traceparent string) (domain.Issuance, error) {
	var done *domain.Issuance
	err := s.change(ctx, crashpoint.IssueByHand, func(q *db.Queries, _ bool) error {
		h, err := s.beginHandout(ctx, q, r)
		if err != nil {
			return err
		}
		plan, err := h.decide(ctx)
		if err != nil {
			return err
		}
		o := &plan.Outcomes[0][0]
		switch done = o.Issue; o.Verdict {
		case domain.Rejected:
			return domain.DeniedFor(o.Reason)
		case domain.Repeated:
			return nil
		}
		if err := loadTaken(ctx, q, plan); err != nil {
			return err
		}
		params, err := commitParams(nil, plan)
		if err != nil {
			return err
		}
		if err := q.CommitBatches(ctx, params); err != nil {
			return againByHand(err)
		}
		number := done.Seq
		if h.pool.MultiUse {
			number %= plan.Takes[0].Run.Lot.Size
		}
		if err := h.q.AddCodeHistory(ctx, db.AddCodeHistoryParams{
			Pool: h.pool.Key, Lot: done.Lot, Seq: number, At: stamp(done.IssuedAt), Actor: string(who), Action: string(domain.CodeWasIssued), RequestID: &done.RequestID,
		}); err != nil {
			return err
		}
		return h.tell(ctx, done, traceparent)
	})
	return issuanceOf(done, err)
}

func issuanceOf(done *domain.Issuance, err error) (domain.Issuance, error) {
	if err != nil {
		return domain.Issuance{}, err
	}
	return *done, nil
}

// handout is the transaction of one issue by hand. It holds the pool's lock.
type handout struct {
	store *Store
	q     *db.Queries
	ask   domain.Request
	pool  domain.Pool
	known *domain.Issuance // what the request has already; nil: nothing
}

// beginHandout locks the pool and looks for a stored issuance of the request: one
// that an unanswered COMMIT has left is found like any other.
func (s *Store) beginHandout(ctx context.Context, q *db.Queries, r domain.Request) (*handout, error) {
	pool, err := lockPool(ctx, q, r.PoolID, 0)
	if err != nil {
		return nil, err
	}
	h := &handout{store: s, q: q, ask: r, pool: pool}
	return h, h.look(ctx)
}

// look looks for a stored issuance of the request.
func (h *handout) look(ctx context.Context) error {
	rows, err := h.q.LookUp(ctx, db.LookUpParams{Pools: []int32{h.pool.Key}, Requests: []string{h.ask.RequestID}})
	if err == nil && len(rows) > 0 {
		h.known, err = h.store.knownIssue(ctx, h.q, &h.pool, h.key(), rows[0])
	}
	return err
}

func (h *handout) key() domain.Key {
	return domain.Key{Pool: h.pool.Key, RequestID: h.ask.RequestID}
}

// repeat is the answer to a request that has a code already, and names the one
// that was found.
func (h *handout) repeat(found db.FindCodeRow) (*domain.Issuance, error) {
	number := h.known.Seq
	if h.pool.MultiUse {
		number %= found.Lot.Size
	}
	if !h.known.IssuedTo(h.ask.CustomerID) || h.known.Lot != found.Lot.Lot || number != found.Seq {
		return nil, &domain.Denied{Reason: domain.DeniedConflict}
	}
	return h.known, nil
}

// issueFound issues the code that was found.
func (h *handout) issueFound(ctx context.Context, who domain.Actor, code string, found db.FindCodeRow) (*domain.Issuance, error) {
	switch {
	case h.pool.State != domain.Active:
		return nil, &domain.Denied{Reason: domain.DeniedNotActive}
	case found.IssuedAt.Valid:
		return nil, &domain.Denied{Reason: domain.DeniedIssued}
	case found.Withheld == withheldBlocked:
		return nil, &domain.Denied{Reason: domain.DeniedBlocked}
	case found.Withheld != "":
		return nil, &domain.Denied{Reason: domain.DeniedRedeemed}
	}
	lot, err := h.store.lots(h.q).of(ctx, found.Lot)
	if err != nil {
		return nil, err
	}
	taken, err := h.q.TakeCode(ctx, db.TakeCodeParams{Pool: h.pool.Key, Lot: lot.No, Seq: found.Seq})
	if err != nil {
		return nil, againByHand(err)
	}
	if taken.Seq < 0 { // by the batch in flight that we have waited for
		return nil, &domain.Denied{Reason: domain.DeniedIssued}
	}
	// By the clock after the wait: the window must be open when the code is issued.
	at := fromStamp(taken.TakenAt)
	if err := h.pool.Judge(&lot.Window, at); err != nil {
		return nil, err
	}
	issue := &domain.Issuance{
		Pool: &h.pool, Place: domain.Place{Lot: lot.No, Seq: taken.Seq}, Code: code,
		RequestID: h.ask.RequestID, CustomerID: h.ask.CustomerID, IssuedAt: at,
	}
	issue.ValidFrom, issue.ValidUntil = h.pool.Valid(lot, at)
	return issue, againByHand(h.q.AddIssuance(ctx, db.AddIssuanceParams{
		Pool: h.pool.Key, Lot: lot.No, Seq: taken.Seq, IssuedAt: taken.TakenAt, ValidFrom: stamp(issue.ValidFrom), ValidUntil: stamp(issue.ValidUntil),
		RequestID: &issue.RequestID, CustomerID: issue.CustomerID, Number: found.Seq, Actor: string(who), Action: string(domain.CodeWasIssued),
		Sketch: sketchOf([]domain.NewIssue{{Issuance: issue}}),
	}))
}

// decide takes the next code, or says why there is none: from what is free, and
// when nothing is, from what partitions hand back.
func (h *handout) decide(ctx context.Context) (*domain.Plan, error) {
	s := &domain.Shelf{Pool: &h.pool, Locked: true}
	for ; ; s.Whole = true {
		stamped, err := h.q.Now(ctx) // the waits before have made it old
		if err != nil {
			return nil, err
		}
		now := fromStamp(stamped)
		if err := h.layOut(ctx, s, now); err != nil {
			return nil, err
		}
		known := map[domain.Key]*domain.Issuance{}
		if h.known != nil {
			known[h.key()] = h.known
		}
		plan := domain.Assign(now, []domain.Batch{{Requests: []domain.Request{h.ask}, Shelves: map[string]*domain.Shelf{h.pool.ID: s}}}, known)
		if plan.Whole() {
			return &plan, nil
		}
		if err := h.q.HandBack(ctx, db.HandBackParams{Ids: []string{h.pool.ID}}); err != nil {
			return nil, err
		}
		// A batch that this has waited for may have issued the very request.
		if err := h.look(ctx); err != nil {
			return nil, err
		}
	}
}

// layOut puts the first free run on the shelf; on one that is to be whole, where
// there is none, what may be issued later.
func (h *handout) layOut(ctx context.Context, s *domain.Shelf, now time.Time) error {
	if h.known != nil || h.pool.State != domain.Active {
		return nil // it needs none
	}
	l := h.store.shelving(h.q, now)
	var err error
	if h.pool.MultiUse {
		err = l.usable(ctx, s, 1)
	} else {
		err = l.free(ctx, map[int32]*domain.Shelf{h.pool.Key: s}, map[int32]int{h.pool.Key: 1})
	}
	if err != nil || len(s.Runs) > 0 || !s.Whole {
		return err
	}
	return l.later(ctx, s)
}

// tell has the event of an issue by hand published.
func (h *handout) tell(ctx context.Context, i *domain.Issuance, traceparent string) error {
	return addEvents(ctx, h.q, domain.Event{
		Topic: domain.ToCodeOutcomes, Key: i.CustomerID, ID: domain.IssuedEventID(h.pool.ID, i.RequestID), Type: domain.TypeCodeIssued,
		At: i.IssuedAt, PoolID: h.pool.ID, Value: domain.AppendIssued(nil, i), Traceparent: traceparent,
	})
}

// errGate: whoever asks may ask again when the gate is open.
var errGate = fmt.Errorf("%w: %w", domain.ErrAway, issuing.ErrGate)

// againByHand maps what an issue by hand can run into.
func againByHand(err error) error {
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
		return err
	case pg.Code == "PP005":
		return errGate
	case pg.Code == "PP003", pg.ConstraintName == "issuances_request_key": // too old; over Kafka meanwhile
		return errAgain
	}
	return err
}

// BlockCode keeps a code from being issued and redeemed, and returns its story.
// A code that is blocked stays so. domain.ErrNotFound, domain.ErrDraft,
// domain.ErrMostBlocked.
func (s *Store) BlockCode(ctx context.Context, who domain.Actor, poolID, code, note string) (domain.CodeStory, error) {
	return s.changeCode(ctx, poolID, code, func(q *db.Queries, p *domain.Pool, found db.FindCodeRow) error {
		if found.Lot.Blocked >= domain.MostBlocked && found.Withheld == "" {
			return domain.ErrMostBlocked
		}
		_, err := q.BlockCode(ctx, db.BlockCodeParams{Pool: p.Key, Lot: found.Lot.Lot, Seq: found.Seq, Actor: string(who), Note: note})
		return err
	})
}

// UnblockCode ends the block of a code, and puts one that nobody has back at its
// place. One that is not blocked stays as it is.
func (s *Store) UnblockCode(ctx context.Context, who domain.Actor, poolID, code, note string) (domain.CodeStory, error) {
	return s.changeCode(ctx, poolID, code, func(q *db.Queries, p *domain.Pool, found db.FindCodeRow) error {
		// Before its place is given back: who reports that it was redeemed has the code's
		// lock, and says so of the place. (Of a lot for many uses runs come first.)
		if !p.MultiUse {
			if err := q.LockCodes(ctx, db.LockCodesParams{Pools: []int32{p.Key}, Lots: []int32{found.Lot.Lot}, Seqs: []int64{found.Seq}}); err != nil {
				return err
			}
		}
		_, err := q.UnblockCode(ctx, db.UnblockCodeParams{Pool: p.Key, Lot: found.Lot.Lot, Seq: found.Seq, Actor: string(who), Note: note})
		return err
	})
}

// changeCode changes a code of a launched pool, under the pool's lock, and tells
// its story afterwards, when others have the lock again.
func (s *Store) changeCode(ctx context.Context, poolID, code string, work func(*db.Queries, *domain.Pool, db.FindCodeRow) error) (domain.CodeStory, error) {
	err := s.change(ctx, crashpoint.BlockCode, func(q *db.Queries, _ bool) error {
		p, err := lockPool(ctx, q, poolID, 0)
		if err != nil {
			return err
		}
		found, err := s.findCode(ctx, q, p.Key, code)
		switch {
		case err != nil:
			return orNotFound(err)
		case p.State == domain.Draft:
			return domain.ErrDraft
		}
		return work(q, &p, found)
	})
	if err != nil {
		return domain.CodeStory{}, err
	}
	return s.Code(ctx, poolID, code)
}
