-- A code has left the stock as redeemed, and nobody redeemed it.
-- Do: it is lost to the stock and safe; look the place up in redemptions, and find out who changed withdrawn or redemptions.
SELECT p.id AS pool, w.lot, w.seq, w.at
  FROM withdrawn w
  LEFT JOIN pools p ON p.pool = w.pool
 WHERE w.why = 'redeemed'
   AND NOT EXISTS (SELECT 1 FROM redemptions r WHERE r.pool = w.pool AND r.lot = w.lot AND r.seq = w.seq AND r.reason = 0)
