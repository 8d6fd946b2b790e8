-- A code was redeemed when it was not valid: by its issue, or where it has none by its lot.
-- Do: decide whether the redemption counts, and roll it back if not; report a bug with the times.
SELECT p.id AS pool, t.lot, t.seq, t.redemption, t.judged_at, t.valid_from, t.valid_until
  FROM (SELECT r.pool, r.lot, r.seq, r.redemption_id AS redemption,
               CASE WHEN r.occurred_at <= r.decided_at AND r.occurred_at >= r.decided_at - interval '24 hours' THEN r.occurred_at ELSE r.decided_at END AS judged_at,
               CASE WHEN i.seq IS NULL THEN l.available_from ELSE i.valid_from END AS valid_from,
               CASE WHEN i.seq IS NULL THEN l.available_till ELSE i.valid_until END AS valid_until
          FROM redemptions r
          JOIN pools p ON p.pool = r.pool
          LEFT JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
          LEFT JOIN issuances i ON i.pool = r.pool AND i.lot = r.lot AND i.seq = r.seq AND NOT p.multi_use
         WHERE r.reason = 0 AND NOT r.external) t
  JOIN pools p ON p.pool = t.pool
 WHERE t.judged_at < t.valid_from OR t.judged_at >= t.valid_until
