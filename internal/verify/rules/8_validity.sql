-- A code is valid for longer or shorter than its pool's validity period and its lot say.
-- Do: tell the customer how long the code is really meant to be valid; a till goes by the issue as it is stored. (A second's difference to a change of the period is allowed.)
SELECT p.id AS pool, i.lot, i.seq, i.request_id AS request, i.issued_at, i.valid_until, l.available_till, p.validity
  FROM issuances i
  JOIN lots l ON l.pool = i.pool AND l.lot = i.lot
  JOIN pools p ON p.pool = i.pool
 WHERE NOT EXISTS (
        SELECT 1
          FROM audit_validities v
         WHERE v.pool = i.pool AND i.issued_at BETWEEN v.since - interval '1 second' AND v.until
           AND i.valid_until IS NOT DISTINCT FROM least(l.available_till,
               date_trunc('month', i.issued_at) + v.months + (i.issued_at - date_trunc('month', i.issued_at)) + v.rest))
