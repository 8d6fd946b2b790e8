-- An event of a redemption has no redemption in the database, or one that differs.
-- Do: if the database was restored from a backup, redeem nothing before it is complete (docs/operations.md, The gate); else find out who wrote the event or changed the row.
SELECT o.part AS partition, o.off AS offset, o.pool, o.redemption,
       CASE WHEN a.pool IS NULL THEN 'no redemption'
            ELSE concat_ws(', ',
                CASE WHEN a.reason <> o.reason THEN 'reason' END,
                CASE WHEN a.code <> o.code THEN 'code' END,
                CASE WHEN a.customer IS DISTINCT FROM o.customer THEN 'customer_id' END,
                CASE WHEN a.order_id IS DISTINCT FROM o.order_id THEN 'order_id' END,
                CASE WHEN a.occurred_at IS DISTINCT FROM o.occurred_at THEN 'occurred_at' END,
                CASE WHEN o.kind <> 1 AND a.issued_to IS DISTINCT FROM o.issued_to THEN 'issued_to' END,
                CASE WHEN a.decided_at <> o.decided_at THEN 'time' END,
                CASE WHEN o.kind <> 1 AND a.external <> o.external THEN 'processing' END,
                CASE WHEN o.rolled_back_at IS NOT NULL AND a.rolled_back_at IS DISTINCT FROM o.rolled_back_at THEN 'rolled_back_at' END,
                CASE WHEN a.context IS DISTINCT FROM o.context THEN 'context' END)
       END AS differs
  FROM audit_redemption_outcomes o
 CROSS JOIN audit_redemption_cut c
  LEFT JOIN audit_redemptions a ON a.pool = o.pool AND a.redemption = o.redemption
        AND a.content IS NOT DISTINCT FROM CASE WHEN o.reason = 'redemption_conflict' THEN o.content END
 WHERE NOT (o.kind = 1 AND o.decided_at < c.at - interval '29 days')
   AND (a.pool IS NULL OR a.reason <> o.reason OR a.code <> o.code OR a.customer IS DISTINCT FROM o.customer OR a.order_id IS DISTINCT FROM o.order_id
        OR a.occurred_at IS DISTINCT FROM o.occurred_at OR o.kind <> 1 AND (a.issued_to IS DISTINCT FROM o.issued_to OR a.external <> o.external)
        OR a.decided_at <> o.decided_at OR o.rolled_back_at IS NOT NULL AND a.rolled_back_at IS DISTINCT FROM o.rolled_back_at
        OR a.context IS DISTINCT FROM o.context)
