-- A rejection for want of codes has no evidence, or evidence against it.
-- Shown: partition and offset of {code-requests}.
-- Do: publish the request again if the pool had codes at that time: one that was refused wrongly gets its code then.
SELECT v.part AS partition, v.off AS offset, o.pool, o.request, v.decided_at,
       CASE WHEN e.pool IS NULL THEN 'no evidence' WHEN v.reason = 3 THEN format('%s codes were left', e.remaining) ELSE 'no code was left' END AS finding
  FROM audit_verdicts v
  JOIN audit_outcomes o ON o.rpart = v.part AND o.roff = v.off AND NOT o.issued AND NOT o.other_stream AND o.hash = v.hash
  LEFT JOIN pools p ON p.id = o.pool
  LEFT JOIN (SELECT DISTINCT pool, at, remaining FROM audit_evidence) e ON e.pool = p.pool AND e.at = v.decided_at
 WHERE v.reason IN (3, 4) AND (e.pool IS NULL OR (v.reason = 3) <> (e.remaining = 0))
