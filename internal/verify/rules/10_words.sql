-- Two pool events, or two notices, of the same id differ.
-- Shown: partition:offset of {pool-events} or {staff-notifications}.
-- Do: find out who wrote the second; consumers drop it as a repeat, or had it first.
SELECT e.id, e.pool, min(e.kind) AS kind, array_agg(DISTINCT e.part || ':' || e.off) AS partition_and_offset
  FROM (SELECT * FROM audit_pool_events UNION ALL SELECT * FROM audit_notices) e
 GROUP BY e.id, e.pool
HAVING count(DISTINCT (e.v1, e.v2)) > 1
