-- An issued place of a pool for one use has no code any more: it was moved, or deleted, after it was issued, and may be issued again elsewhere.
-- Do: stop the pool (docs/operations.md, When verify finds something), then find the code of each request in its code.issued event and see where it lies now.
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, i.issued_at
  FROM issuances i
  JOIN pools p ON p.pool = i.pool AND NOT p.multi_use
  JOIN lots l ON l.pool = i.pool AND l.lot = i.lot AND l.generator IS NULL
  LEFT JOIN codes c ON c.pool = i.pool AND c.lot = i.lot AND c.seq = i.seq
 WHERE c.pool IS NULL
