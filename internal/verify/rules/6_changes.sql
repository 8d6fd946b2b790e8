-- A lot's size, its moved or its withdrawn codes are not what its changes add up to.
-- Do: stop the pool (docs/operations.md, When verify finds something); lots or lot_changes were changed outside the service.
SELECT p.id AS pool, coalesce(l.lot, c.lot) AS lot, l.size, l.moved, l.withdrawn + l.blocked AS withdrawn, c.added, c.taken, c.withdrawn AS withdrawn_by_changes
  FROM (SELECT pool, lot, sum(added) AS added, sum(taken) AS taken, sum(withdrawn) AS withdrawn FROM lot_changes GROUP BY pool, lot) c
  FULL JOIN lots l ON l.pool = c.pool AND l.lot = c.lot
  LEFT JOIN pools p ON p.pool = coalesce(l.pool, c.pool)
 WHERE (l.lot IS NULL AND p.pool IS NOT NULL) OR l.moved <> coalesce(c.taken, 0) OR l.size <= coalesce(c.added, 0)
    OR l.withdrawn + l.blocked <> coalesce(c.withdrawn, 0)
