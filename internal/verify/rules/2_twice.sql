-- A request has several issuances.
-- Do: stop the pool (docs/operations.md, When verify finds something); the first is the one its customer was told; find out who dropped issuances_request_key.
SELECT p.id AS pool, t.request_id AS request, t.n AS issuances,
       ARRAY(SELECT format('%s/%s', i.lot, i.seq) FROM issuances i WHERE i.pool = t.pool AND i.request_id = t.request_id ORDER BY i.issued_at LIMIT 3) AS places
  FROM (SELECT pool, request_id, count(*) AS n FROM issuances GROUP BY pool, request_id HAVING count(*) > 1) t
  LEFT JOIN pools p ON p.pool = t.pool
