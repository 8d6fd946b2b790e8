-- A request was rejected when it was decided, and its answer is a code.
-- Shown: partition and offset of {code-requests}, events as partition/offset of {code-outcomes}.
-- Do: compare the event with the issuance (GET /v1/pools/{id}/issuances/{request_id}); the issue counts, and whoever was told of the rejection must hear of it.
SELECT o.rpart AS partition, o.roff AS offset, o.pool, o.request, format('%s/%s', o.part, o.off) AS event, v.decided_at AS rejected_at, o.at AS issued_at
  FROM audit_outcomes o
  JOIN audit_verdicts v ON v.part = o.rpart AND v.off = o.roff
 WHERE o.issued AND o.ours
