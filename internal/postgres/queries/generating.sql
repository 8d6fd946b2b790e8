-- Generated codes. Whoever makes some holds the pool's lock, and reads what it
-- guards in later statements.

-- name: GeneratorsOf :many
SELECT generator, pattern, alphabet, made FROM generators WHERE pool = @pool ORDER BY created_at, generator;

-- name: GeneratorByID :one
SELECT pattern, alphabet, key FROM generators WHERE pool = @pool AND generator = @generator;

-- name: IsUploaded :one
SELECT is_uploaded(@pool::int)::boolean;

-- name: IsGenerated :one
SELECT is_generated(@pool::int)::boolean;

-- name: GenerateLot :one
SELECT generate_lot(
    @pool::int, @generator::uuid, @pattern::text, @alphabet::text, @key::bytea, @gen_from::bigint, @count::bigint,
    @issue_start::timestamptz, @issue_end::timestamptz, @available_from::timestamptz, @available_till::timestamptz,
    @kind::text, @actor::text, sqlc.narg(idempotency_key)::text
)::bigint;

-- The generation that was made under a key, with the window of its lot.
-- name: GenerationByKey :one
SELECT i.task, i.pattern, i.alphabet, i.added, sqlc.embed(l)
  FROM imports i JOIN lots l ON l.pool = i.pool AND l.import = i.task
 WHERE i.pool = @pool AND i.idempotency_key = @idempotency_key::text;

-- The lot that has the generator's code of the number.
-- name: FindGenerated :one
SELECT coalesce(n.number - l.gen_from, 0)::bigint AS seq, sqlc.embed(l),
       coalesce(i.request_id, '') AS request_id, coalesce(i.customer_id, '') AS customer_id,
       i.issued_at, i.valid_from, i.valid_until, statement_timestamp()::timestamptz AS asked_at,
       coalesce(CASE WHEN b.seq IS NOT NULL THEN 'blocked' END, w.why, '')::text AS withheld
  FROM (SELECT @number::bigint AS number) n
  JOIN lots l ON l.pool = @pool AND l.generator = @generator AND l.gen_from <= n.number AND n.number < l.gen_from + l.size
  JOIN pools p ON p.pool = l.pool
  LEFT JOIN issuances i ON i.pool = l.pool AND i.lot = l.lot AND i.seq = n.number - l.gen_from AND NOT p.multi_use
  LEFT JOIN blocks b ON b.pool = l.pool AND b.lot = l.lot AND b.seq = n.number - l.gen_from
  LEFT JOIN withdrawn w ON w.pool = l.pool AND w.lot = l.lot AND w.seq = n.number - l.gen_from
 ORDER BY l.gen_from DESC LIMIT 1;

-- name: SetReplenishment :exec
INSERT INTO replenishments (pool, below, count, pattern, alphabet, max_guess_odds)
VALUES (@pool, @below, @count, @pattern, @alphabet, @max_guess_odds)
ON CONFLICT (pool) DO UPDATE
   SET below = EXCLUDED.below, count = EXCLUDED.count, pattern = EXCLUDED.pattern, alphabet = EXCLUDED.alphabet,
       max_guess_odds = EXCLUDED.max_guess_odds, stopped = '';

-- name: DropReplenishment :exec
DELETE FROM replenishments WHERE pool = @pool;

-- name: StopReplenishment :exec
UPDATE replenishments SET stopped = @stopped WHERE pool = @pool;

-- name: ReplenishmentDue :one
SELECT (stock_left(@pool::int) < @below::bigint)::boolean;

-- Where it is switched on and fewer are left than wanted. Judged again under
-- the pool's lock.
-- name: PoolsToReplenish :many
SELECT p.id FROM replenishments r JOIN pools p ON p.pool = r.pool
 WHERE r.stopped = '' AND p.state <> 'archived' AND NOT p.multi_use AND stock_left(r.pool) < r.below
 ORDER BY p.pool;
