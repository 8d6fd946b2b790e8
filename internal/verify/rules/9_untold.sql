-- What became of a redemption was stored and not published.
-- Do: move the redeeming group's offsets back to before it was asked for over Kafka; of one that came by HTTP the outbox has lost the event: tell whoever counts on it.
SELECT t.pool, t.redemption, t.event, t.at
  FROM (SELECT a.pool, a.redemption, CASE WHEN a.reason = '' THEN 0 ELSE 1 END AS kind, a.content, a.decided_at AS at,
               CASE WHEN a.reason = '' THEN 'promopool.code.redeemed' ELSE 'promopool.redemption.rejected' END AS event
          FROM audit_redemptions a
        UNION ALL
        SELECT a.pool, a.redemption, 2, NULL, a.rolled_back_at, 'promopool.code.redemption_rolled_back' FROM audit_redemptions a WHERE a.rolled_back_at IS NOT NULL) t
 CROSS JOIN audit_redemption_cut c
  LEFT JOIN (SELECT DISTINCT pool, redemption, kind, reason = 'redemption_conflict' AS conflict, CASE WHEN reason = 'redemption_conflict' THEN content END AS content,
                    CASE WHEN reason = 'redemption_conflict' THEN keyed END AS keyed
               FROM audit_redemption_outcomes) o
         ON o.pool = t.pool AND o.redemption = t.redemption AND o.kind = t.kind AND CASE WHEN o.conflict THEN t.content = o.content OR t.content = o.keyed ELSE t.content IS NULL END
 WHERE o.pool IS NULL AND t.at < c.at - interval '1 minute' AND (c.outcomes IS NULL OR t.at >= c.outcomes)
   AND NOT EXISTS (SELECT 1 FROM audit_redemption_outbox b WHERE b.pool = t.pool AND b.redemption = t.redemption AND b.type = t.event)
   AND NOT EXISTS (SELECT 1 FROM audit_redemption_requests r JOIN audit_redemption_partitions p ON p.part = r.part AND r.off >= p.committed
                    WHERE r.pool = t.pool AND r.redemption = t.redemption AND t.kind < 2)
