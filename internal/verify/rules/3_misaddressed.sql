-- An outcome event answers a request that is not there, is malformed, or asked for something else.
-- Shown: partition and offset of {code-outcomes}, of the request those of {code-requests}.
-- Do: whoever waits for that request was told something of another: compare the event's request with the offset it names, and find out who wrote the event.
SELECT o.part AS partition, o.off AS offset, o.rpart AS request_partition, o.roff AS request_offset, o.pool, o.request,
       CASE WHEN r.part IS NULL THEN 'no such request' WHEN r.request IS NULL THEN 'malformed' ELSE 'asked for something else' END AS finding
  FROM audit_outcomes o
  LEFT JOIN audit_partitions p ON p.part = o.rpart
  LEFT JOIN audit_requests r ON r.part = o.rpart AND r.off = o.roff
 WHERE o.ours AND (p.part IS NULL OR o.roff >= p.log_start AND o.roff < p.log_end)
   AND (r.pool = o.pool AND r.request = o.request AND (r.customer = o.customer OR r.alias = o.customer)) IS NOT TRUE
