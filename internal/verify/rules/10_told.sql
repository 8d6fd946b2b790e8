-- A pool ran low, was exhausted or replenished, and no event tells it, nor waits in the outbox.
-- Do: tell whoever counts on the events; find out who deleted rows of the outbox.
SELECT p.id AS pool, c.low_no AS crossing, c.kind, c.at
  FROM audit_told t
 CROSS JOIN audit_notice_horizon z
  JOIN crossings c ON c.pool = t.pool AND c.low_no = t.crossing
  JOIN pools p ON p.pool = c.pool
 WHERE NOT t.notice AND t.crossing > 0 AND (z.events IS NULL OR t.at >= z.events)
   AND NOT EXISTS (SELECT 1 FROM audit_pool_events e WHERE e.id = t.id)
