-- A withdrawn code is issued or can be, or is in no lot of a single-use pool; or one that is withdrawn as blocked is not blocked.
-- Do: stop the pool (docs/operations.md, When verify finds something); issuances, runs or withdrawn were changed outside the service, or a code was issued after it was blocked or redeemed.
SELECT p.id AS pool, w.lot, w.seq, w.why,
       CASE WHEN i.seq IS NOT NULL THEN format('issued to request %s', i.request_id)
            WHEN w.until > w.seq THEN format('a run reaches to %s', w.until)
            WHEN w.why = 'blocked' AND b.seq IS NULL THEN 'not blocked'
            ELSE 'no such place' END AS finding
  FROM (SELECT k.*, max(k.hi) OVER (PARTITION BY k.pool, k.lot ORDER BY k.seq, k.why NULLS FIRST ROWS UNBOUNDED PRECEDING) AS until
          FROM (SELECT r.pool, r.lot, r.lo AS seq, r.hi, NULL AS why FROM runs r
                 UNION ALL SELECT w.pool, w.lot, w.seq, NULL, w.why FROM withdrawn w) k) w
  LEFT JOIN pools p ON p.pool = w.pool
  LEFT JOIN lots l ON l.pool = w.pool AND l.lot = w.lot
  LEFT JOIN issuances i ON i.pool = w.pool AND i.lot = w.lot AND i.seq = w.seq
  LEFT JOIN blocks b ON b.pool = w.pool AND b.lot = w.lot AND b.seq = w.seq
 WHERE w.why IS NOT NULL
   AND (i.seq IS NOT NULL OR w.until > w.seq OR (w.why = 'blocked' AND b.seq IS NULL)
        OR l.lot IS NULL OR w.seq < 0 OR w.seq >= l.size OR p.multi_use IS NOT FALSE)
