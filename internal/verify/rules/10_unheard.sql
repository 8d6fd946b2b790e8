-- Somebody subscribed when a pool crossed a mark, and has no notice of that.
-- Do: tell them by hand; the watch is wrong: keep the pool's crossings and report a bug. (A subscription counts from ten seconds after it was made: it may have been committed later.)
SELECT p.id AS pool, c.low_no AS crossing, c.kind, c.at, s.id AS staff
  FROM crossings c
  JOIN pools p ON p.pool = c.pool
  JOIN (SELECT DISTINCT s.staff, s.id, k.pool, greatest(s.active_since, u.created_at) AS since
          FROM staff s
          JOIN subscriptions u ON u.staff = s.staff
          JOIN pools k ON u.pool = k.pool OR u.campaign = k.campaign OR num_nonnulls(u.pool, u.campaign) = 0
         WHERE s.active) s ON s.pool = c.pool AND s.since < c.at - interval '10 seconds'
 WHERE c.kind IN ('low', 'exhausted') AND c.threshold IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.pool = c.pool AND n.low_no = c.low_no AND n.kind = 'pool_' || c.kind AND n.staff = s.staff)
