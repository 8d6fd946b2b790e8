-- A code was issued from a pool that was not active.
-- Do: decide whether the customer keeps it, and block it if not; see in the pool's history who launched or archived it when. (A second's difference to the launch is allowed: a batch reads the clock before it locks the pool. Archiving waits for the batches in flight.)
SELECT p.id AS pool, p.state, i.lot, i.seq, i.request_id AS request, i.issued_at, p.launched_at, p.archived_at
  FROM issuances i
  LEFT JOIN pools p ON p.pool = i.pool
 WHERE p.pool IS NULL OR p.launched_at IS NULL
    OR i.issued_at < p.launched_at - interval '1 second' OR i.issued_at > p.archived_at
