-- Two batches of a partition overlap, or one reaches beyond what the partition has decided: some of its deliveries have two verdicts, or will get a second.
-- Shown: partition and offsets of {code-requests}.
-- Do: leave the request topic as it is and look at the outcomes of these offsets; batches or partitions were changed outside the service, or the fence did not hold.
SELECT p.number AS partition, b.first_offset, b.end_offset, b.decided_at, b.until AS batches_before_reach, p.next_offset
  FROM (SELECT *, max(end_offset) OVER (PARTITION BY partition ORDER BY first_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until FROM batches) b
  LEFT JOIN partitions p ON p.partition = b.partition
 WHERE b.first_offset < b.until OR p.partition IS NULL OR b.end_offset > p.next_offset
