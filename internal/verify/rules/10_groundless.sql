-- A notice is stored that no crossing of its pool calls for.
-- Do: tell its addressee that it was wrong; notifications or crossings were changed outside the service.
SELECT p.id AS pool, n.low_no AS crossing, n.kind, n.staff_id AS staff, n.at, c.kind AS crossing_kind, c.at AS crossed_at
  FROM notifications n
  LEFT JOIN pools p ON p.pool = n.pool
  LEFT JOIN crossings c ON c.pool = n.pool AND c.low_no = n.low_no
 WHERE c.pool IS NULL OR n.kind <> 'pool_' || c.kind OR n.at < c.at
