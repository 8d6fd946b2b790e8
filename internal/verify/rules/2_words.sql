-- The code.issued events of one request differ in their bytes, ce_id or ce_time.
-- Do: compare the events; the issuance in the database is the one that counts (verify names the wrong event under 4).
SELECT o.pool, o.request, t.n AS events, min(format('%s/%s', o.part, o.off)) AS event, max(format('%s/%s', o.part, o.off)) AS other_event
  FROM (SELECT pool, request, count(*) AS n FROM audit_outcomes WHERE issued
         GROUP BY pool, request HAVING min(v1) <> max(v1) OR min(v2) <> max(v2)) t
  JOIN audit_outcomes o ON o.issued AND o.pool = t.pool AND o.request = t.request
 GROUP BY o.pool, o.request, t.n
