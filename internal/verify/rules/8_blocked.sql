-- A code was issued while it was blocked.
-- Do: decide whether the customer keeps it; a till refuses it while it is blocked. (A second's difference to its unblocking is allowed: a batch reads the clock before it is decided. Blocking waits for the batches in flight.)
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, i.issued_at, h.at AS blocked_at, h.until AS unblocked_at
  FROM (SELECT pool, lot, seq, at, lead(at, 1, 'infinity') OVER (PARTITION BY pool, lot, seq ORDER BY entry) AS until, action
          FROM code_history WHERE action IN ('blocked', 'unblocked')) h
  JOIN pools p ON p.pool = h.pool
  JOIN lots l ON l.pool = h.pool AND l.lot = h.lot
  JOIN issuances i ON i.pool = h.pool AND i.lot = h.lot AND CASE WHEN p.multi_use THEN i.seq % l.size ELSE i.seq END = h.seq
 WHERE h.action = 'blocked' AND i.issued_at > h.at AND i.issued_at < h.until - interval '1 second'
