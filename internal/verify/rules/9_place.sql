-- A redemption names a place where another code lies, or none: the code itself could be redeemed again.
-- Do: block the code that was redeemed until it is known where it lies; redemptions or codes were changed outside the service.
SELECT p.id AS pool, r.lot, r.seq, r.redemption_id AS redemption, r.decided_at,
       CASE WHEN coalesce(md5(c.code)::uuid, g.code) IS NULL THEN 'no code lies there' ELSE 'another code lies there' END AS finding
  FROM redemptions r
  JOIN pools p ON p.pool = r.pool
  JOIN lots l ON l.pool = r.pool AND l.lot = r.lot AND r.seq >= 0 AND r.seq < l.size
  LEFT JOIN codes c ON c.pool = r.pool AND c.lot = r.lot AND c.seq = r.seq
  LEFT JOIN audit_generated g ON g.pool = r.pool AND g.lot = r.lot AND g.seq = r.seq
 WHERE r.reason = 0 AND coalesce(md5(c.code)::uuid, g.code) IS DISTINCT FROM md5(normalize(regexp_replace(r.code, '^\s+|\s+$', '', 'g'), NFC))::uuid
