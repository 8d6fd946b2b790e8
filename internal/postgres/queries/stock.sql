-- What is left and what became of it.

-- One statement, so that all figures are of one moment. A code of a multi-use
-- pool is never used up: its figures count codes, issued counts issuances, and what
-- of its ordinals was passed over was not issued. A code's
-- window is what the pool's leaves of its lot's; least and greatest pass over null.
-- name: Stock :one
WITH taken AS (
    SELECT r.lot, sum(r.next - r.lo) AS issued, sum(r.hi - r.next) AS unissued,
           sum(r.hi - r.next) FILTER (WHERE r.partition IS NOT NULL) AS held
      FROM runs r WHERE r.pool = @pool GROUP BY r.lot
), shelf AS (
    SELECT l.size - l.moved AS size, l.withdrawn + l.blocked AS withdrawn,
           l.done + coalesce(t.issued, 0) - CASE WHEN o.lot IS NULL THEN 0 ELSE passed_over(l.pool, l.lot) END AS issued,
           CASE WHEN p.multi_use THEN l.size - l.moved - l.blocked ELSE coalesce(t.unissued, 0) END AS unissued,
           CASE WHEN p.multi_use THEN 0 ELSE coalesce(t.held, 0) END AS held,
           coalesce(least(l.issue_end, p.issue_end, l.available_till) <= statement_timestamp(), false) AS expired,
           coalesce(greatest(l.issue_start, p.issue_start) > statement_timestamp(), false) AS scheduled
      FROM lots l
      JOIN pools p ON p.pool = l.pool
      LEFT JOIN taken t ON t.lot = l.lot
      LEFT JOIN (SELECT DISTINCT s.lot FROM passes s WHERE s.pool = @pool) o ON o.lot = l.lot
     WHERE l.pool = @pool
)
SELECT coalesce(sum(s.size), 0)::bigint AS total,
       coalesce(sum(s.issued), 0)::bigint AS issued,
       coalesce(sum(s.withdrawn), 0)::bigint AS withdrawn,
       (SELECT coalesce(sum(n.redeemed), 0) FROM redemption_counts n WHERE n.pool = @pool)::bigint AS redeemed,
       coalesce(sum(s.unissued) FILTER (WHERE s.expired), 0)::bigint AS expired,
       coalesce(sum(s.unissued) FILTER (WHERE s.scheduled AND NOT s.expired), 0)::bigint AS scheduled,
       coalesce(sum(s.unissued) FILTER (WHERE NOT s.scheduled AND NOT s.expired), 0)::bigint AS available,
       coalesce(sum(s.held) FILTER (WHERE NOT s.scheduled AND NOT s.expired), 0)::bigint AS held,
       statement_timestamp()::timestamptz AS asked_at
  FROM shelf s;

-- name: FindCode :one
SELECT c.seq, sqlc.embed(l),
       coalesce(i.request_id, '') AS request_id, coalesce(i.customer_id, '') AS customer_id,
       i.issued_at, i.valid_from, i.valid_until, statement_timestamp()::timestamptz AS asked_at,
       coalesce(CASE WHEN b.seq IS NOT NULL THEN 'blocked' END, w.why, '')::text AS withheld
  FROM codes c
  JOIN lots l ON l.pool = c.pool AND l.lot = c.lot
  JOIN pools p ON p.pool = c.pool
  LEFT JOIN issuances i ON i.pool = c.pool AND i.lot = c.lot AND i.seq = c.seq AND NOT p.multi_use
  LEFT JOIN blocks b ON b.pool = c.pool AND b.lot = c.lot AND b.seq = c.seq
  LEFT JOIN withdrawn w ON w.pool = c.pool AND w.lot = c.lot AND w.seq = c.seq
 WHERE c.pool = @pool AND c.code = @code;

-- A page of a pool's codes, each with the time at which it was read.
-- name: CodesAfter :many
SELECT c.lot::int AS lot, c.seq::bigint AS seq, c.code::text AS code,
       c.issue_start::timestamptz AS issue_start, c.issue_end::timestamptz AS issue_end,
       c.available_from::timestamptz AS available_from, c.available_till::timestamptz AS available_till,
       c.times::bigint AS times, coalesce(c.request_id, '')::text AS request_id, coalesce(c.customer_id, '')::text AS customer_id,
       c.issued_at::timestamptz AS issued_at, c.valid_from::timestamptz AS valid_from, c.valid_until::timestamptz AS valid_until,
       coalesce(c.withheld, '')::text AS withheld, statement_timestamp()::timestamptz AS asked_at
  FROM codes_after(@pool::int, @multi_use::boolean, @lot::int, @seq::bigint, @at_most::int) AS c;

-- name: IssuedAfter :many
SELECT c.lot::int AS lot, c.seq::bigint AS seq, coalesce(c.code, '')::text AS code,
       c.issue_start::timestamptz AS issue_start, c.issue_end::timestamptz AS issue_end,
       c.available_from::timestamptz AS available_from, c.available_till::timestamptz AS available_till,
       c.times::bigint AS times, c.request_id::text AS request_id, c.customer_id::text AS customer_id,
       c.issued_at::timestamptz AS issued_at, c.valid_from::timestamptz AS valid_from, c.valid_until::timestamptz AS valid_until,
       coalesce(c.withheld, '')::text AS withheld, statement_timestamp()::timestamptz AS asked_at
  FROM issued_after(@pool::int, @lot::int, @seq::bigint, @at_most::int) AS c;

-- name: WithheldAfter :many
SELECT c.lot::int AS lot, c.seq::bigint AS seq, coalesce(c.code, '')::text AS code,
       c.issue_start::timestamptz AS issue_start, c.issue_end::timestamptz AS issue_end,
       c.available_from::timestamptz AS available_from, c.available_till::timestamptz AS available_till,
       c.times::bigint AS times, coalesce(c.request_id, '')::text AS request_id, coalesce(c.customer_id, '')::text AS customer_id,
       c.issued_at::timestamptz AS issued_at, c.valid_from::timestamptz AS valid_from, c.valid_until::timestamptz AS valid_until,
       coalesce(c.withheld, '')::text AS withheld, statement_timestamp()::timestamptz AS asked_at
  FROM withheld_after(@pool::int, @multi_use::boolean, @lot::int, @seq::bigint, @at_most::int) AS c;
