-- A code was redeemed before its pool was launched, or was never issued and redeemed after the pool was archived; or the pool has no such code.
-- Do: decide whether the redemption counts, and roll it back if not; see in the pool's history who launched or archived it when.
SELECT p.id AS pool, r.lot, r.seq, r.redemption_id AS redemption, r.decided_at, p.launched_at, p.archived_at
  FROM redemptions r
  LEFT JOIN pools p ON p.pool = r.pool
  LEFT JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
  LEFT JOIN issuances i ON i.pool = r.pool AND i.lot = r.lot AND i.seq = r.seq
 WHERE r.reason = 0
   AND (p.launched_at IS NULL OR r.decided_at < p.launched_at OR r.multi_use <> p.multi_use
        OR NOT r.external AND (l.lot IS NULL OR r.seq < 0 OR r.seq >= l.size OR NOT p.multi_use AND i.seq IS NULL AND r.decided_at > p.archived_at))
