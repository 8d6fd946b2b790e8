-- An issue by hand has no event of its own, and none waits in the outbox.
-- Do: tell whoever counts on the events; find out who deleted rows of the outbox.
SELECT h.pool, h.request, h.at AS issued_at
  FROM audit_by_hand h
 CROSS JOIN audit_horizon z
 WHERE (z.outcomes IS NULL OR h.at >= z.outcomes)
   AND NOT EXISTS (SELECT 1 FROM audit_outcomes o WHERE o.issued AND o.by_hand AND o.pool = h.pool AND o.request = h.request)
