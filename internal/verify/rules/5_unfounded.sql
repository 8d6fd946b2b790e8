-- A code.rejected event has no stored verdict, or one that differs.
-- Shown: partition and offset of {code-requests}, events as partition/offset of {code-outcomes}.
-- Do: if the database was restored from a backup, issue nothing before it is complete (docs/operations.md, The gate); else find out who wrote the event or changed the row.
SELECT o.rpart AS partition, o.roff AS offset, o.pool, o.request, format('%s/%s', o.part, o.off) AS event,
       CASE WHEN v.part IS NULL THEN 'no verdict'
            ELSE concat_ws(', ', CASE WHEN v.hash <> o.hash THEN 'request' END, CASE WHEN v.reason <> o.reason THEN 'reason' END,
                                 CASE WHEN v.decided_at <> o.at THEN 'rejected_at' END)
       END AS differs
  FROM audit_outcomes o
  JOIN audit_partitions p ON p.part = o.rpart AND o.roff >= p.log_start
  LEFT JOIN audit_verdicts v ON v.part = o.rpart AND v.off = o.roff
 WHERE NOT o.issued AND NOT o.other_stream
   AND (v.part IS NULL OR v.hash <> o.hash OR v.reason <> o.reason OR v.decided_at <> o.at)
