-- A request was refused for want of codes by a state of the pool before codes that were there by then.
-- Shown: partition and offset of {code-requests}.
-- Do: publish the refused requests of these batches again; the partition decided by what it had read before. (Uploaded codes are there a minute after their chunk was begun.)
SELECT p.id AS pool, v.part AS partition, v.off AS offset, o.request, v.decided_at, e.revision, l.lot, l.revision AS lot_revision, l.created_at AS lot_created_at
  FROM audit_verdicts v
  JOIN audit_outcomes o ON o.rpart = v.part AND o.roff = v.off AND NOT o.issued AND NOT o.other_stream AND o.hash = v.hash
  JOIN pools p ON p.id = o.pool
  JOIN audit_evidence e ON e.pool = p.pool AND e.at = v.decided_at
  JOIN lots l ON l.pool = p.pool AND l.revision > e.revision
 WHERE v.reason IN (3, 4) AND l.created_at < v.decided_at - CASE WHEN l.generator IS NULL THEN interval '1 minute' ELSE interval '0' END
