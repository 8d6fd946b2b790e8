-- A pool was launched or archived, and no event tells it, nor waits in the outbox.
-- Do: tell whoever counts on the events of pools; find out who deleted rows of the outbox. (During the upgrade to migration 11 processes of an older version told of nothing.)
SELECT p.id AS pool, t.staff AS event, t.at
  FROM audit_told t
 CROSS JOIN audit_notice_horizon z
  JOIN pools p ON p.pool = t.pool
 WHERE t.crossing = 0 AND (z.events IS NULL OR t.at >= z.events)
   AND NOT EXISTS (SELECT 1 FROM audit_pool_events e WHERE e.id = t.id)
