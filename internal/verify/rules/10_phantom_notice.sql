-- A notice was sent that is not stored, or to another, or under another id.
-- Shown: partition and offset of {staff-notifications}.
-- Do: find out who wrote it; somebody may have been told what is not so, or twice.
SELECT e.part AS partition, e.off AS offset, e.pool, e.kind, e.staff, e.at
  FROM audit_notices e
  LEFT JOIN pools p ON p.id = e.pool
  LEFT JOIN notifications n ON n.pool = p.pool AND n.kind = e.kind AND n.staff_id = e.staff AND n.channel = e.channel AND n.at = e.at
 WHERE n.pool IS NULL OR e.id <> pg_temp.event_id(n.kind, e.pool, n.low_no::text, n.staff::text, n.channel)
