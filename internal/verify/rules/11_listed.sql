-- A customer's list has a code that is not the customer's, or has it twice.
-- Do: go by the issuance (GET /v1/pools/{id}/issuances/{request_id}) when the customer asks, for the list is wrong; report a bug.
SELECT p.id AS pool, c.lot, c.seq, CASE WHEN i.seq IS NULL THEN 'not issued' WHEN c.n > 1 THEN 'twice' ELSE 'another customer or time' END AS finding
  FROM (SELECT pool, lot, seq, count(*) AS n, min(customer_id) AS customer_id, min(issued_at) AS issued_at FROM customer_codes GROUP BY pool, lot, seq) c
  LEFT JOIN issuances i ON i.pool = c.pool AND i.lot = c.lot AND i.seq = c.seq
  LEFT JOIN pools p ON p.pool = c.pool
 WHERE c.n > 1 OR i.seq IS NULL OR i.customer_id <> c.customer_id OR i.issued_at <> c.issued_at
