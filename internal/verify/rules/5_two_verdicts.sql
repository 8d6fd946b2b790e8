-- One delivery was answered in two ways, at least one of them a rejection.
-- Shown: partition and offset of {code-requests}, events as partition/offset of {code-outcomes}.
-- Do: a code.issued counts, and of two rejections the first; what was decided was not kept, so report a bug with both events.
SELECT a.rpart AS partition, a.roff AS offset, a.pool, a.request, format('%s/%s', a.part, a.off) AS event, format('%s/%s', b.part, b.off) AS other_event
  FROM audit_outcomes a
  JOIN audit_outcomes b ON b.rpart = a.rpart AND b.roff = a.roff AND b.pool = a.pool AND b.request = a.request AND coalesce(b.alias, b.customer) = coalesce(a.alias, a.customer)
 WHERE NOT a.issued AND NOT a.other_stream AND NOT b.other_stream
   AND (b.issued OR ((a.v1, a.v2) <> (b.v1, b.v2) AND (a.part, a.off) < (b.part, b.off)
                     AND (a.erased = b.erased OR (a.reason, a.at) <> (b.reason, b.at))))
