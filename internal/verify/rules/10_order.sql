-- The crossings of a pool do not follow one another: low, and again only after replenished, or with the notice off in between.
-- Do: stop relying on the pool's notices until it is known who changed crossings or stock_watch.
SELECT p.id AS pool, c.low_no AS crossing, c.from_state, c.to_state, c.kind, c.finding
  FROM (SELECT c.pool, c.low_no, c.from_state, c.to_state, c.kind,
               CASE WHEN c.low_no <> row_number() OVER o THEN 'a number is missing'
                    WHEN c.from_state <> lag(c.to_state, 1, 'ok') OVER o THEN 'does not begin where the one before ended'
                    WHEN (c.from_state, c.to_state, c.kind) NOT IN (('ok', 'low', 'low'), ('exhausted', 'low', 'low'), ('exhausted', 'low', 'quiet'),
                         ('ok', 'exhausted', 'exhausted'), ('low', 'exhausted', 'exhausted'), ('low', 'ok', 'replenished'), ('exhausted', 'ok', 'replenished'), ('low', 'ok', 'quiet'))
                    THEN 'is of another kind'
                    WHEN lead(c.low_no) OVER o IS NULL AND (w.pool IS NULL OR w.low_no <> c.low_no OR w.state <> c.to_state) THEN 'is not where the watch says the stock is' END AS finding
          FROM crossings c LEFT JOIN stock_watch w ON w.pool = c.pool
        WINDOW o AS (PARTITION BY c.pool ORDER BY c.low_no)
        UNION ALL
        SELECT w.pool, w.low_no, NULL, w.state, NULL, 'the watch knows of a crossing that is not there'
          FROM stock_watch w LEFT JOIN crossings c ON c.pool = w.pool
         WHERE c.pool IS NULL AND (w.low_no <> 0 OR w.state <> 'ok')) c
  JOIN pools p ON p.pool = c.pool
 WHERE c.finding IS NOT NULL
