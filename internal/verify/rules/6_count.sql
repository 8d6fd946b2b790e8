-- A lot has more or fewer issuances than its runs say it has issued.
-- Do: stop issuing from the pool; issuances were deleted or written outside the service, or a cursor was moved.
SELECT p.id AS pool, a.lot, a.issuances, l.done + coalesce(s.issued, 0) AS issued_by_runs
  FROM audit_lots a
  JOIN lots l ON l.pool = a.pool AND l.lot = a.lot
  LEFT JOIN pools p ON p.pool = a.pool
  LEFT JOIN (SELECT pool, lot, sum(next - lo) AS issued FROM runs GROUP BY pool, lot) s ON s.pool = a.pool AND s.lot = a.lot
 WHERE a.issuances <> l.done + coalesce(s.issued, 0)
