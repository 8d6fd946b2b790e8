-- A code's place has issuances of several requests.
-- Do: stop the pool (docs/operations.md, When verify finds something); give all but the first of these requests another code by hand; find out who dropped issuances_pkey.
SELECT p.id AS pool, t.lot, t.seq, t.n AS issuances,
       ARRAY(SELECT i.request_id FROM issuances i WHERE i.pool = t.pool AND i.lot = t.lot AND i.seq = t.seq ORDER BY i.issued_at LIMIT 3) AS requests
  FROM (SELECT pool, lot, seq, count(*) AS n FROM issuances GROUP BY pool, lot, seq HAVING count(*) > 1) t
  LEFT JOIN pools p ON p.pool = t.pool
