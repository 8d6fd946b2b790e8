INSERT INTO audit_lots (pool, lot, issuances, complete_at)
SELECT l.pool, l.lot, coalesce(i.n, 0), CASE WHEN i.n >= l.size AND NOT p.multi_use THEN i.last END
  FROM lots l
  LEFT JOIN pools p ON p.pool = l.pool
  LEFT JOIN (SELECT pool, lot, count(*) AS n, max(issued_at) AS last FROM issuances GROUP BY pool, lot) i
         ON i.pool = l.pool AND i.lot = l.lot;
