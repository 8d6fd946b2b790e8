-- name: Totals :one
SELECT coalesce(sum(r.hi - r.next) FILTER (WHERE r.partition IS NULL), 0)::bigint AS free,
       coalesce(sum(r.hi - r.next) FILTER (WHERE r.partition IS NOT NULL), 0)::bigint AS held,
       (SELECT count(*) FROM pools s WHERE s.state = 'active' AND s.mode = 'scarce')::bigint AS scarce,
       oldest_transaction_seconds()::float8 AS oldest_seconds
  FROM pools p
  JOIN runs r ON r.pool = p.pool
  JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
 WHERE p.state = 'active' AND NOT p.multi_use
   AND coalesce(least(l.issue_end, p.issue_end, l.available_till) > clock_timestamp(), true);

-- name: PruneBatches :execrows
DELETE FROM batches b USING partitions p
 WHERE p.stream = @stream AND p.number = @number AND b.partition = p.partition AND b.end_offset <= @log_start;
