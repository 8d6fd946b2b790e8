-- A redemption request below the group's offset has no outcome.
-- Shown: partition and offset of {redemption-requests}.
-- Do: move the redeeming group's offset of the partition back to the first of these (kafka-consumer-groups --reset-offsets): what was judged is told again, what was not is judged.
SELECT r.part AS partition, r.off AS offset, r.pool, r.redemption
  FROM audit_redemption_requests r
  JOIN audit_redemption_partitions p ON p.part = r.part AND r.off < p.committed
 CROSS JOIN audit_redemption_cut c
 WHERE r.redemption IS NOT NULL AND (c.outcomes IS NULL OR r.at >= c.outcomes)
   AND NOT EXISTS (SELECT 1 FROM audit_redemption_outcomes o
                    WHERE o.rpart = r.part AND o.roff = r.off AND o.kind < 2 AND o.pool = r.pool AND o.redemption = r.redemption AND (o.content = r.content OR o.content = r.aliased)
                      AND NOT o.other_stream)
   AND NOT EXISTS (SELECT 1 FROM audit_redemption_letters l WHERE l.rpart = r.part AND l.roff = r.off AND l.poison)
 ORDER BY r.part, r.off
