-- A request below the group's offset has no outcome.
-- Shown: partition and offset of {code-requests}.
-- Do: move the group's offset of the partition back to the first of these (kafka-consumer-groups --reset-offsets): what was decided is told again, what was not is decided.
SELECT r.part AS partition, r.off AS offset, r.pool, r.request
  FROM audit_requests r
  JOIN audit_partitions p ON p.part = r.part AND r.off < p.committed
 CROSS JOIN audit_horizon h
 WHERE r.request IS NOT NULL AND (h.outcomes IS NULL OR r.at >= h.outcomes)
   AND NOT EXISTS (SELECT 1 FROM audit_outcomes o
                    WHERE o.rpart = r.part AND o.roff = r.off AND o.pool = r.pool AND o.request = r.request AND (o.customer = r.customer OR o.customer = r.alias)
                      AND NOT o.other_stream)
   AND NOT EXISTS (SELECT 1 FROM audit_verdicts v WHERE v.part = r.part AND v.off = r.off AND v.reason = 7)
 ORDER BY r.part, r.off
