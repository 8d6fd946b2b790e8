-- A lot has more or fewer issuances than its runs say it has issued, but for what they passed over since it was blocked.
-- Do: stop the pool (docs/operations.md, When verify finds something); issuances were deleted or written outside the service, or a cursor was moved.
SELECT p.id AS pool, a.lot, a.issuances, l.done + coalesce(s.issued, 0) - o.passed AS issued_by_runs
  FROM audit_lots a
  JOIN lots l ON l.pool = a.pool AND l.lot = a.lot
  LEFT JOIN pools p ON p.pool = a.pool
  LEFT JOIN (SELECT pool, lot, sum(next - lo) AS issued FROM runs GROUP BY pool, lot) s ON s.pool = a.pool AND s.lot = a.lot
  LEFT JOIN (SELECT DISTINCT pool, lot FROM passes) k ON k.pool = a.pool AND k.lot = a.lot
 CROSS JOIN LATERAL (SELECT CASE WHEN k.lot IS NULL THEN 0 ELSE passed_over(l.pool, l.lot) END AS passed) o
 WHERE a.issuances <> l.done + coalesce(s.issued, 0) - o.passed
