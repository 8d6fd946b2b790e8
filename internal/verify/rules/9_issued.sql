-- With the issue check on, a code was redeemed that was not issued then, or by another customer; or what a redemption says of the issue is not so.
-- Do: decide whether the redemption counts, and roll it back if not; issuances were changed outside the service, or report a bug.
SELECT p.id AS pool, r.lot, r.seq, r.redemption_id AS redemption, r.decided_at, i.issued_at,
       CASE WHEN i.seq IS NULL THEN 'not issued' WHEN i.issued_at > r.decided_at THEN 'issued later'
            WHEN r.issued_to IS DISTINCT FROM i.customer_id THEN 'issued_to' ELSE 'another customer' END AS finding
  FROM redemptions r
  JOIN pools p ON p.pool = r.pool
  LEFT JOIN issuances i ON i.pool = r.pool AND i.lot = r.lot AND i.seq = r.seq AND NOT p.multi_use
 WHERE r.reason = 0
   AND (r.issued_to IS DISTINCT FROM i.customer_id
        OR r.checked AND NOT r.external AND (i.seq IS NULL OR i.issued_at > r.decided_at
            OR r.customer_id IS DISTINCT FROM i.customer_id AND customer_pseudonym(r.customer_id) IS DISTINCT FROM i.customer_id))
