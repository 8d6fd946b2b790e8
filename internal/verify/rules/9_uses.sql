-- How often a code for many uses, or the codes of a pool, were redeemed is counted wrongly.
-- Do: put code_uses or redemption_counts right by the redemptions that stand; until then limits are not kept, or too soon.
SELECT p.id AS pool, t.lot, t.seq, t.counted, t.redeemed
  FROM (SELECT coalesce(u.pool, r.pool) AS pool, coalesce(u.lot, r.lot) AS lot, coalesce(u.seq, r.seq) AS seq, coalesce(u.uses, 0) AS counted, coalesce(r.n, 0) AS redeemed
          FROM code_uses u
          FULL JOIN (SELECT pool, lot, seq, count(*) AS n FROM redemptions WHERE reason = 0 AND multi_use AND lot IS NOT NULL AND rolled_back_at IS NULL GROUP BY 1, 2, 3) r
                 ON r.pool = u.pool AND r.lot = u.lot AND r.seq = u.seq
        UNION ALL
        SELECT coalesce(c.pool, r.pool), NULL, NULL, coalesce(c.n, 0), coalesce(r.n, 0)
          FROM (SELECT pool, sum(redeemed)::bigint AS n FROM redemption_counts GROUP BY 1) c
          FULL JOIN (SELECT pool, count(*) AS n FROM redemptions WHERE reason = 0 AND lot IS NOT NULL AND rolled_back_at IS NULL GROUP BY 1) r ON r.pool = c.pool) t
  LEFT JOIN pools p ON p.pool = t.pool
 WHERE t.counted <> t.redeemed
