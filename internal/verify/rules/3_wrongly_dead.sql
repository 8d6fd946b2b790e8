-- A well-formed request lies in the dead letters.
-- Shown: partition and offset of {code-requests}, dead letters as partition/offset of {dead-letters}.
-- Do: publish it again under its request_id; the decoder is wrong: report a bug with the message.
SELECT r.part AS partition, r.off AS offset, r.pool, r.request, format('%s/%s', l.part, l.off) AS dead_letter
  FROM audit_letters l
  JOIN audit_requests r ON r.part = l.rpart AND r.off = l.roff AND r.digest = l.digest AND r.request IS NOT NULL
 WHERE NOT EXISTS (SELECT 1 FROM audit_verdicts v WHERE v.part = r.part AND v.off = r.off AND v.reason = 7)
