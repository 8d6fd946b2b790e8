-- A code.issued event has no issuance in the database, or one that differs. (Of an erased customer the database keeps the alias, and no context.)
-- Shown: partition and offset of {code-outcomes}.
-- Do: if the database was restored from a backup, issue nothing before it is complete (docs/operations.md, The gate); else find out who wrote the event or changed the row.
SELECT o.part AS partition, o.off AS offset, o.pool, o.request, i.lot, i.seq,
       CASE WHEN p.pool IS NULL THEN 'no such pool'
            WHEN i.pool IS NULL THEN 'no issuance'
            ELSE concat_ws(', ',
                CASE WHEN i.customer_id <> o.customer AND i.customer_id IS DISTINCT FROM o.alias THEN 'customer_id' END,
                CASE WHEN coalesce(md5(c.code)::uuid, t.code) IS NULL THEN 'the code has no text'
                     WHEN coalesce(md5(c.code)::uuid, t.code) <> o.code THEN 'code' END,
                CASE WHEN g.id IS DISTINCT FROM o.campaign THEN 'campaign_id' END,
                CASE WHEN p.parameter_name <> o.parameter THEN 'parameter_name' END,
                CASE WHEN i.issued_at <> o.at THEN 'issued_at' END,
                CASE WHEN i.valid_from <> o.valid_from THEN 'valid_from' END,
                CASE WHEN i.valid_until IS DISTINCT FROM o.valid_until THEN 'valid_until' END,
                CASE WHEN md5(i.context)::uuid IS DISTINCT FROM o.context AND (i.customer_id = o.customer OR i.context IS NOT NULL) THEN 'context' END)
       END AS differs
  FROM audit_outcomes o
  LEFT JOIN pools p ON p.id = o.pool
  LEFT JOIN campaigns g ON g.campaign = p.campaign
  LEFT JOIN issuances i ON i.pool = p.pool AND i.request_id = o.request
  LEFT JOIN lots l ON l.pool = i.pool AND l.lot = i.lot
  LEFT JOIN codes c ON c.pool = i.pool AND c.lot = i.lot AND c.seq = CASE WHEN p.multi_use THEN i.seq % l.size ELSE i.seq END
  LEFT JOIN audit_generated t ON t.pool = i.pool AND t.lot = i.lot AND t.seq = i.seq
 WHERE o.issued
   AND (i.pool IS NULL OR i.customer_id <> o.customer AND i.customer_id IS DISTINCT FROM o.alias OR coalesce(md5(c.code)::uuid, t.code) IS DISTINCT FROM o.code
        OR g.id IS DISTINCT FROM o.campaign OR p.parameter_name <> o.parameter
        OR i.issued_at <> o.at OR i.valid_from <> o.valid_from OR i.valid_until IS DISTINCT FROM o.valid_until
        OR md5(i.context)::uuid IS DISTINCT FROM o.context AND (i.customer_id = o.customer OR i.context IS NOT NULL))
