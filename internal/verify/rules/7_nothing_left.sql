-- "None in window" was said although every code was issued or expired.
-- Shown: partition and offset of {code-requests}.
-- Do: nothing for the customers: the refusal was right and its reason was not; report a bug with the pool, revision and times.
SELECT p.id AS pool, v.part AS partition, v.off AS offset, v.decided_at, e.revision
  FROM audit_verdicts v
  JOIN audit_outcomes o ON o.rpart = v.part AND o.roff = v.off AND NOT o.issued AND NOT o.other_stream AND o.hash = v.hash
  JOIN pools p ON p.id = o.pool
  JOIN audit_evidence e ON e.pool = p.pool AND e.at = v.decided_at
 WHERE v.reason = 4
   AND NOT EXISTS (SELECT 1 FROM lots l JOIN audit_lots a ON a.pool = l.pool AND a.lot = l.lot
                    WHERE l.pool = p.pool AND l.revision <= e.revision AND (a.complete_at IS NULL OR a.complete_at > v.decided_at OR a.changed_at > e.revision)
                      AND (NOT p.multi_use OR l.size > (SELECT coalesce(sum(c.withdrawn), 0) FROM lot_changes c WHERE c.pool = l.pool AND c.lot = l.lot AND c.revision <= e.revision))
                      AND (l.issue_start > v.decided_at OR e.issue_start > v.decided_at OR e.issue_end <= v.decided_at)
                      AND (l.issue_end IS NULL OR l.issue_end > v.decided_at) AND (l.available_till IS NULL OR l.available_till > v.decided_at))
