-- A code.issued event says that it was issued by hand, and the code's history does not.
-- Shown: partition and offset of {code-outcomes}.
-- Do: find out who wrote the event, or changed code_history.
SELECT o.part AS partition, o.off AS offset, o.pool, o.request
  FROM audit_outcomes o
  LEFT JOIN pools p ON p.id = o.pool
  LEFT JOIN (SELECT pool, request_id FROM code_history WHERE action = 'issued') h ON h.pool = p.pool AND h.request_id = o.request
 WHERE o.issued AND o.by_hand AND h.pool IS NULL
