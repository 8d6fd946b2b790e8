INSERT INTO audit_lots (pool, lot, issuances, last, complete_at, changed_at)
SELECT l.pool, l.lot, coalesce(i.n, 0), i.last, CASE WHEN coalesce(i.n, 0) >= l.size - l.moved - l.withdrawn AND NOT p.multi_use THEN coalesce(i.last, '-infinity') END, c.revision
  FROM lots l
  LEFT JOIN pools p ON p.pool = l.pool
  LEFT JOIN (SELECT pool, lot, count(*) AS n, max(issued_at) AS last FROM issuances GROUP BY pool, lot) i
         ON i.pool = l.pool AND i.lot = l.lot
  LEFT JOIN (SELECT pool, lot, max(revision) AS revision FROM lot_changes GROUP BY pool, lot) c ON c.pool = l.pool AND c.lot = l.lot;
