-- An event of a redemption has no redemption in the database, or one that differs. (Of an erased customer the database keeps the alias, and no context.)
-- Shown: partition and offset of {redemption-outcomes}.
-- Do: if the database was restored from a backup, redeem nothing before it is complete (docs/operations.md, The gate); else find out who wrote the event or changed the row.
SELECT d.partition, d.offset, d.pool, d.redemption, CASE WHEN d.stored THEN d.differs ELSE 'no redemption' END AS differs
  FROM (SELECT o.part AS partition, o.off AS offset, o.pool, o.redemption, a.pool IS NOT NULL AS stored,
               concat_ws(', ',
                   CASE WHEN a.reason <> o.reason THEN 'reason' END,
                   CASE WHEN a.code <> o.code THEN 'code' END,
                   CASE WHEN a.customer IS DISTINCT FROM o.customer AND coalesce(a.customer <> o.alias, true) THEN 'customer_id' END,
                   CASE WHEN a.order_id IS DISTINCT FROM o.order_id AND coalesce(a.order_id <> o.order_alias, true) THEN 'order_id' END,
                   CASE WHEN a.occurred_at IS DISTINCT FROM o.occurred_at THEN 'occurred_at' END,
                   CASE WHEN o.kind <> 1 AND a.issued_to IS DISTINCT FROM o.issued_to AND coalesce(a.issued_to <> o.issued_alias, true) THEN 'issued_to' END,
                   CASE WHEN a.decided_at <> o.decided_at THEN 'time' END,
                   CASE WHEN o.kind <> 1 AND a.external <> o.external THEN 'processing' END,
                   CASE WHEN o.rolled_back_at IS NOT NULL AND a.rolled_back_at IS DISTINCT FROM o.rolled_back_at THEN 'rolled_back_at' END,
                   CASE WHEN a.context IS DISTINCT FROM o.context AND (a.context IS NOT NULL OR coalesce(a.customer, a.issued_to, '') NOT LIKE 'erased:%') THEN 'context' END) AS differs
          FROM audit_redemption_outcomes o
         CROSS JOIN audit_redemption_cut c
          LEFT JOIN audit_redemptions a ON a.pool = o.pool AND a.redemption = o.redemption
                AND CASE WHEN o.reason = 'redemption_conflict' THEN a.content = o.content OR a.content = o.keyed ELSE a.content IS NULL END
         WHERE NOT (o.kind = 1 AND o.decided_at < c.at - interval '29 days')) d
 WHERE NOT d.stored OR d.differs <> ''
