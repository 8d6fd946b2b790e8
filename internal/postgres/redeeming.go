package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
	"promopool/internal/redeeming"
)

// Redeem judges requests and makes the answers true. It locks the pools' names,
// so that no setting changes under it; the pools that a code may have to be
// withdrawn from; and the codes. What these guard it reads afterwards.
func (s *Store) Redeem(ctx context.Context, asks []redeeming.Ask) ([]domain.Judgement, error) {
	var judged []domain.Judgement
	lock := map[int32]bool{} // pools that a code may have to be withdrawn from
	err := s.change(ctx, crashpoint.Redeem, func(q *db.Queries, _ bool) error {
		c := court{store: s, q: q, asks: requests(asks)}
		err := c.open(ctx, true)
		if err == nil {
			err = c.lock(ctx, lock)
		}
		if err == nil {
			judged, err = c.judge(ctx)
		}
		if err != nil {
			return err
		}
		late := c.unlocked(judged, lock)
		s.withdrawing.note(c.pools, judged)
		if len(late) > 0 {
			// A pool's lock comes before those that we have.
			maps.Copy(lock, late)
			return errAgain
		}
		if err := c.write(ctx, judged); err != nil {
			return err
		}
		return addEvents(ctx, q, events(asks, judged)...)
	})
	return judged, redemptionError(err)
}

// CheckRedemption judges one request without locks, and stores nothing.
func (s *Store) CheckRedemption(ctx context.Context, r domain.RedemptionRequest) (domain.Redemption, error) {
	c := court{store: s, q: s.q, asks: []*domain.RedemptionRequest{&r}}
	if err := c.open(ctx, false); err != nil {
		return domain.Redemption{}, asked(err)
	}
	judged, err := c.judge(ctx)
	if err != nil {
		return domain.Redemption{}, asked(err)
	}
	return *judged[0].Redemption, nil
}

func requests(asks []redeeming.Ask) []*domain.RedemptionRequest {
	all := make([]*domain.RedemptionRequest, len(asks))
	for i := range asks {
		all[i] = &asks[i].RedemptionRequest
	}
	return all
}

// events are what the outbox has to publish.
func events(asks []redeeming.Ask, judged []domain.Judgement) []domain.Event {
	var all []domain.Event
	for i, j := range judged {
		if asks[i].Tell && !j.Repeated {
			e := j.Event()
			e.Traceparent = asks[i].Traceparent
			all = append(all, e)
		}
	}
	return all
}

// redemptionError maps what a redemption can run into.
func redemptionError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "22") || strings.HasSuffix(pg.ConstraintName, "_bounded")) {
		return fmt.Errorf("%w (%s %s)", redeeming.ErrPoison, pg.Code, pg.ConstraintName) // without the detail: it shows values
	}
	return err
}

// court is one transaction that judges redemptions.
type court struct {
	store  *Store
	q      *db.Queries
	asks   []*domain.RedemptionRequest
	pools  map[string]*domain.Pool
	places map[domain.CodeKey]domain.Place
}

// open reads the pools, under their names' locks where something will be stored,
// and finds the codes.
func (c *court) open(ctx context.Context, locked bool) error {
	ids := map[string]bool{}
	for _, r := range c.asks {
		ids[r.PoolID] = true
	}
	names := slices.Sorted(maps.Keys(ids))
	if locked {
		if err := c.q.LockNames(ctx, names); err != nil {
			return err
		}
	}
	rows, err := c.q.PoolsByID(ctx, names)
	if err != nil {
		return err
	}
	c.pools = make(map[string]*domain.Pool, len(rows))
	for _, row := range rows {
		pool, err := poolOf(row.Pool, row.CampaignID)
		if err != nil {
			return err
		}
		c.pools[pool.ID] = &pool
	}
	return c.place(ctx)
}

// launched is the pool of a request, nil where there is none that has codes to
// redeem.
func (c *court) launched(r *domain.RedemptionRequest) *domain.Pool {
	if p := c.pools[r.PoolID]; p != nil && p.State != domain.Draft {
		return p
	}
	return nil
}

// place finds where the codes lie.
func (c *court) place(ctx context.Context) error {
	c.places = map[domain.CodeKey]domain.Place{}
	var arg db.CodePlacesParams
	var keys []domain.CodeKey
	sought := map[domain.CodeKey]bool{}
	for _, r := range c.asks {
		k := domain.CodeKey{PoolID: r.PoolID, Code: r.CleanCode()}
		if p := c.launched(r); p != nil && k.Code != "" && !sought[k] {
			sought[k] = true
			keys = append(keys, k)
			arg.Pools, arg.Codes = append(arg.Pools, p.Key), append(arg.Codes, k.Code)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := c.q.CodePlaces(ctx, arg)
	if err != nil {
		return err
	}
	for _, r := range rows {
		c.places[keys[r.Idx-1]] = domain.Place{Lot: r.Lot, Seq: r.Seq}
	}
	return c.placeGenerated(ctx, keys)
}

// placeGenerated finds codes that are stored nowhere by the numbers that their
// texts mean.
func (c *court) placeGenerated(ctx context.Context, keys []domain.CodeKey) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k domain.CodeKey) bool { _, ok := c.places[k]; return ok })
	if len(keys) == 0 {
		return nil
	}
	pools := make([]int32, len(keys))
	for i, k := range keys {
		pools[i] = c.pools[k.PoolID].Key
	}
	rows, err := c.q.GeneratorsOfPools(ctx, pools)
	if err != nil {
		return err
	}
	of := map[int32][]pgtype.UUID{}
	for _, r := range rows {
		of[r.Pool] = append(of[r.Pool], r.Generator)
	}
	var arg db.GeneratedPlacesParams
	var found []domain.CodeKey
	for i, k := range keys {
		for _, id := range of[pools[i]] {
			generator, err := c.store.generators.of(ctx, c.q, pools[i], id)
			if err != nil {
				return err
			}
			// Its patterns have no text in common: no other can have it.
			if number, ok := generator.Number(k.Code); ok {
				arg.Pools, arg.Generators, arg.Numbers = append(arg.Pools, pools[i]), append(arg.Generators, id), append(arg.Numbers, number)
				found = append(found, k)
				break
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	placed, err := c.q.GeneratedPlaces(ctx, arg)
	for _, r := range placed {
		c.places[found[r.Idx-1]] = domain.Place{Lot: r.Lot, Seq: r.Seq}
	}
	return err
}

// lock locks what the judgement stands on: the pools that codes may leave, their
// runs, and the codes. Which pools these are is seen by judging without locks where
// the last codes were such; elsewhere afterwards, and then all is done again.
func (c *court) lock(ctx context.Context, pools map[int32]bool) error {
	if c.mayWithdraw() {
		judged, err := c.judge(ctx)
		if err != nil {
			return err
		}
		maps.Copy(pools, c.unlocked(judged, nil))
	}
	var locked []int32
	for _, p := range c.pools {
		if pools[p.Key] {
			locked = append(locked, p.Key)
		}
	}
	if len(locked) > 0 {
		if err := c.q.LockPoolsByKey(ctx, locked); err != nil {
			return err
		}
		// Until then codes may have moved.
		if err := c.place(ctx); err != nil {
			return err
		}
		var runs db.LockRunsOfParams
		for k, at := range c.places {
			if p := c.pools[k.PoolID]; pools[p.Key] {
				runs.Pools, runs.Lots, runs.Seqs = append(runs.Pools, p.Key), append(runs.Lots, at.Lot), append(runs.Seqs, at.Seq)
			}
		}
		if err := c.q.LockRunsOf(ctx, runs); err != nil {
			return err
		}
	}
	return c.lockCodes(ctx)
}

// lockCodes locks the codes. One that moved to other dates meanwhile was nobody's
// then and may be somebody's now: it is looked for again.
func (c *court) lockCodes(ctx context.Context) error {
	if len(c.places) == 0 {
		return nil
	}
	var arg db.LockCodesParams
	for k, at := range c.places {
		arg.Pools, arg.Lots, arg.Seqs = append(arg.Pools, c.pools[k.PoolID].Key), append(arg.Lots, at.Lot), append(arg.Seqs, at.Seq)
	}
	if err := c.q.LockCodes(ctx, arg); err != nil {
		return err
	}
	before := c.places
	if err := c.place(ctx); err != nil {
		return err
	}
	if !maps.Equal(before, c.places) {
		return errAgain
	}
	return nil
}

// mayWithdraw reports whether a request is likely to be for a code that nobody has
// and that leaves the stock by it.
func (c *court) mayWithdraw() bool {
	for k := range c.places {
		p := c.pools[k.PoolID]
		if c.store.withdrawing.has(p.Key) && p.State == domain.Active && !p.MultiUse && (!p.CheckIssued || p.Processing == domain.External) {
			return true
		}
	}
	return false
}

// withdrawing are the pools whose last redemptions had a code that left the stock by
// it. Most pools have none: their codes are issued before they are redeemed.
type withdrawing struct{ pools sync.Map }

func (w *withdrawing) has(pool int32) bool { _, ok := w.pools.Load(pool); return ok }

// note notes what redemptions of pools came to.
func (w *withdrawing) note(pools map[string]*domain.Pool, judged []domain.Judgement) {
	some := map[int32]bool{}
	for _, j := range judged {
		if j.Withdraw {
			some[j.Pool.Key] = true
		}
	}
	for _, p := range pools {
		switch {
		case some[p.Key]:
			w.pools.Store(p.Key, nil)
		case w.has(p.Key):
			w.pools.Delete(p.Key)
		}
	}
}

// unlocked are the pools that codes leave and that are not among the locked.
func (c *court) unlocked(judged []domain.Judgement, locked map[int32]bool) map[int32]bool {
	pools := map[int32]bool{}
	for _, j := range judged {
		if j.Withdraw && !locked[j.Pool.Key] {
			pools[j.Pool.Key] = true
		}
	}
	return pools
}

// judge reads the facts and judges by them.
func (c *court) judge(ctx context.Context) ([]domain.Judgement, error) {
	facts, err := c.facts(ctx)
	if err != nil {
		return nil, err
	}
	judged := make([]domain.Judgement, len(c.asks))
	for i, r := range c.asks {
		judged[i] = facts.Judge(r)
	}
	return judged, nil
}

// write stores what is new.
func (c *court) write(ctx context.Context, judged []domain.Judgement) error {
	fresh := make([]domain.Judgement, 0, len(judged))
	for _, j := range judged {
		if !j.Repeated {
			fresh = append(fresh, j)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.SortFunc(fresh, func(a, b domain.Judgement) int {
		return cmp.Or(cmp.Compare(c.key(a), c.key(b)), strings.Compare(a.PoolID, b.PoolID), strings.Compare(a.RedemptionID, b.RedemptionID))
	})
	arg := db.CommitRedemptionsParams{Now: stamp(fresh[0].DecidedAt)}
	for _, j := range fresh {
		c.add(&arg, j)
	}
	err := c.q.CommitRedemptions(ctx, arg)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return errAgain // another has judged the same meanwhile
	}
	return err
}

// key orders redemptions by pool.
func (c *court) key(j domain.Judgement) int32 {
	if j.Pool == nil {
		return 0
	}
	return j.Pool.Key
}

func (c *court) add(arg *db.CommitRedemptionsParams, j domain.Judgement) {
	r := &j.RedemptionRequest
	if j.Reason == domain.RedemptionConflict || c.launched(r) == nil {
		content := []byte{}
		if j.Reason == domain.RedemptionConflict {
			sum := r.Content()
			content = sum[:]
		}
		arg.FPool, arg.FID, arg.FContent = append(arg.FPool, r.PoolID), append(arg.FID, r.RedemptionID), append(arg.FContent, content)
		arg.FCode, arg.FCustomer, arg.FOrder = append(arg.FCode, r.Code), append(arg.FCustomer, r.CustomerID), append(arg.FOrder, r.OrderID)
		arg.FOccurred, arg.FContext, arg.FReason = append(arg.FOccurred, stamp(r.OccurredAt)), append(arg.FContext, r.Context), append(arg.FReason, int32(j.Reason))
		return
	}
	if j.Withdraw {
		arg.WPool, arg.WLot, arg.WSeq = append(arg.WPool, j.Pool.Key), append(arg.WLot, j.Place.Lot), append(arg.WSeq, j.Place.Seq)
	}
	arg.RPool, arg.RID, arg.RCode = append(arg.RPool, j.Pool.Key), append(arg.RID, r.RedemptionID), append(arg.RCode, r.Code)
	arg.RLot, arg.RSeq = append(arg.RLot, j.Place.Lot), append(arg.RSeq, j.Place.Seq) // lots are numbered from 1
	arg.RCustomer, arg.ROrder = append(arg.RCustomer, r.CustomerID), append(arg.ROrder, r.OrderID)
	arg.ROccurred, arg.RContext = append(arg.ROccurred, stamp(r.OccurredAt)), append(arg.RContext, r.Context)
	arg.RIssuedTo, arg.RReason = append(arg.RIssuedTo, j.IssuedTo), append(arg.RReason, int32(j.Reason))
	arg.RExternal, arg.RChecked = append(arg.RExternal, j.Processing == domain.External), append(arg.RChecked, j.Checked)
	arg.RMultiUse = append(arg.RMultiUse, j.Pool.MultiUse)
}
