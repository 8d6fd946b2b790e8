-- Redemptions. Locks in the order: names, pools, runs, codes, redemptions; what a
-- lock guards is read in a later statement.

-- name: CodePlaces :many
SELECT p.idx::int AS idx, p.lot::int AS lot, p.seq::bigint AS seq FROM code_places(@pools::int[], @codes::text[]) AS p;

-- name: GeneratorsOfPools :many
SELECT pool, generator FROM generators WHERE pool = ANY (@pools::int[]) ORDER BY pool, created_at, generator;

-- name: GeneratedPlaces :many
SELECT p.idx::int AS idx, p.lot::int AS lot, p.seq::bigint AS seq
  FROM generated_places(@pools::int[], @generators::uuid[], @numbers::bigint[]) AS p;

-- name: LockPoolsByKey :exec
SELECT 1 FROM pools WHERE pool = ANY (@pools::int[]) ORDER BY pool FOR UPDATE;

-- name: LockRunsOf :exec
SELECT lock_runs_of(@pools::int[], @lots::int[], @seqs::bigint[]);

-- name: LockCodes :exec
SELECT lock_codes(@pools::int[], @lots::int[], @seqs::bigint[]);

-- name: FirstAnswers :many
SELECT a.idx::int AS idx, a.code::text AS code, coalesce(a.lot, 0)::int AS lot, coalesce(a.seq, 0)::bigint AS seq,
       coalesce(a.customer_id, '')::text AS customer_id, coalesce(a.order_id, '')::text AS order_id,
       a.occurred_at::timestamptz AS occurred_at, a.context::bytea AS context, coalesce(a.issued_to, '')::text AS issued_to,
       a.decided_at::timestamptz AS decided_at, a.reason::int AS reason, a.external::boolean AS external,
       a.checked::boolean AS checked, a.rolled_back_at::timestamptz AS rolled_back_at
  FROM first_answers(@pools::int[], @ids::text[]) AS a;

-- name: RefusedAnswers :many
SELECT a.idx::int AS idx, a.content::bytea AS content, a.code::text AS code,
       coalesce(a.customer_id, '')::text AS customer_id, coalesce(a.order_id, '')::text AS order_id,
       a.occurred_at::timestamptz AS occurred_at, a.context::bytea AS context, a.decided_at::timestamptz AS decided_at, a.reason::int AS reason
  FROM refused_answers(@pool_ids::text[], @ids::text[], @contents::bytea[]) AS a;

-- name: RedemptionFacts :many
SELECT f.idx::int AS idx, f.available_from::timestamptz AS available_from, f.available_till::timestamptz AS available_till,
       f.issued_at::timestamptz AS issued_at, f.valid_from::timestamptz AS valid_from, f.valid_until::timestamptz AS valid_until,
       coalesce(f.issued_to, '')::text AS issued_to, f.blocked::boolean AS blocked, f.withdrawn::boolean AS withdrawn,
       f.redeemed::boolean AS redeemed, f.uses::bigint AS uses, f.uses_by::bigint AS uses_by
  FROM redemption_facts(@pools::int[], @lots::int[], @seqs::bigint[], @multi_use::boolean[], @customers::text[], @most::bigint[]) AS f;

-- The clock, whether customers may be erased by now, and why nothing may be judged.
-- name: NowAndKeyed :one
SELECT clock_timestamp()::timestamptz AS now, EXISTS (SELECT FROM customer_key)::boolean AS keyed, coalesce((SELECT s.gate FROM service s), '')::text AS gate;

-- name: CommitRedemptions :exec
SELECT commit_redemptions(
    @now::timestamptz, @w_pool::int[], @w_lot::int[], @w_seq::bigint[],
    @r_pool::int[], @r_id::text[], @r_code::text[], @r_lot::int[], @r_seq::bigint[], @r_customer::text[], @r_order::text[], @r_occurred::timestamptz[],
    @r_context::bytea[], @r_issued_to::text[], @r_reason::int[], @r_external::boolean[], @r_checked::boolean[], @r_multi_use::boolean[],
    @f_pool::text[], @f_id::text[], @f_content::bytea[], @f_code::text[], @f_customer::text[], @f_order::text[], @f_occurred::timestamptz[],
    @f_context::bytea[], @f_reason::int[]
);

-- name: RollBackRedemption :one
SELECT roll_back_redemption(@pool::int, @id::text, @at::timestamptz, @actor::text)::boolean;

-- Rejections older than 30 days, some of them. The first answers of either kind have
-- no order to keep.
-- name: PruneRedemptions :execrows
DELETE FROM redemptions d
 WHERE d.ctid = ANY (ARRAY(SELECT r.ctid FROM redemptions r
                            WHERE r.reason <> 0 AND r.decided_at < clock_timestamp() - interval '30 days' ORDER BY r.decided_at LIMIT @at_most));

-- name: PruneRefusedRedemptions :execrows
DELETE FROM refused_redemptions d
 WHERE d.ctid = ANY (ARRAY(SELECT r.ctid FROM refused_redemptions r
                            WHERE r.decided_at < clock_timestamp() - interval '30 days' ORDER BY r.decided_at LIMIT @at_most));

-- name: RedeemedOf :many
SELECT r.idx::int AS idx FROM redeemed_of(@pool::int, @lots::int[], @seqs::bigint[]) AS r(idx);

-- name: RedeemedAfter :many
SELECT c.lot::int AS lot, c.seq::bigint AS seq, coalesce(c.code, '')::text AS code,
       c.issue_start::timestamptz AS issue_start, c.issue_end::timestamptz AS issue_end,
       c.available_from::timestamptz AS available_from, c.available_till::timestamptz AS available_till,
       c.times::bigint AS times, coalesce(c.request_id, '')::text AS request_id, coalesce(c.customer_id, '')::text AS customer_id,
       c.issued_at::timestamptz AS issued_at, c.valid_from::timestamptz AS valid_from, c.valid_until::timestamptz AS valid_until,
       coalesce(c.withheld, '')::text AS withheld, statement_timestamp()::timestamptz AS asked_at
  FROM redeemed_after(@pool::int, @lot::int, @seq::bigint, @at_most::int) AS c;

-- The newest redemptions of a code, the oldest of them first.
-- name: RedemptionsOf :many
SELECT r.redemption_id, coalesce(r.customer_id, '')::text AS customer_id, coalesce(r.order_id, '')::text AS order_id,
       r.decided_at, r.external, r.rolled_back_at, coalesce(r.rolled_back_by, '')::text AS rolled_back_by
  FROM (SELECT * FROM redemptions r WHERE r.pool = @pool AND r.lot = @lot AND r.seq = @seq AND r.reason = 0 ORDER BY r.decided_at DESC LIMIT @at_most) r
 ORDER BY r.decided_at;

-- How often a code for many uses was redeemed.
-- name: UsesOf :one
SELECT coalesce((SELECT u.uses FROM code_uses u WHERE u.pool = @pool AND u.lot = @lot AND u.seq = @seq), 0)::bigint;

-- name: CloseGateFor :exec
UPDATE service SET gate = coalesce(gate, @reason::text);
