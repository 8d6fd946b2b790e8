-- A malformed message below the group's offset is not in the dead letters, or with other bytes.
-- Shown: partition and offset of {code-requests}.
-- Do: move the group's offset of the partition back to the first of these: they are dead-lettered again.
SELECT r.part AS partition, r.off AS offset,
       EXISTS (SELECT 1 FROM audit_letters l WHERE l.rpart = r.part AND l.roff = r.off) AS dead_letter_with_other_bytes
  FROM audit_requests r
  JOIN audit_partitions p ON p.part = r.part AND r.off < p.committed
 CROSS JOIN audit_horizon h
 WHERE (h.letters IS NULL OR r.at >= h.letters)
   AND (r.request IS NULL OR EXISTS (SELECT 1 FROM audit_verdicts v WHERE v.part = r.part AND v.off = r.off AND v.reason = 7))
   AND NOT EXISTS (SELECT 1 FROM audit_letters l WHERE l.rpart = r.part AND l.roff = r.off AND (l.digest = r.digest OR l.truncated))
 ORDER BY r.part, r.off
