-- A code is blocked and its history does not say so, or says so and it is not.
-- Do: look at the code (promopool code POOL CODE) and block or unblock it as it is meant to be; what was issued or redeemed in between cannot be judged by the history.
SELECT p.id AS pool, coalesce(b.lot, h.lot) AS lot, coalesce(b.seq, h.seq) AS seq, b.at AS blocked_at, h.action AS history_says, h.at AS history_says_at
  FROM blocks b
  FULL JOIN (SELECT DISTINCT ON (pool, lot, seq) pool, lot, seq, at, action
               FROM code_history WHERE action IN ('blocked', 'unblocked') ORDER BY pool, lot, seq, entry DESC) h
         ON h.pool = b.pool AND h.lot = b.lot AND h.seq = b.seq
  LEFT JOIN pools p ON p.pool = coalesce(b.pool, h.pool)
 WHERE CASE WHEN b.pool IS NULL THEN h.action = 'blocked' ELSE h.action IS DISTINCT FROM 'blocked' OR h.at <> b.at END
