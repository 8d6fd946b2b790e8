INSERT INTO audit_told (id, notice, pool, crossing, at, staff)
SELECT t.*
  FROM (SELECT pg_temp.event_id('promopool.pool.' || c.kind, p.id, c.low_no::text) AS id, false, c.pool, c.low_no, c.at, NULL AS staff
          FROM crossings c JOIN pools p ON p.pool = c.pool
         WHERE c.kind <> 'quiet'
        UNION ALL -- of pools whose launch and archiving were told: by programs that know of events
        SELECT pg_temp.event_id('promopool.' || h.action, p.id, '1'), false, p.pool, 0, h.at, h.action
          FROM history h JOIN pools p ON p.pool = h.pool
         WHERE h.action IN ('pool.launched', 'pool.archived') AND h.at > (SELECT max(tstamp) FROM goose_db_version WHERE version_id = 11)
        UNION ALL
        SELECT pg_temp.event_id(n.kind, p.id, n.low_no::text, n.staff::text, n.channel), true, n.pool, n.low_no, n.at, n.staff_id
          FROM notifications n JOIN pools p ON p.pool = n.pool) t
  LEFT JOIN outbox o ON o.id = t.id
 WHERE o.id IS NULL;
