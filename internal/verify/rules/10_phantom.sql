-- A pool event tells what is not stored, or tells it otherwise, or under another id.
-- Shown: partition and offset of {pool-events}.
-- Do: find out who wrote it; whoever acted on it acted on nothing.
SELECT e.part AS partition, e.off AS offset, e.pool, e.kind, e.at
  FROM audit_pool_events e
  LEFT JOIN pools p ON p.id = e.pool
  LEFT JOIN campaigns g ON g.campaign = p.campaign AND g.id = e.campaign
  LEFT JOIN crossings c ON c.pool = p.pool AND c.kind = e.kind AND c.at = e.at
 WHERE g.id IS NULL
    OR CASE e.kind
       WHEN 'launched' THEN p.launched_at IS DISTINCT FROM e.at OR e.id <> pg_temp.event_id('promopool.pool.launched', e.pool, '1')
       WHEN 'archived' THEN p.archived_at IS DISTINCT FROM e.at OR e.id <> pg_temp.event_id('promopool.pool.archived', e.pool, '1')
       ELSE c.pool IS NULL OR e.id <> pg_temp.event_id('promopool.pool.' || c.kind, e.pool, c.low_no::text)
            OR (c.remaining, c.threshold, c.exhausted_at) IS DISTINCT FROM (e.remaining, e.threshold, e.exhausted_at)
            OR c.per_minute <> e.per_minute::float8 END
