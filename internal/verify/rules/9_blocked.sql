-- A code was redeemed while it was blocked.
-- Do: decide whether the redemption counts, and roll it back if not. (A second's difference to its unblocking is allowed. Blocking waits for the redemptions under way.)
SELECT p.id AS pool, r.lot, r.seq, r.redemption_id AS redemption, r.decided_at, h.at AS blocked_at, h.until AS unblocked_at
  FROM (SELECT pool, lot, seq, at, lead(at, 1, 'infinity') OVER (PARTITION BY pool, lot, seq ORDER BY entry) AS until, action
          FROM code_history WHERE action IN ('blocked', 'unblocked')) h
  JOIN pools p ON p.pool = h.pool
  JOIN redemptions r ON r.pool = h.pool AND r.lot = h.lot AND r.seq = h.seq
 WHERE h.action = 'blocked' AND r.reason = 0 AND NOT r.external
   AND r.decided_at > h.at AND r.decided_at < h.until - interval '1 second'
