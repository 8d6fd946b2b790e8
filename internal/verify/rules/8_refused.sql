-- A request was refused for a state that the pool was not in, or as expired when it was not.
-- Shown: partition and offset of {code-outcomes}.
-- Do: publish the request again, and it gets its code; report a bug with the event.
SELECT o.part AS partition, o.off AS offset, o.pool, o.request, o.at AS rejected_at,
       CASE WHEN o.reason IN (1, 2) THEN 'the pool was active' ELSE 'it had not expired' END AS finding
  FROM audit_outcomes o
  LEFT JOIN pools p ON p.id = o.pool
  LEFT JOIN audit_requests r ON r.part = o.rpart AND r.off = o.roff AND r.hash = o.hash
 WHERE NOT o.issued AND NOT o.other_stream
   AND ((o.reason IN (1, 2) AND p.launched_at < o.at - interval '1 second' AND (p.archived_at IS NULL OR p.archived_at > o.at + interval '1 second'))
     OR (o.reason = 5 AND r.part IS NOT NULL AND (r.expires IS NULL OR r.expires > o.at)))
