-- A run belongs to no lot, reaches beyond it, has other windows, or is held by no partition.
-- Do: stop the pool (docs/operations.md, When verify finds something); runs or lots were changed outside the service.
SELECT p.id AS pool, r.lot, r.lo, r.hi,
       CASE WHEN l.lot IS NULL THEN 'no such lot'
            WHEN h.partition IS NULL AND r.partition IS NOT NULL THEN 'no such holder'
            WHEN r.issue_start <> coalesce(l.issue_start, '-infinity') OR r.issue_end <> coalesce(l.issue_end, 'infinity')
              OR r.available_till <> coalesce(l.available_till, 'infinity') THEN 'other windows than its lot'
            ELSE 'beyond the lot' END AS finding
  FROM runs r
  LEFT JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
  LEFT JOIN pools p ON p.pool = r.pool
  LEFT JOIN partitions h ON h.partition = r.partition
 WHERE l.lot IS NULL OR r.lo < 0 OR r.next < r.lo OR r.next > r.hi
    OR (p.multi_use IS NOT TRUE AND r.hi > l.size) OR (r.partition IS NOT NULL AND h.partition IS NULL)
    OR r.issue_start <> coalesce(l.issue_start, '-infinity') OR r.issue_end <> coalesce(l.issue_end, 'infinity')
    OR r.available_till <> coalesce(l.available_till, 'infinity')
