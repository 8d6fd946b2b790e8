package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/postgres/internal/db"
	"promopool/internal/watching"
)

// WatchState tells the number of the last change of staff, and whether the gate
// is closed.
func (s *Store) WatchState(ctx context.Context) (staffNo int64, closed bool, err error) {
	r, err := s.q.WatchState(ctx)
	return r.StaffNo, r.Closed, asked(err)
}

// Watched are the active pools, with what moves when they are changed.
func (s *Store) Watched(ctx context.Context) ([]watching.Mark, error) {
	rows, err := s.q.Watched(ctx)
	marks := make([]watching.Mark, len(rows))
	for i, r := range rows {
		marks[i] = watching.Mark(r)
	}
	return marks, asked(err)
}

// WatchUnwatched begins to watch active pools that nobody watches.
func (s *Store) WatchUnwatched(ctx context.Context) error {
	return asked(s.conns.One(ctx, crashpoint.WatchUnwatched, func(ctx context.Context, q *db.Queries) error { return q.WatchUnwatched(ctx) }))
}

// ReportUse tells which pools a worker has issued codes from.
func (s *Store) ReportUse(ctx context.Context, worker string, pools []int32) error {
	return asked(s.conns.One(ctx, crashpoint.ReportUse, func(ctx context.Context, q *db.Queries) error {
		return q.ReportUse(ctx, db.ReportUseParams{Worker: worker, Pools: pools})
	}))
}

// UsedPools are those that were reported within the time.
func (s *Store) UsedPools(ctx context.Context, within time.Duration) ([]int32, error) {
	pools, err := s.q.UsedPools(ctx, within.Seconds())
	return pools, asked(err)
}

// ForgetUse drops reports that nobody replaces any more.
func (s *Store) ForgetUse(ctx context.Context) error {
	return asked(s.conns.One(ctx, crashpoint.ForgetUse, func(ctx context.Context, q *db.Queries) error { return q.ForgetUse(ctx) }))
}

// Crossings counts those of a kind that this process has told.
func (s *Store) Crossings(kind domain.CrossingKind) int64 { return s.crossings.of(kind).Load() }

// LookAt sums what is left of active pools.
func (s *Store) LookAt(ctx context.Context, pools []int32) ([]watching.Sight, error) {
	rows, err := s.q.LookAt(ctx, pools)
	if err != nil {
		return nil, asked(err)
	}
	sights := make([]watching.Sight, len(rows))
	for i, r := range rows {
		p, err := poolOf(r.Pool, "")
		if err != nil {
			return nil, err
		}
		sights[i] = watching.Sight{
			Pool: &p, Left: r.CodesLeft, Runs: r.Runs, Watch: watchOf(r.StockWatch), Samples: samplesOf(r.StockWatch), Seen: r.StockWatch.SeenLeft, At: fromStamp(r.At),
		}
	}
	return sights, nil
}

// JudgeStock makes true and tells what a pool's stock asks for now.
func (s *Store) JudgeStock(ctx context.Context, pool int32) (watching.Judged, error) {
	var judged watching.Judged
	_, err := s.attempt(ctx, crashpoint.JudgeStock, false, func(q *db.Queries, _ bool) error {
		done, events, err := s.judge(ctx, q, pool)
		judged = done
		if err != nil || done.Busy {
			return err
		}
		return addEvents(ctx, q, events...)
	})
	if err == nil {
		s.crossings.count(judged.Crossed)
	}
	return judged, asked(err)
}

// judge compares the stock of a pool with what was told of it, as this transaction
// sees both, and remembers what it asks for. The events that tell of it are the
// caller's to add, last. Where another transaction is at it that is left to that
// one, or to the next round.
func (s *Store) judge(ctx context.Context, q *db.Queries, pool int32) (watching.Judged, []domain.Event, error) {
	row, err := q.LockWatch(ctx, pool)
	if errors.Is(err, pgx.ErrNoRows) {
		return watching.Judged{Busy: true}, nil, nil
	}
	if err != nil {
		return watching.Judged{}, nil, err
	}
	stock, err := q.StockToJudge(ctx, pool) // later than the lock, so that it sees what was judged before
	if err != nil {
		return watching.Judged{}, nil, err
	}
	p, err := poolOf(stock.Pool, stock.CampaignID)
	if err != nil || p.State != domain.Active {
		return watching.Judged{}, nil, err
	}
	now, samples := fromStamp(stock.At), samplesOf(row)
	j := judging{s: s, q: q, pool: &p, campaign: stock.Pool.Campaign, campaignName: stock.CampaignName,
		facts: domain.FactsOf(&p, samples, now, stock.CodesLeft, stock.Issued)}
	before := watchOf(row)
	after, crossed := before.Judge(&p, stock.CodesLeft)
	for _, c := range crossed {
		if err := j.cross(ctx, c); err != nil {
			return watching.Judged{}, nil, err
		}
	}
	if no, kind := after.Current(); no > 0 {
		if err := j.tell(ctx, no, kind); err != nil {
			return watching.Judged{}, nil, err
		}
	}
	params := setWatchParams(pool, after, samples.With(now, stock.Issued))
	params.SeenLeft = &stock.CodesLeft
	return watching.Judged{Left: stock.CodesLeft, Crossed: crossed, Notices: j.notices}, j.events, q.SetWatch(ctx, params)
}

// judging is one judgement under way.
type judging struct {
	s            *Store
	q            *db.Queries
	pool         *domain.Pool
	campaign     int32
	campaignName string
	facts        domain.StockFacts

	notices int
	events  []domain.Event
}

// cross remembers a crossing and tells it.
func (j *judging) cross(ctx context.Context, c domain.Crossing) error {
	if err := j.q.AddCrossing(ctx, db.AddCrossingParams{
		Pool: j.pool.Key, LowNo: c.No, FromState: string(c.From), ToState: string(c.To), Kind: string(c.Kind), At: stamp(j.facts.At),
		Remaining: j.facts.Left, Threshold: j.facts.Threshold, PerMinute: j.facts.PerMinute, ExhaustedAt: stamp(j.facts.ExhaustedAt),
	}); err != nil || c.Kind == domain.Quiet {
		return err
	}
	j.events = append(j.events, domain.CrossingEvent(j.pool, c, j.facts))
	return j.tell(ctx, c.No, c.Kind)
}

// tell gives a notice of a crossing to every subscriber who had none of it, nor of
// one that came after it.
func (j *judging) tell(ctx context.Context, no int64, told domain.CrossingKind) error {
	kind := domain.NoticeKind(told)
	if kind == "" || !j.pool.Notify {
		return nil
	}
	rows, err := j.q.TellSubscribers(ctx, db.TellSubscribersParams{
		Pool: j.pool.Key, LowNo: no, Kind: kind, Channel: domain.ByEmail, At: stamp(j.facts.At), Campaign: j.campaign,
	})
	for _, r := range rows {
		to := staffOf(r)
		n := domain.Notice{
			To: &to, Pool: j.pool, CampaignName: j.campaignName, No: no, Told: told, Facts: j.facts, Link: j.s.PublicURL + "/pools/" + j.pool.ID,
		}
		j.events = append(j.events, n.Event())
	}
	j.notices += len(rows)
	return err
}

func watchOf(r db.StockWatch) domain.Watch {
	return domain.Watch{State: domain.StockState(r.State), No: r.LowNo, ToldLow: r.ToldLow, ToldExhausted: r.ToldOut}
}

func samplesOf(r db.StockWatch) domain.Samples {
	samples := make(domain.Samples, len(r.Samples))
	for i := range samples {
		samples[i] = domain.Sample{At: fromStamp(r.SampleAt[i]), Issued: r.Samples[i]}
	}
	return samples
}

func setWatchParams(pool int32, w domain.Watch, samples domain.Samples) db.SetWatchParams {
	p := db.SetWatchParams{
		Pool: pool, State: string(w.State), LowNo: w.No, ToldLow: w.ToldLow, ToldOut: w.ToldExhausted,
		SampleAt: make([]pgtype.Timestamptz, len(samples)), Samples: make([]int64, len(samples)),
	}
	for i, s := range samples {
		p.SampleAt[i], p.Samples[i] = stamp(s.At), s.Issued
	}
	return p
}

// crossings counts those that this process has told, by kind.
type crossings [3]atomic.Int64

func (c *crossings) of(kind domain.CrossingKind) *atomic.Int64 {
	return &c[slices.Index(domain.CrossingKinds, kind)]
}

// count is called when they are committed.
func (c *crossings) count(told []domain.Crossing) {
	for _, t := range told {
		if t.Kind != domain.Quiet {
			c.of(t.Kind).Add(1)
		}
	}
}

// forecast fills in how fast the pool's codes go, and when they will be gone.
func (s *Store) forecast(ctx context.Context, p *domain.Pool, stock *domain.Stock, at time.Time) error {
	row, err := s.q.WatchOf(ctx, p.Key)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // a draft has none
		return fmt.Errorf("forecast: %w", asked(err))
	}
	f := domain.FactsOf(p, samplesOf(row), at, stock.Available+stock.Scheduled, stock.Issued)
	stock.PerMinute, stock.ExhaustedAt = f.PerMinute, f.ExhaustedAt
	return nil
}
