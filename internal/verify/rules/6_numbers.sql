-- A lot's codes are not those numbered 0 to size−1, but for those that were moved; or a generated lot has codes that are stored.
-- Do: stop the pool (docs/operations.md, When verify finds something); restore the missing codes from the imported file or a backup.
SELECT p.id AS pool, coalesce(l.lot, c.lot) AS lot, l.size, l.moved, coalesce(c.n, 0) AS codes, c.first, c.last
  FROM lots l
  FULL JOIN (SELECT pool, lot, count(*) AS n, min(seq) AS first, max(seq) AS last, sum(seq) AS sum FROM codes GROUP BY pool, lot) c
         ON c.pool = l.pool AND c.lot = l.lot
  LEFT JOIN pools p ON p.pool = coalesce(l.pool, c.pool)
 -- Codes of a draft that was deleted lie about until housekeeping comes.
 WHERE (p.pool IS NOT NULL OR l.lot IS NOT NULL OR EXISTS (SELECT FROM issuances i WHERE i.pool = c.pool))
   AND CASE WHEN l.generator IS NOT NULL THEN c.n IS NOT NULL
       ELSE l.lot IS NULL OR coalesce(c.n, 0) <> l.size - l.moved OR c.first < 0 OR c.last > l.size - 1
            OR (l.moved = 0 AND (c.first <> 0 OR c.last <> l.size - 1 OR c.sum <> l.size::numeric * (l.size - 1) / 2)) END
