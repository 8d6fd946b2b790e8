-- An issued code was told to nobody: its request was answered over Kafka and is not in flight, and the outcome topic has no code.issued event of it.
-- Do: have the request published again under its request_id, which tells the same code; until then its customer waits. (Issues of the last minute are not judged, nor those of a request topic that was made anew.)
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, i.issued_at
  FROM issuances i
  JOIN pools p ON p.pool = i.pool
 CROSS JOIN audit_horizon h
 CROSS JOIN audit_cut c
  LEFT JOIN (SELECT pool, request FROM audit_outcomes WHERE issued) o ON o.pool = p.id AND o.request = i.request_id
 WHERE o.pool IS NULL AND c.streams = 1 AND i.issued_at < c.at - interval '1 minute' AND (h.outcomes IS NULL OR i.issued_at >= h.outcomes)
   AND NOT EXISTS (SELECT 1 FROM code_history g WHERE g.action = 'issued' AND g.pool = i.pool AND g.request_id = i.request_id)
   AND NOT EXISTS (SELECT 1 FROM audit_requests r JOIN audit_partitions a ON a.part = r.part AND r.off >= a.committed
                    WHERE r.pool = p.id AND r.request = i.request_id)
