INSERT INTO audit_bounds (pool, field, since, until, bound, entry, became)
WITH edits AS (
    SELECT h.pool, f.field, h.entry, h.at,
           (h.changes -> f.field ->> 'from')::timestamptz AS bound, (h.changes -> f.field ->> 'to')::timestamptz AS became
      FROM history h CROSS JOIN (VALUES ('issue_start'), ('issue_end')) f(field)
     WHERE h.action = 'pool.created' OR h.action = 'pool.edited' AND h.changes ? f.field
), bounded AS (
    SELECT p.pool FROM pools p WHERE p.issue_start IS NOT NULL OR p.issue_end IS NOT NULL
     UNION
    SELECT e.pool FROM edits e WHERE e.bound IS NOT NULL OR e.became IS NOT NULL
)
SELECT e.pool, e.field, coalesce(lag(e.at) OVER w, '-infinity'), e.at, e.bound, e.entry, e.became
  FROM edits e WHERE e.pool IN (SELECT b.pool FROM bounded b)
WINDOW w AS (PARTITION BY e.pool, e.field ORDER BY e.entry)
UNION ALL
SELECT p.pool, f.field, coalesce(e.at, '-infinity'), 'infinity', CASE f.field WHEN 'issue_start' THEN p.issue_start ELSE p.issue_end END, NULL, NULL
  FROM pools p
 CROSS JOIN (VALUES ('issue_start'), ('issue_end')) f(field)
  LEFT JOIN (SELECT e.pool, e.field, max(e.at) AS at FROM edits e GROUP BY e.pool, e.field) e ON e.pool = p.pool AND e.field = f.field
 WHERE p.pool IN (SELECT b.pool FROM bounded b);
