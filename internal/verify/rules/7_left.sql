-- "Exhausted" or "none in window" was said while a code was left that could be issued.
-- Shown: partition and offset of {code-requests}.
-- Do: publish the refused requests of these batches again; report a bug with the pool, revision and times.
SELECT p.id AS pool, t.partition, t.offset, t.decided_at, t.revision, l.lot, l.size, a.complete_at AS last_issued_at
  FROM (SELECT e.pool, e.revision, e.issue_start, e.issue_end, v.reason, v.decided_at, min(v.part) AS partition, min(v.off) AS offset
          FROM audit_verdicts v
          JOIN audit_outcomes o ON o.rpart = v.part AND o.roff = v.off AND NOT o.issued AND NOT o.other_stream AND o.hash = v.hash
          JOIN pools p ON p.id = o.pool
          JOIN audit_evidence e ON e.pool = p.pool AND e.at = v.decided_at
         WHERE v.reason IN (3, 4)
         GROUP BY e.pool, e.revision, e.issue_start, e.issue_end, v.reason, v.decided_at) t
  JOIN pools p ON p.pool = t.pool
  JOIN lots l ON l.pool = t.pool AND l.revision <= t.revision
  JOIN audit_lots a ON a.pool = l.pool AND a.lot = l.lot
 WHERE (l.issue_end IS NULL OR l.issue_end > t.decided_at) AND (l.available_till IS NULL OR l.available_till > t.decided_at)
   AND (t.reason = 3 OR (l.issue_start IS NULL OR l.issue_start <= t.decided_at)
                     AND (t.issue_start IS NULL OR t.issue_start <= t.decided_at) AND (t.issue_end IS NULL OR t.issue_end > t.decided_at))
   AND CASE WHEN p.multi_use
            THEN l.size > (SELECT coalesce(sum(c.withdrawn), 0) FROM lot_changes c WHERE c.pool = l.pool AND c.lot = l.lot AND c.revision <= t.revision)
            WHEN a.changed_at IS NULL OR a.changed_at <= t.revision
            THEN a.complete_at IS NULL OR a.complete_at > t.decided_at + interval '1 second'
            ELSE (SELECT count(*) FROM issuances i WHERE i.pool = l.pool AND i.lot = l.lot AND i.issued_at <= t.decided_at + interval '1 second')
                 < l.size - (SELECT coalesce(sum(c.added) FILTER (WHERE c.revision > t.revision), 0) + coalesce(sum(c.taken + c.withdrawn) FILTER (WHERE c.revision <= t.revision), 0)
                               FROM lot_changes c WHERE c.pool = l.pool AND c.lot = l.lot) END
