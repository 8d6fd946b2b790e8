-- A malformed redemption request below the group's offset is not in the dead letters, or with other bytes; or a well-formed one is there.
-- Shown: partition and offset of {redemption-requests}.
-- Do: move the redeeming group's offset of the partition back to the first of these; publish well-formed ones again: the decoder is wrong, so report a bug with them.
SELECT r.part AS partition, r.off AS offset, CASE WHEN r.redemption IS NULL THEN 'no dead letter' ELSE 'well-formed' END AS finding
  FROM audit_redemption_requests r
  JOIN audit_redemption_partitions p ON p.part = r.part
 CROSS JOIN audit_redemption_cut c
  LEFT JOIN audit_redemption_letters l ON l.rpart = r.part AND l.roff = r.off AND (l.digest = r.digest OR l.truncated)
 WHERE CASE WHEN r.redemption IS NULL THEN l.roff IS NULL AND r.off < p.committed AND (c.letters IS NULL OR r.at >= c.letters)
            ELSE l.roff IS NOT NULL AND NOT l.poison END
 ORDER BY r.part, r.off
