-- A request was rejected after it had its code. (A second's difference is allowed: so old may a decision's time be when it is committed, and only then is the issuance found.)
-- Shown: partition and offset of {code-outcomes}.
-- Do: the issue counts: tell whoever heard of the rejection; the stored issuance was not looked for, so report a bug with the event.
SELECT o.part AS partition, o.off AS offset, o.pool, o.request, i.lot, i.seq, i.issued_at, o.at AS rejected_at
  FROM audit_outcomes o
  JOIN pools p ON p.id = o.pool
  JOIN issuances i ON i.pool = p.pool AND i.request_id = o.request AND (i.customer_id = o.customer OR i.customer_id = o.alias)
 WHERE NOT o.issued AND o.at > i.issued_at + interval '1 second'
