-- The watch over stock that runs low. Looking takes no locks; what is told is judged
-- again under the lock of the pool's row of stock_watch, in later statements.

-- name: Watched :many
SELECT w.pool, p.revision, p.version
  FROM stock_watch w JOIN pools p ON p.pool = w.pool
 WHERE p.state = 'active'
 ORDER BY w.pool;

-- Pools launched before the schema knew of a watch, by a program that still runs.
-- name: WatchUnwatched :exec
INSERT INTO stock_watch (pool)
SELECT p.pool FROM pools p WHERE p.state = 'active' AND NOT EXISTS (SELECT FROM stock_watch w WHERE w.pool = p.pool)
ON CONFLICT DO NOTHING;

-- name: ReportUse :exec
INSERT INTO pools_in_use (worker, at, pools) VALUES (@worker, clock_timestamp(), @pools)
ON CONFLICT (worker) DO UPDATE SET at = EXCLUDED.at, pools = EXCLUDED.pools;

-- name: UsedPools :many
SELECT DISTINCT unnest(u.pools)::int AS pool FROM pools_in_use u WHERE u.at > clock_timestamp() - make_interval(secs => @seconds::float8);

-- name: ForgetUse :exec
DELETE FROM pools_in_use u WHERE u.at < clock_timestamp() - interval '1 hour';

-- name: WatchState :one
SELECT staff_no, (gate IS NOT NULL)::boolean AS closed FROM service;

-- name: LookAt :many
SELECT sqlc.embed(w), sqlc.embed(p), s.codes_left::bigint AS codes_left, s.runs::bigint AS runs, clock_timestamp()::timestamptz AS at
  FROM watched_stock(@pools::int[]) s
  JOIN pools p ON p.pool = s.pool
  JOIN stock_watch w ON w.pool = s.pool
 WHERE p.state = 'active';

-- name: LockWatch :one
SELECT * FROM stock_watch WHERE pool = @pool FOR UPDATE SKIP LOCKED;

-- Waits for whoever judges the pool, so that nothing is told of it later.
-- name: HoldWatch :exec
SELECT FROM stock_watch WHERE pool = @pool FOR UPDATE;

-- Of pools that were found sold out, those of which that has not been told.
-- name: UntoldSoldOut :many
SELECT w.pool FROM stock_watch w WHERE w.pool = ANY (@pools::int[]) AND w.state <> 'exhausted' ORDER BY w.pool;

-- name: StockToJudge :one
SELECT sqlc.embed(p), c.id AS campaign_id, c.name AS campaign_name, s.codes_left::bigint AS codes_left, codes_issued(p.pool)::bigint AS issued,
       clock_timestamp()::timestamptz AS at
  FROM watched_stock(ARRAY[@pool::int]) s
  JOIN pools p ON p.pool = s.pool
  JOIN campaigns c ON c.campaign = p.campaign;

-- name: AddCrossing :exec
INSERT INTO crossings (pool, low_no, from_state, to_state, kind, at, remaining, threshold, per_minute, exhausted_at)
VALUES (@pool, @low_no, @from_state, @to_state, @kind, @at, @remaining, @threshold, @per_minute, @exhausted_at);

-- name: SetWatch :exec
UPDATE stock_watch
   SET state = @state, low_no = @low_no, told_low = @told_low, told_out = @told_out, seen_left = @seen_left,
       sample_at = @sample_at, samples = @samples
 WHERE pool = @pool;

-- Remembers that those subscribers are told who were not told of this crossing or
-- of a later one, and returns them. In however many ways someone subscribes, it is
-- one notification.
-- name: TellSubscribers :many
WITH told AS (
    INSERT INTO notifications (pool, low_no, kind, staff, channel, staff_id, at)
    SELECT @pool, @low_no, @kind, s.staff, @channel, s.id, @at
      FROM staff s
     WHERE s.active
       AND EXISTS (SELECT FROM subscriptions u
                    WHERE u.staff = s.staff AND (num_nonnulls(u.campaign, u.pool) = 0 OR u.campaign = @campaign::int OR u.pool = @pool))
       AND NOT EXISTS (SELECT FROM notifications n WHERE n.pool = @pool AND n.low_no >= @low_no AND n.staff = s.staff AND n.channel = @channel)
     ORDER BY s.staff
    ON CONFLICT DO NOTHING
    RETURNING staff
)
SELECT s.* FROM told t JOIN staff s ON s.staff = t.staff ORDER BY s.staff;

-- name: WatchOf :one
SELECT * FROM stock_watch WHERE pool = @pool;

-- Only where the topics really have what this database has not numbered yet.
-- name: CloseGateBeyond :execrows
UPDATE service SET gate = coalesce(gate, @reason::text)
 WHERE coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'no')::regclass), 0) < @number::bigint;
