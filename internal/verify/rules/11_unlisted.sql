-- An issued code is neither listed under its customer nor about to be; or both.
-- Do: go by the issuance (GET /v1/pools/{id}/issuances/{request_id}) when the customer asks: they have the code, and their list does not say so, or twice; report a bug.
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, CASE WHEN c.seq IS NULL THEN 'not listed' ELSE 'listed, and to be listed' END AS finding
  FROM issuances i
  LEFT JOIN pools p ON p.pool = i.pool
  LEFT JOIN customer_codes c ON c.pool = i.pool AND c.lot = i.lot AND c.seq = i.seq
  LEFT JOIN (SELECT DISTINCT s.pool, s.lot, n AS seq
               FROM unlisted u CROSS JOIN LATERAL unnest(u.pools, u.lots, u.firsts, u.counts) AS s(pool, lot, first, count)
              CROSS JOIN LATERAL generate_series(s.first, s.first + s.count - 1) AS n) u ON u.pool = i.pool AND u.lot = i.lot AND u.seq = i.seq
 WHERE (c.seq IS NULL) = (u.seq IS NULL)
