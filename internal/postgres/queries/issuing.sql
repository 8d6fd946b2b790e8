-- The transactions of a partition. Each runs a function of the schema, so that
-- it is one round trip and its plan does not depend on who prepared it.

-- name: Claim :one
INSERT INTO partitions (stream, number, epoch, worker, next_offset)
VALUES (@stream, @number, 1, @worker, 0)
ON CONFLICT ON CONSTRAINT partitions_stream_key
DO UPDATE SET epoch = partitions.epoch + 1, worker = EXCLUDED.worker
RETURNING partition, epoch, batch_no, next_offset;

-- name: Resolve :one
UPDATE partitions SET epoch = epoch + 1
 WHERE partition = @partition AND epoch = @epoch AND worker = @worker
RETURNING epoch, batch_no, next_offset;

-- name: PartitionByNumber :one
SELECT * FROM partitions WHERE stream = @stream AND number = @number;

-- Only while the partition is still ours: what a successor has published
-- beyond what we know is no sign of a loss.
-- name: CloseGate :execrows
UPDATE service SET gate = coalesce(gate, @reason::text)
 WHERE EXISTS (SELECT FROM partitions p WHERE p.partition = @partition AND p.epoch = @epoch AND p.next_offset <= @offset_seen);

-- name: Gate :one
SELECT coalesce(gate, '')::text AS reason FROM service;

-- name: EndPredecessors :one
SELECT end_predecessors(@partition::int, @epoch::bigint)::bigint;

-- name: SetPartitions :exec
UPDATE service SET partitions = @partitions WHERE partitions <> @partitions;

-- Ranges do not overlap, so only the last that begins at or before the position
-- can reach beyond it; without that, all that lie before it would be read.
-- name: Ranges :many
SELECT b.first_offset, b.end_offset, b.decided_at, b.verdicts
  FROM batches b
 WHERE b.partition = @partition AND b.end_offset > @position
   AND b.first_offset >= coalesce((SELECT max(a.first_offset) FROM batches a
                                    WHERE a.partition = @partition AND a.first_offset <= @position), @position)
 ORDER BY b.first_offset
 LIMIT @at_most;

-- name: HeldRuns :many
SELECT sqlc.embed(p), c.id AS campaign_id, sqlc.embed(l), r.lo, r.next, r.hi, r.grant_no
  FROM runs r
  JOIN pools p ON p.pool = r.pool
  JOIN campaigns c ON c.campaign = p.campaign
  JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
 WHERE r.partition = @partition AND r.next < r.hi
 ORDER BY r.pool, r.issue_end, r.available_till, r.lot, r.lo;

-- Read after Refill and before its codes are used: the pool's settings and the
-- lots as they are with the grant.
-- name: Refill :many
SELECT f.lot::int AS lot, f.lo::bigint AS lo, f.next::bigint AS next, f.hi::bigint AS hi, f.grant_no::bigint AS grant_no
  FROM refill(@partition::int, @pool::int, @want::bigint) AS f;

-- name: LotsOf :many
SELECT * FROM lots WHERE pool = @pool AND lot = ANY (@lots::int[]);

-- name: Texts :many
SELECT t.idx::int AS idx, t.codes::text[] AS codes
  FROM texts(@pool::int, @lots::int[], @from_seqs::bigint[], @till_seqs::bigint[], @los::bigint[], @grant_nos::bigint[]) AS t;

-- name: TextsOfPools :many
-- The function is planned once for all of them.
SELECT s.idx::int AS idx, t.codes::text[] AS codes
  FROM (SELECT unnest(@pools::int[]) AS pool, unnest(@lots::int[]) AS lot, unnest(@from_seqs::bigint[]) AS from_seq,
               unnest(@till_seqs::bigint[]) AS till_seq, unnest(@los::bigint[]) AS lo, unnest(@grant_nos::bigint[]) AS grant_no,
               generate_series(1, cardinality(@pools)) AS idx) s
 CROSS JOIN LATERAL texts(s.pool, ARRAY[s.lot], ARRAY[s.from_seq], ARRAY[s.till_seq], ARRAY[s.lo], ARRAY[s.grant_no]) AS t;

-- name: PoolsByID :many
SELECT sqlc.embed(p), c.id AS campaign_id
  FROM pools p JOIN campaigns c ON c.campaign = p.campaign
 WHERE p.id = ANY (@ids::text[]);

-- name: LockNames :exec
SELECT pg_advisory_xact_lock_shared(hashtextextended('pool:' || n.id, 0))
  FROM (SELECT unnest(@ids::text[]) AS id ORDER BY 1) n;

-- name: LockPools :exec
SELECT 1 FROM pools WHERE id = ANY (@ids::text[]) ORDER BY pool FOR UPDATE;

-- Every held run of the pools that are to be seen whole, and the own cursors.
-- Free runs are moved under the pool's lock only, which the caller has.
-- name: LockRuns :many
SELECT r.pool, r.lot, r.lo, r.partition::int AS partition FROM runs r
 WHERE r.partition IS NOT NULL
   AND (r.pool = ANY (ARRAY(SELECT p.pool FROM pools p WHERE p.id = ANY (@whole::text[])))
        OR (r.partition = ANY (@holders::int[]) AND r.pool = ANY (@cursors::int[])))
   AND r.pool = ANY (ARRAY(SELECT p.pool FROM pools p WHERE p.id = ANY (@whole)) || @cursors)
 ORDER BY r.pool, r.lot, r.lo FOR UPDATE OF r;

-- name: Enter :exec
SELECT enter(@partitions::int[], @epochs::bigint[]);

-- name: HandBack :exec
SELECT hand_back(p.pool, sqlc.narg(holders)::int[]) FROM pools p WHERE p.id = ANY (@ids::text[]) ORDER BY p.pool;

-- name: GiveBack :exec
SELECT hand_back(p.pool, ARRAY[@partition::int]) FROM (SELECT pool FROM pools WHERE pool = @pool FOR UPDATE) p;

-- name: FirstFree :many
SELECT f.idx::bigint AS idx, sqlc.embed(l), f.lo::bigint AS lo, f.next::bigint AS next, f.hi::bigint AS hi, f.grant_no::bigint AS grant_no
  FROM first_free(@pools::int[], @needs::int[], @now::timestamptz) AS f
  JOIN lots l ON l.pool = f.pool AND l.lot = f.lot
 ORDER BY idx;

-- The blocked codes of a multi-use lot.
-- name: BlockedOf :many
SELECT seq FROM blocks WHERE pool = @pool AND lot = @lot ORDER BY seq;

-- name: FirstUsable :many
SELECT f.idx::bigint AS idx, sqlc.embed(l), f.lo::bigint AS lo, f.next::bigint AS next, f.hi::bigint AS hi, f.grant_no::bigint AS grant_no
  FROM first_usable(@pool::int, @need::int, @now::timestamptz) AS f
  JOIN lots l ON l.pool = f.pool AND l.lot = f.lot
 ORDER BY idx;

-- What partitions hold of pools, and has not expired by the time of the decision.
-- name: HeldOf :many
SELECT r.pool, coalesce(sum(r.hi - r.next), 0)::bigint AS held
  FROM runs r
 WHERE r.pool = ANY (@pools::int[]) AND r.partition IS NOT NULL AND r.issue_end > @now::timestamptz AND r.available_till > @now
 GROUP BY r.pool;

-- What is free of a pool and may be issued later only, by the time of the decision;
-- with closed all that is free and has not expired.
-- name: FreeLater :one
SELECT least(coalesce(sum(CASE WHEN @multi_use::boolean THEN usable(r.pool, r.lot, r.next, r.hi) ELSE r.hi - r.next END), 0), 9000000000000000000)::bigint AS free
  FROM runs r
 WHERE r.pool = @pool AND r.partition IS NULL AND r.issue_end > @now::timestamptz AND r.available_till > @now
   AND (@closed::boolean OR r.issue_start > @now);

-- name: LookUp :many
SELECT k.idx::int AS idx, k.lot::int AS lot, k.seq::bigint AS seq, k.issued_at::timestamptz AS issued_at,
       k.valid_from::timestamptz AS valid_from, k.valid_until::timestamptz AS valid_until,
       k.customer_id::text AS customer_id, k.context::bytea AS context,
       coalesce(k.code, '')::text AS code, k.generator::uuid AS generator, coalesce(k.number, 0)::bigint AS number
  FROM look_up(@pools::int[], @requests::text[]) AS k;

-- name: Now :one
SELECT clock_timestamp()::timestamptz;

-- name: CommitBatches :exec
SELECT commit_batches(
    @now::timestamptz,
    @b_partition::int[], @b_epoch::bigint[], @b_no::bigint[], @b_first::bigint[], @b_end::bigint[], @b_verdicts::bytea[], @b_evidence::text[],
    @r_pool::int[], @r_lot::int[], @r_lo::bigint[], @r_partition::int[], @r_next::bigint[], @r_grant::bigint[], @r_take::bigint[],
    @r_from::timestamptz[], @r_until::timestamptz[],
    @i_run::int[], @i_at::int[], @i_request::text[], @i_customer::text[], @i_context::bytea[], @sketch::bytea
);

-- Ample pools of which so little is free that they turn scarce.
-- name: Turning :many
SELECT p.id FROM pools p
 WHERE p.pool = ANY (@pools::int[]) AND p.mode = 'ample' AND NOT p.multi_use
   AND free_stock_up_to(p.pool, scarce_mark()) < scarce_mark()
 ORDER BY p.id;
