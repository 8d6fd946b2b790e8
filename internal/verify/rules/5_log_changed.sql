-- The log holds another message than the one rejected at its offset.
-- Do: find out who changed the topic; the partition stops when it has to repeat the verdict.
SELECT v.part AS partition, v.off AS offset, r.pool, r.request
  FROM audit_verdicts v
  JOIN audit_requests r ON r.part = v.part AND r.off = v.off
 WHERE r.hash IS DISTINCT FROM v.hash
