-- The code.issued events of one request differ in their bytes, ce_id or ce_time. (Of a customer who was erased meanwhile there are two kinds: with the id and without.)
-- Shown: events as partition/offset of {code-outcomes}.
-- Do: compare the events; the issuance in the database is the one that counts (verify names the wrong event under 4).
SELECT o.pool, o.request, t.n AS events, min(format('%s/%s', o.part, o.off)) AS event, max(format('%s/%s', o.part, o.off)) AS other_event
  FROM (SELECT pool, request, count(*) AS n FROM audit_outcomes WHERE issued
         GROUP BY pool, request
        HAVING min(v1) FILTER (WHERE NOT erased) <> max(v1) FILTER (WHERE NOT erased) OR min(v2) FILTER (WHERE NOT erased) <> max(v2) FILTER (WHERE NOT erased)
            OR min(v1) FILTER (WHERE erased) <> max(v1) FILTER (WHERE erased) OR min(v2) FILTER (WHERE erased) <> max(v2) FILTER (WHERE erased)
            OR min(coalesce(alias, customer)) <> max(coalesce(alias, customer))) t
  JOIN audit_outcomes o ON o.issued AND o.pool = t.pool AND o.request = t.request
 GROUP BY o.pool, o.request, t.n
