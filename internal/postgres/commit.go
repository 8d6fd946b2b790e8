package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres/internal/db"
)

// LookUp returns the stored issuances of the keys, then the clock.
func (s *Store) LookUp(ctx context.Context, keys []domain.Key, pools map[int32]*domain.Pool) (map[domain.Key]*domain.Issuance, time.Time, error) {
	var known map[domain.Key]*domain.Issuance
	var now time.Time
	err := s.conns.Reads().AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		var err error
		known, now, err = s.lookUp(ctx, c.Conn(), keys, pools)
		return err
	})
	return known, now, decisionError(err)
}

// lookUp asks both in one round trip.
func (s *Store) lookUp(ctx context.Context, c *pgx.Conn, keys []domain.Key, pools map[int32]*domain.Pool) (map[domain.Key]*domain.Issuance, time.Time, error) {
	known := make(map[domain.Key]*domain.Issuance)
	var now time.Time
	var found []db.LookUpRow
	var batch pgx.Batch
	if len(keys) > 0 {
		numbers := make([]int32, len(keys))
		requests := make([]string, len(keys))
		for i, k := range keys {
			numbers[i], requests[i] = k.Pool, k.RequestID
		}
		batch.Queue(db.LookUp, numbers, requests).Query(func(rows pgx.Rows) error {
			var err error
			found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[db.LookUpRow])
			return err
		})
	}
	batch.Queue(db.Now).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	if err := c.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, now, err
	}
	for _, r := range found {
		k := keys[r.Idx-1]
		issue, err := s.knownIssue(ctx, db.New(c), pools[k.Pool], k, r)
		if err != nil {
			return nil, now, err
		}
		known[k] = issue
	}
	return known, now.UTC(), nil
}

func (s *Store) knownIssue(ctx context.Context, q *db.Queries, pool *domain.Pool, k domain.Key, r db.LookUpRow) (*domain.Issuance, error) {
	code, err := s.generators.issued(ctx, q, k.Pool, r)
	if err != nil {
		return nil, err
	}
	issue := &domain.Issuance{
		Pool: pool, Place: domain.Place{Lot: r.Lot, Seq: r.Seq}, Code: code,
		RequestID: k.RequestID, CustomerID: r.CustomerID, Context: r.Context,
		IssuedAt: fromStamp(r.IssuedAt), ValidFrom: fromStamp(r.ValidFrom), ValidUntil: fromStamp(r.ValidUntil),
	}
	return issue, s.signed(ctx, q, issue)
}

// Commit makes a plan true that needs no pool lock: one call, one round trip.
func (s *Store) Commit(ctx context.Context, entries []issuing.Entry, plan *domain.Plan) error {
	params, err := commitParams(entries, plan)
	if err != nil {
		return err
	}
	return decisionError(s.conns.One(ctx, crashpoint.Commit, func(ctx context.Context, q *db.Queries) error { return q.CommitBatches(ctx, params) }))
}

// commitParams lays a plan out as the arrays of commit_batches: runs in the
// order of their key, issuances in the order of (pool, request_id), so that
// everybody takes locks and index entries in one order.
func commitParams(entries []issuing.Entry, plan *domain.Plan) (db.CommitBatchesParams, error) {
	p := db.CommitBatchesParams{Now: pgtype.Timestamptz{Time: plan.At, Valid: true}}
	if len(entries) == 0 { // by hand; null would be compared with nothing
		p.BPartition, p.BEpoch, p.BNo, p.BFirst, p.BEnd, p.BVerdicts, p.BEvidence = []int32{}, []int64{}, []int64{}, []int64{}, []int64{}, [][]byte{}, []string{}
	}
	evidence := ""
	if len(plan.Evidence) > 0 {
		b, err := json.Marshal(plan.Evidence)
		if err != nil {
			return p, err
		}
		evidence = string(b)
	}
	for _, e := range entries {
		p.BPartition = append(p.BPartition, e.Claim.Partition)
		p.BEpoch = append(p.BEpoch, e.Claim.Epoch)
		p.BNo = append(p.BNo, e.Claim.BatchNo)
		p.BFirst = append(p.BFirst, e.First)
		p.BEnd = append(p.BEnd, e.End)
		p.BVerdicts = append(p.BVerdicts, domain.AppendVerdicts([]byte{}, e.First, e.Rejections))
		p.BEvidence = append(p.BEvidence, evidenceOf(evidence, e.Rejections))
	}
	p.Sketch = sketchOf(plan.Issues)
	place := addTakes(&p, plan)
	issues := slices.Clone(plan.Issues)
	slices.SortFunc(issues, func(a, b domain.NewIssue) int {
		return cmp.Or(cmp.Compare(a.Issuance.Pool.Key, b.Issuance.Pool.Key), strings.Compare(a.Issuance.RequestID, b.Issuance.RequestID))
	})
	n := len(issues)
	p.IRun, p.IAt = make([]int32, n), make([]int32, n)
	p.IRequest, p.ICustomer, p.IContext = make([]string, n), make([]string, n), make([][]byte, n)
	for i, issue := range issues {
		p.IRun[i], p.IAt[i] = place[issue.Take], int32(issue.At)
		p.IRequest[i], p.ICustomer[i], p.IContext[i] = issue.Issuance.RequestID, issue.Issuance.CustomerID, issue.Issuance.Context
	}
	return p, nil
}

// addTakes adds the runs that a plan takes from, in the order of their key,
// and returns for each take its place among them, from 1.
func addTakes(p *db.CommitBatchesParams, plan *domain.Plan) []int32 {
	order := make([]int, len(plan.Takes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := plan.Takes[i].Run, plan.Takes[j].Run
		return cmp.Or(cmp.Compare(a.Lot.Pool, b.Lot.Pool), cmp.Compare(a.Lot.No, b.Lot.No), cmp.Compare(a.Lo, b.Lo))
	})
	place := make([]int32, len(order))
	for at, i := range order {
		t := &plan.Takes[i]
		place[i] = int32(at + 1)
		p.RPool = append(p.RPool, t.Run.Lot.Pool)
		p.RLot = append(p.RLot, t.Run.Lot.No)
		p.RLo = append(p.RLo, t.Run.Lo)
		p.RPartition = append(p.RPartition, t.Run.Holder)
		p.RNext = append(p.RNext, t.Run.Next)
		p.RGrant = append(p.RGrant, t.Run.GrantNo)
		p.RTake = append(p.RTake, t.N)
		p.RFrom = append(p.RFrom, stamp(t.ValidFrom))
		p.RUntil = append(p.RUntil, stamp(t.ValidUntil))
	}
	return place
}

// evidenceOf is the evidence to be kept with a batch: only with one that
// refused for want of codes.
func evidenceOf(evidence string, rejections []domain.Rejection) string {
	for _, r := range rejections {
		if r.Reason == domain.PoolExhausted || r.Reason == domain.NoCodeInWindow {
			return evidence
		}
	}
	return ""
}

// stamp is the inverse of fromStamp.
func stamp(t time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()}
}
