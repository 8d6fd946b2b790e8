-- A blocked code of a single-use pool is neither issued nor withdrawn, or one of a multi-use pool is not passed over.
-- Do: stop the pool (docs/operations.md, When verify finds something): the code could be issued; blocks, withdrawn or passes were changed outside the service.
SELECT p.id AS pool, coalesce(b.lot, o.lot) AS lot, coalesce(b.seq, o.seq) AS seq, b.at AS blocked_at
  FROM blocks b
  FULL JOIN (SELECT pool, lot, seq FROM passes WHERE since IS NOT NULL) o ON o.pool = b.pool AND o.lot = b.lot AND o.seq = b.seq
  LEFT JOIN pools p ON p.pool = coalesce(b.pool, o.pool)
  LEFT JOIN issuances i ON i.pool = b.pool AND i.lot = b.lot AND i.seq = b.seq
  LEFT JOIN withdrawn w ON w.pool = b.pool AND w.lot = b.lot AND w.seq = b.seq
 WHERE b.seq IS NULL OR p.multi_use IS NULL OR CASE WHEN p.multi_use THEN o.seq IS NULL ELSE i.seq IS NULL AND w.seq IS NULL END
