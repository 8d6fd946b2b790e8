-- A code was issued outside the issue window of its pool.
-- Do: decide whether the customer keeps it, and block it if not; see in the pool's history who changed the window when. (A window counts from a second before its change: a batch reads the clock before the pool. The one before it ends with the change, which waits for the batches in flight.)
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, i.issued_at,
       CASE f.field WHEN 'issue_start' THEN 'before issue_start' ELSE 'after issue_end' END AS finding, p.issue_start, p.issue_end
  FROM issuances i
  JOIN (SELECT DISTINCT pool, field FROM audit_bounds) f ON f.pool = i.pool
  JOIN pools p ON p.pool = i.pool
 WHERE NOT EXISTS (SELECT 1 FROM audit_bounds b
                    WHERE b.pool = f.pool AND b.field = f.field
                      AND i.issued_at BETWEEN b.since - interval '1 second' AND b.until
                      AND (b.bound IS NULL OR CASE b.field WHEN 'issue_start' THEN b.bound <= i.issued_at ELSE b.bound > i.issued_at END))
