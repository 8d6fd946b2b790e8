-- An event of a redemption answers a request that is not there, is malformed, or asked for something else.
-- Shown: partition and offset of {redemption-outcomes}, of the request those of {redemption-requests}.
-- Do: the till that waits for that request was told something of another: compare the two, and find out who wrote the event.
SELECT o.part AS partition, o.off AS offset, o.rpart AS request_partition, o.roff AS request_offset, o.pool, o.redemption,
       CASE WHEN r.part IS NULL THEN 'no such request' WHEN r.redemption IS NULL THEN 'malformed' ELSE 'asked for something else' END AS finding
  FROM audit_redemption_outcomes o
  LEFT JOIN audit_redemption_partitions p ON p.part = o.rpart
  LEFT JOIN audit_redemption_requests r ON r.part = o.rpart AND r.off = o.roff
 WHERE o.ours AND (p.part IS NULL OR o.roff >= p.log_start AND o.roff < p.log_end)
   AND (r.pool = o.pool AND r.redemption = o.redemption AND (r.content = o.content OR r.aliased = o.content)) IS NOT TRUE
