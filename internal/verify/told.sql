INSERT INTO audit_told (id, notice, pool, crossing, at, staff)
SELECT t.*
  FROM (SELECT pg_temp.event_id('promopool.pool.' || c.kind, p.id, c.low_no::text) AS id, false, c.pool, c.low_no, c.at, NULL AS staff
          FROM crossings c JOIN pools p ON p.pool = c.pool
         WHERE c.kind <> 'quiet'
        UNION ALL
        SELECT pg_temp.event_id(n.kind, p.id, n.low_no::text, n.staff::text, n.channel), true, n.pool, n.low_no, n.at, n.staff_id
          FROM notifications n JOIN pools p ON p.pool = n.pool) t
  LEFT JOIN outbox o ON o.id = t.id
 WHERE o.id IS NULL;
