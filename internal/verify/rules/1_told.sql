-- The outcome topic tells one code of a single-use pool to two requests.
-- Shown: events as partition/offset of {code-outcomes}.
-- Do: see which of the two the database has (verify names the other under 4); the other customer needs another code by hand.
SELECT o.pool, min(o.request) AS request, max(o.request) AS other_request, min(format('%s/%s', o.part, o.off)) AS event, max(format('%s/%s', o.part, o.off)) AS other_event
  FROM (SELECT o.pool, o.code
          FROM audit_outcomes o LEFT JOIN pools p ON p.id = o.pool
         WHERE o.issued AND p.multi_use IS NOT TRUE
         GROUP BY o.pool, o.code HAVING min(o.request) <> max(o.request)) t
  JOIN audit_outcomes o ON o.issued AND o.pool = t.pool AND o.code = t.code
 GROUP BY o.pool, o.code
