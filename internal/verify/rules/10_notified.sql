-- Somebody was to be told of a crossing, and no notice is there, nor waits in the outbox.
-- Do: tell them by hand; find out who deleted rows of the outbox.
SELECT p.id AS pool, t.crossing, t.staff, t.at
  FROM audit_told t
 CROSS JOIN audit_notice_horizon z
  JOIN pools p ON p.pool = t.pool
 WHERE t.notice AND (z.notices IS NULL OR t.at >= z.notices)
   AND NOT EXISTS (SELECT 1 FROM audit_notices e WHERE e.id = t.id)
