-- A rejection for want of codes was founded on an issue window that its pool did not have.
-- Shown: partition and offset of {code-requests}.
-- Do: publish the refused requests of these batches again; report a bug with the pool, revision and times.
SELECT DISTINCT p.id AS pool, e.part AS partition, e.first_off AS first_offset, e.revision, e.at AS decided_at, f.field,
       CASE f.field WHEN 'issue_start' THEN e.issue_start ELSE e.issue_end END AS founded_on
  FROM audit_evidence e
  JOIN pools p ON p.pool = e.pool
  LEFT JOIN (SELECT DISTINCT pool FROM audit_bounds) k ON k.pool = e.pool
 CROSS JOIN (VALUES ('issue_start'), ('issue_end')) f(field)
 WHERE (k.pool IS NOT NULL OR e.issue_start IS NOT NULL OR e.issue_end IS NOT NULL)
   AND NOT EXISTS (SELECT 1 FROM audit_bounds b
                    WHERE b.pool = e.pool AND b.field = f.field
                      AND e.at BETWEEN b.since - interval '1 second' AND b.until
                      AND b.bound IS NOT DISTINCT FROM CASE f.field WHEN 'issue_start' THEN e.issue_start ELSE e.issue_end END)
