-- A code for one use was redeemed while an earlier redemption of it stood.
-- Do: decide which of the two counts and roll the other back; the database's own law was broken, so find out who dropped redemptions_once_key.
SELECT p.id AS pool, t.lot, t.seq, t.redemption_id AS redemption, t.decided_at, t.before AS earlier_redemption
  FROM (SELECT r.*, lag(r.redemption_id) OVER w AS before,
               max(coalesce(r.rolled_back_at, 'infinity')) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
          FROM redemptions r
          JOIN pools p ON p.pool = r.pool AND NOT p.multi_use
         WHERE r.reason = 0 AND NOT r.external AND r.lot IS NOT NULL
        WINDOW w AS (PARTITION BY r.pool, r.lot, r.seq ORDER BY r.decided_at, r.redemption_id)) t
  JOIN pools p ON p.pool = t.pool
 WHERE t.decided_at < t.until
