-- A code that nobody has was redeemed and is still in stock: the next request may get it.
-- Do: block the code (promopool code block) before somebody gets it; report a bug with the redemption.
SELECT p.id AS pool, r.lot, r.seq, r.redemption_id AS redemption, r.decided_at
  FROM redemptions r
  JOIN pools p ON p.pool = r.pool AND NOT p.multi_use
  LEFT JOIN issuances i ON i.pool = r.pool AND i.lot = r.lot AND i.seq = r.seq
  LEFT JOIN withdrawn w ON w.pool = r.pool AND w.lot = r.lot AND w.seq = r.seq
 WHERE r.reason = 0 AND r.lot IS NOT NULL AND i.seq IS NULL AND w.why IS DISTINCT FROM 'redeemed'
   AND (p.archived_at IS NULL OR r.decided_at < p.archived_at)
