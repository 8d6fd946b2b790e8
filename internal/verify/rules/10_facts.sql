-- A crossing was told without what it tells: low above the threshold, exhausted with codes left, replenished below the threshold.
-- Do: find out who changed crossings; staff may have acted on it.
SELECT p.id AS pool, c.low_no AS crossing, c.kind, c.remaining, c.threshold, c.at
  FROM crossings c
  JOIN pools p ON p.pool = c.pool
 WHERE NOT CASE c.kind
       WHEN 'low' THEN c.remaining < c.threshold IS TRUE
       WHEN 'exhausted' THEN c.remaining = 0
       WHEN 'replenished' THEN c.remaining > 0 AND c.remaining < c.threshold IS NOT TRUE
       ELSE CASE c.to_state WHEN 'ok' THEN c.threshold IS NULL ELSE c.remaining > 0 AND c.remaining < c.threshold IS TRUE END END
    OR p.multi_use OR c.at < p.launched_at OR c.at > p.archived_at + interval '10 seconds'
