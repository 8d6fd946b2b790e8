INSERT INTO audit_validities (pool, since, until, months, rest)
WITH edits AS (
    SELECT h.pool, h.entry, h.at, h.changes #>> '{validity,from}' AS before
      FROM history h
     WHERE h.action = 'pool.created' OR h.action = 'pool.edited' AND h.changes ? 'validity'
), spells AS (
    SELECT e.pool, coalesce(lag(e.at) OVER (PARTITION BY e.pool ORDER BY e.entry), '-infinity') AS since, e.at AS until, e.before AS validity FROM edits e
    UNION ALL
    SELECT p.pool, coalesce(e.at, '-infinity'), 'infinity', p.validity
      FROM pools p LEFT JOIN (SELECT pool, max(at) AS at FROM edits GROUP BY pool) e ON e.pool = p.pool
)
SELECT s.pool, s.since, s.until, m.months, s.validity::interval - m.months
  FROM spells s
 CROSS JOIN LATERAL (SELECT make_interval(years => extract(year FROM s.validity::interval)::int, months => extract(month FROM s.validity::interval)::int) AS months) m;
