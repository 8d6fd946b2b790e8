-- A request was rejected as another customer's, and no other customer has it.
-- Shown: partition and offset of {code-outcomes}.
-- Do: publish it again under its request_id, and its customer gets a code; report a bug with the event.
SELECT o.part AS partition, o.off AS offset, o.pool, o.request
  FROM audit_outcomes o
 WHERE NOT o.issued AND o.reason = 6
   AND NOT EXISTS (SELECT 1 FROM pools p JOIN issuances i ON i.pool = p.pool
                    WHERE p.id = o.pool AND i.request_id = o.request AND i.customer_id <> o.customer AND i.customer_id IS DISTINCT FROM o.alias)
