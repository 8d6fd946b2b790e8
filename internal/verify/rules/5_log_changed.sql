-- The log holds another message than the one rejected at its offset, or none.
-- Shown: partition and offset of {code-requests}.
-- Do: find out who changed the topic; the partition stops when it has to repeat the verdict, and readyz says so.
SELECT v.part AS partition, v.off AS offset, r.pool, r.request, v.decided_at AS rejected_at
  FROM audit_verdicts v
  JOIN audit_partitions p ON p.part = v.part AND v.off >= p.log_start AND v.off < p.log_end
  LEFT JOIN audit_requests r ON r.part = v.part AND r.off = v.off
 WHERE r.hash IS DISTINCT FROM v.hash
