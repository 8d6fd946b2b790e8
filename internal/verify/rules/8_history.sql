-- The issue window of a pool is not what its history says.
-- Do: find out who changed pools or history outside the service; what was issued in between cannot be judged by it.
SELECT p.id AS pool, b.field, b.entry, b.until AS changed_at, b.became AS history_says, b.found
  FROM (SELECT *, lead(bound) OVER (PARTITION BY pool, field ORDER BY entry NULLS LAST) AS found FROM audit_bounds) b
  JOIN pools p ON p.pool = b.pool
 WHERE b.entry IS NOT NULL AND b.became IS DISTINCT FROM b.found
