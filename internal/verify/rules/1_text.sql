-- The same code lies at two places of a single-use pool, and both are issued.
-- Do: stop the pool (docs/operations.md, When verify finds something); give all but the first of these requests another code by hand; find out who dropped codes_code_key.
SELECT p.id AS pool, array_agg(format('%s/%s', i.lot, i.seq) ORDER BY i.issued_at) AS places, array_agg(i.request_id ORDER BY i.issued_at) AS requests
  FROM (SELECT pool, code FROM codes GROUP BY pool, code HAVING count(*) > 1) t
  JOIN pools p ON p.pool = t.pool AND NOT p.multi_use
  JOIN codes c ON c.pool = t.pool AND c.code = t.code
  JOIN issuances i ON i.pool = c.pool AND i.lot = c.lot AND i.seq = c.seq
 GROUP BY p.id, t.code
HAVING count(DISTINCT i.request_id) > 1
