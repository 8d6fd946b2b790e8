INSERT INTO audit_by_hand (pool, request, at)
SELECT p.id, h.request_id, h.at
  FROM code_history h
  JOIN pools p ON p.pool = h.pool
  LEFT JOIN (SELECT subject, convert_from(value, 'UTF8')::json ->> 'request_id' AS request
               FROM outbox WHERE topic = 'code-outcomes') o ON o.subject = p.id AND o.request = h.request_id
 WHERE h.action = 'issued' AND o.request IS NULL;
