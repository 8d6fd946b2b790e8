-- Two runs of a lot overlap.
-- Do: stop the pool (docs/operations.md, When verify finds something): two holders would issue the same codes.
SELECT p.id AS pool, t.lot, t.lo, t.hi, t.until AS runs_before_reach
  FROM (SELECT pool, lot, lo, hi, max(hi) OVER (PARTITION BY pool, lot ORDER BY lo, hi ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
          FROM runs WHERE hi > lo) t
  LEFT JOIN pools p ON p.pool = t.pool
 WHERE t.lo < t.until
