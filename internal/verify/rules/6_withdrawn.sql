-- A withdrawn code is issued or can be, or is in no lot of a single-use pool; or one that is withdrawn as blocked is not blocked.
-- Do: stop issuing from the pool; issuances, runs or withdrawn were changed outside the service, or a code was issued after it was blocked or redeemed.
SELECT p.id AS pool, w.lot, w.seq, w.why, w.at,
       CASE WHEN i.seq IS NOT NULL THEN format('issued to request %s', i.request_id)
            WHEN r.lo IS NOT NULL THEN format('in run %s…%s', r.lo, r.hi)
            WHEN w.why = 'blocked' AND b.seq IS NULL THEN 'not blocked'
            ELSE 'no such place' END AS finding
  FROM withdrawn w
  LEFT JOIN pools p ON p.pool = w.pool
  LEFT JOIN lots l ON l.pool = w.pool AND l.lot = w.lot
  LEFT JOIN issuances i ON i.pool = w.pool AND i.lot = w.lot AND i.seq = w.seq
  LEFT JOIN runs r ON r.pool = w.pool AND r.lot = w.lot AND w.seq >= r.lo AND w.seq < r.hi
  LEFT JOIN blocks b ON b.pool = w.pool AND b.lot = w.lot AND b.seq = w.seq
 WHERE i.seq IS NOT NULL OR r.lo IS NOT NULL OR (w.why = 'blocked' AND b.seq IS NULL)
    OR l.lot IS NULL OR w.seq < 0 OR w.seq >= l.size OR p.multi_use IS NOT FALSE
