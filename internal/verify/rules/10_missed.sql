-- The stock of a pool is below a mark, or above it again, for minutes, and nothing was told of it although the service runs.
-- Do: look after the pool yourself (promopool stock POOL) and tell its subscribers; see in the log of serve, component watch, why it is not looked at. (Pools that moved within three minutes are not judged.)
SELECT p.id AS pool, w.state AS told, s.stands AS stands_at, s.codes_left AS remaining, p.notify_below AS threshold, q.moved_at
  FROM stock_watch w
  JOIN pools p ON p.pool = w.pool AND p.state = 'active' AND NOT p.multi_use
  JOIN (SELECT p.pool, s.codes_left, CASE WHEN s.codes_left = 0 THEN 'exhausted' WHEN p.notify AND s.codes_left < p.notify_below THEN 'low' ELSE 'ok' END AS stands
          FROM watched_stock(ARRAY(SELECT pool FROM stock_watch)) s JOIN pools p ON p.pool = s.pool OFFSET 0) s ON s.pool = p.pool
  JOIN (SELECT pool, max(at) AS moved_at
          FROM (SELECT pool, max(last) AS at FROM audit_lots GROUP BY pool
                UNION ALL SELECT pool, max(created_at) FROM lots GROUP BY pool
                UNION ALL SELECT pool, max(t.at) FROM lots CROSS JOIN LATERAL (VALUES (issue_end), (available_till)) t(at) WHERE t.at <= clock_timestamp() GROUP BY pool
                UNION ALL SELECT pool, max(at) FROM history WHERE pool IS NOT NULL GROUP BY pool
                UNION ALL SELECT pool, max(at) FROM code_history GROUP BY pool
                UNION ALL SELECT pool, max(at) FROM withdrawn GROUP BY pool
                UNION ALL SELECT pool, launched_at FROM pools
                UNION ALL SELECT pool, issue_end FROM pools WHERE issue_end <= clock_timestamp()
                UNION ALL SELECT pool, max(touched_at) FROM imports GROUP BY pool) m
         GROUP BY pool) q ON q.pool = p.pool
 WHERE w.state <> s.stands AND q.moved_at < clock_timestamp() - interval '3 minutes'
   AND EXISTS (SELECT 1 FROM leases WHERE until > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM service WHERE gate IS NOT NULL)
