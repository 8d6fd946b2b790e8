-- The history of a code tells of an issue by hand that is not stored so.
-- Do: stop the pool (docs/operations.md, When verify finds something); issuances or code_history were changed outside the service.
SELECT p.id AS pool, h.lot, h.seq, h.request_id AS request, h.at, i.lot AS issued_lot, i.seq AS issued_seq, i.issued_at
  FROM code_history h
  LEFT JOIN pools p ON p.pool = h.pool
  LEFT JOIN lots l ON l.pool = h.pool AND l.lot = h.lot
  LEFT JOIN issuances i ON i.pool = h.pool AND i.request_id = h.request_id
 WHERE h.action = 'issued'
   AND (i.lot IS DISTINCT FROM h.lot OR i.issued_at <> h.at OR CASE WHEN p.multi_use THEN i.seq % l.size ELSE i.seq END IS DISTINCT FROM h.seq)
