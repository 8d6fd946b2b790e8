-- A code was issued outside its lot's windows, or its validity is not the lot's.
-- Do: tell the customer if the code is of no use to them; find out whether the lot's windows were changed outside the service.
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, i.issued_at,
       concat_ws(', ',
           CASE WHEN i.issued_at < l.issue_start THEN 'before issue_start' END,
           CASE WHEN i.issued_at >= l.issue_end THEN 'after issue_end' END,
           CASE WHEN i.issued_at >= l.available_till THEN 'after available_till' END,
           CASE WHEN i.valid_from <> greatest(i.issued_at, l.available_from) THEN 'valid_from' END,
           CASE WHEN l.available_till IS NOT NULL AND (i.valid_until IS NULL OR i.valid_until > l.available_till) THEN 'valid_until' END) AS finding
  FROM issuances i
  JOIN lots l ON l.pool = i.pool AND l.lot = i.lot
  LEFT JOIN pools p ON p.pool = i.pool
 WHERE i.issued_at < l.issue_start OR i.issued_at >= l.issue_end OR i.issued_at >= l.available_till
    OR i.valid_from <> greatest(i.issued_at, l.available_from)
    OR (l.available_till IS NOT NULL AND (i.valid_until IS NULL OR i.valid_until > l.available_till))
