-- The lots of a pattern are not one after the other the codes that it has made, or lie beside uploaded ones.
-- Do: stop the pool (docs/operations.md, When verify finds something); lots or generators were changed outside the service, and codes could be issued twice.
SELECT p.id AS pool, l.lot, l.gen_from, l.size, l.until AS lots_before_reach, l.total, g.made
  FROM (SELECT pool, lot, generator, gen_from, size,
               coalesce(max(gen_from + size) OVER (PARTITION BY pool, generator ORDER BY gen_from, lot ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS until,
               sum(size) OVER (PARTITION BY pool, generator) AS total,
               bool_or(generator IS NULL) OVER (PARTITION BY pool) AS mixed
          FROM lots) l
  LEFT JOIN generators g ON g.pool = l.pool AND g.generator = l.generator
  LEFT JOIN pools p ON p.pool = l.pool
 WHERE l.generator IS NOT NULL AND (l.mixed OR g.made IS DISTINCT FROM l.total OR l.gen_from <> l.until)
