-- A code is issued that a run says is still to be issued, or that its lot does not have.
-- Do: stop the pool (docs/operations.md, When verify finds something): the code would be taken again, and only issuances_pkey stands against it.
WITH pieces AS MATERIALIZED (
    -- Lots in many pieces are gone through in the order of their numbers: to hold every issuance against every piece would take hours.
    SELECT pool, lot, count(*) > 50 AS many FROM runs WHERE next < hi GROUP BY pool, lot
)
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, CASE WHEN l.lot IS NULL THEN 'no such lot' WHEN r.lo IS NULL THEN 'beyond the lot' ELSE format('run %s…%s is at %s', r.lo, r.hi, r.next) END AS finding
  FROM issuances i
  LEFT JOIN lots l ON l.pool = i.pool AND l.lot = i.lot
  LEFT JOIN pools p ON p.pool = i.pool
  LEFT JOIN (SELECT r.* FROM runs r JOIN pieces k ON k.pool = r.pool AND k.lot = r.lot AND NOT k.many) r
         ON r.pool = i.pool AND r.lot = i.lot AND i.seq >= r.next AND i.seq < r.hi
 WHERE r.lo IS NOT NULL OR l.lot IS NULL OR i.seq < 0 OR (i.seq >= l.size AND p.multi_use IS NOT TRUE)
UNION ALL
SELECT p.id, i.lot, i.seq, i.request, format('a run reaches to %s', i.until)
  FROM (SELECT k.*, max(k.hi) OVER (PARTITION BY k.pool, k.lot ORDER BY k.seq, k.request NULLS FIRST ROWS UNBOUNDED PRECEDING) AS until
          FROM (SELECT r.pool, r.lot, r.next AS seq, r.hi, NULL AS request FROM runs r WHERE r.next < r.hi
                 UNION ALL SELECT i.pool, i.lot, i.seq, NULL, i.request_id FROM issuances i) k
          JOIN pieces m ON m.pool = k.pool AND m.lot = k.lot AND m.many) i
  LEFT JOIN pools p ON p.pool = i.pool
 WHERE i.request IS NOT NULL AND i.until > i.seq
