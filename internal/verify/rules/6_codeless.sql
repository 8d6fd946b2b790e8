-- A place of a lot that can still be issued, or was withdrawn, has no code, while another that has one is nobody's.
-- Do: stop the pool (docs/operations.md, When verify finds something): a partition that comes to the place stops; runs, codes or withdrawn were changed outside the service.
WITH moved AS (
    SELECT l.pool, l.lot FROM lots l JOIN pools p ON p.pool = l.pool AND NOT p.multi_use WHERE l.moved > 0 AND l.generator IS NULL
)
SELECT p.id AS pool, w.lot, w.seq, 'withdrawn, and no code' AS finding
  FROM withdrawn w
  JOIN moved m ON m.pool = w.pool AND m.lot = w.lot
  JOIN pools p ON p.pool = w.pool
  LEFT JOIN codes c ON c.pool = w.pool AND c.lot = w.lot AND c.seq = w.seq
 WHERE c.pool IS NULL
UNION ALL
SELECT p.id, r.lot, r.next, format('%s places up to %s, and %s codes', r.hi - r.next, r.hi - 1, count(*) FILTER (WHERE c.seq >= r.next))
  FROM (SELECT k.pool, k.lot, k.seq, max(k.run) OVER (PARTITION BY k.pool, k.lot ORDER BY k.seq, k.run NULLS LAST ROWS UNBOUNDED PRECEDING) AS run
          FROM (SELECT r.pool, r.lot, r.next AS seq, r.next AS run FROM runs r JOIN moved m ON m.pool = r.pool AND m.lot = r.lot WHERE r.next < r.hi
                 UNION ALL SELECT c.pool, c.lot, c.seq, NULL FROM codes c JOIN moved m ON m.pool = c.pool AND m.lot = c.lot) k) s
  JOIN runs r ON r.pool = s.pool AND r.lot = s.lot AND r.next = s.run AND r.next < r.hi
  JOIN pools p ON p.pool = r.pool
  LEFT JOIN codes c ON c.pool = s.pool AND c.lot = s.lot AND c.seq = s.seq AND s.seq < r.hi
 GROUP BY p.id, r.lot, r.next, r.hi
HAVING count(DISTINCT c.seq) <> r.hi - r.next
