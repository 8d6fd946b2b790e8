-- A lot's size is not what its runs, its finished and its withdrawn codes add up to.
-- Do: stop the pool (docs/operations.md, When verify finds something); compare runs and issuances of the lot; lots.done or a run was changed outside the service.
SELECT p.id AS pool, l.lot, l.size, l.moved, l.done, l.withdrawn, s.issued, s.held, s.free,
       coalesce(l.done + s.issued + s.held + s.free, l.done) + l.withdrawn - CASE WHEN p.multi_use THEN coalesce(s.hi, 0) ELSE l.size - l.moved END AS surplus
  FROM lots l
  LEFT JOIN pools p ON p.pool = l.pool
  LEFT JOIN (SELECT pool, lot, sum(next - lo) AS issued, coalesce(sum(hi - next) FILTER (WHERE partition IS NOT NULL), 0) AS held,
                    coalesce(sum(hi - next) FILTER (WHERE partition IS NULL), 0) AS free, max(hi) AS hi
               FROM runs GROUP BY pool, lot) s ON s.pool = l.pool AND s.lot = l.lot
 WHERE coalesce(l.done + s.issued + s.held + s.free, l.done) + l.withdrawn <> CASE WHEN p.multi_use THEN coalesce(s.hi, 0) ELSE l.size - l.moved END
