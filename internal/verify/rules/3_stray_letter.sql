-- A dead letter names a message that is not there, or that has other bytes.
-- Shown: partition and offset of {dead-letters}, of the request those of {code-requests}.
-- Do: find out who wrote it; whoever mends dead letters may be mending what was never sent.
SELECT l.part AS partition, l.off AS offset, l.rpart AS request_partition, l.roff AS request_offset, CASE WHEN r.part IS NULL THEN 'no such message' ELSE 'other bytes' END AS finding
  FROM audit_letters l
  LEFT JOIN audit_partitions p ON p.part = l.rpart
  LEFT JOIN audit_requests r ON r.part = l.rpart AND r.off = l.roff
 WHERE l.ours AND (p.part IS NULL OR l.roff >= p.log_start AND l.roff < p.log_end)
   AND (r.part IS NULL OR NOT l.truncated AND r.digest <> l.digest)
