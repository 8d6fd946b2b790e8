-- A lot has more or fewer withdrawn or blocked codes than it counts.
-- Do: stop the pool (docs/operations.md, When verify finds something); lots, withdrawn or blocks were changed outside the service.
SELECT p.id AS pool, coalesce(l.lot, n.lot) AS lot, l.withdrawn AS withdrawn_by_lot, coalesce(n.withdrawn, 0) AS withdrawn, l.blocked AS blocked_by_lot, coalesce(n.blocked, 0) AS blocked
  FROM (SELECT pool, lot, count(*) FILTER (WHERE is_out) AS withdrawn, count(*) FILTER (WHERE NOT is_out) AS blocked
          FROM (SELECT pool, lot, true AS is_out FROM withdrawn
                 UNION ALL SELECT b.pool, b.lot, false FROM blocks b JOIN pools p ON p.pool = b.pool AND p.multi_use) w
         GROUP BY pool, lot) n
  FULL JOIN lots l ON l.pool = n.pool AND l.lot = n.lot
  LEFT JOIN pools p ON p.pool = coalesce(l.pool, n.pool)
 WHERE l.lot IS NULL OR l.withdrawn <> coalesce(n.withdrawn, 0) OR l.blocked <> coalesce(n.blocked, 0)
