-- A code was issued after its request had expired.
-- Do: tell the sender that the answer came late, and decide whether the customer keeps the code; report a bug with the request.
SELECT i.pool_id AS pool, i.lot, i.seq, i.request, i.issued_at, i.expires
  FROM (SELECT p.pool, p.id AS pool_id, i.lot, i.seq, i.issued_at, r.request, r.expires
          FROM (SELECT pool, request, max(coalesce(expires, 'infinity')) AS expires
                  FROM audit_requests
                 WHERE request IS NOT NULL AND NOT EXISTS (SELECT 1 FROM audit_partitions WHERE log_start > 0)
                 GROUP BY pool, request
                HAVING max(coalesce(expires, 'infinity')) < 'infinity') r
          JOIN pools p ON p.id = r.pool
          JOIN issuances i ON i.pool = p.pool AND i.request_id = r.request) i
 WHERE i.issued_at >= i.expires
   AND NOT EXISTS (SELECT 1 FROM code_history h WHERE h.action = 'issued' AND h.pool = i.pool AND h.request_id = i.request)
