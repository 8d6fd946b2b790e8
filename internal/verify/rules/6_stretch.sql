-- A code is issued that a run says is still to be issued, or that its lot does not have.
-- Do: stop issuing from the pool: the code would be taken again, and only issuances_pkey stands against it.
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, CASE WHEN l.lot IS NULL THEN 'no such lot' WHEN r.lo IS NULL THEN 'beyond the lot' ELSE format('run %s…%s is at %s', r.lo, r.hi, r.next) END AS finding
  FROM issuances i
  LEFT JOIN lots l ON l.pool = i.pool AND l.lot = i.lot
  LEFT JOIN pools p ON p.pool = i.pool
  LEFT JOIN runs r ON r.pool = i.pool AND r.lot = i.lot AND i.seq >= r.next AND i.seq < r.hi
 WHERE r.lo IS NOT NULL OR l.lot IS NULL OR i.seq < 0 OR (i.seq >= l.size AND p.multi_use IS NOT TRUE)
