-- A code for many uses was redeemed more often than its pool allowed.
-- Do: decide which of the redemptions count and roll the others back (promopool redemption rollback).
WITH most AS (
    -- The highest that the limit was since the launch; null: there was none for a while.
    SELECT p.pool, l.field, CASE WHEN bool_and(l.most IS NOT NULL) THEN max(l.most) END AS most
      FROM pools p
     CROSS JOIN LATERAL (SELECT 'redemption_limit' AS field, p.redemption_limit AS most
                         UNION ALL SELECT 'redemption_limit_per_customer', p.redemption_limit_per_customer
                         UNION ALL SELECT f.field, (h.changes -> f.field ->> 'from')::bigint
                                     FROM history h CROSS JOIN (VALUES ('redemption_limit'), ('redemption_limit_per_customer')) f(field)
                                    WHERE h.pool = p.pool AND h.action = 'pool.edited' AND h.changes ? f.field AND h.at > p.launched_at) l
     WHERE p.multi_use
     GROUP BY p.pool, l.field
)
SELECT p.id AS pool, r.lot, r.seq, r.customer_id AS customer, r.n AS redeemed, m.most AS allowed, r.latest AS latest_at
  FROM (SELECT pool, lot, seq, NULL AS customer_id, count(*) AS n, max(decided_at) AS latest FROM redemptions
         WHERE reason = 0 AND multi_use AND NOT external AND lot IS NOT NULL AND rolled_back_at IS NULL GROUP BY pool, lot, seq
        UNION ALL
        SELECT pool, lot, seq, customer_id, count(*), max(decided_at) FROM redemptions
         WHERE reason = 0 AND multi_use AND NOT external AND lot IS NOT NULL AND rolled_back_at IS NULL AND customer_id IS NOT NULL GROUP BY pool, lot, seq, customer_id) r
  JOIN most m ON m.pool = r.pool AND m.field = CASE WHEN r.customer_id IS NULL THEN 'redemption_limit' ELSE 'redemption_limit_per_customer' END
  JOIN pools p ON p.pool = r.pool
 WHERE r.n > m.most
