-- An event names a customer who had been erased before it was published, in an answer to what was asked before. (A minute's difference of clocks is allowed.)
-- Shown: partition and offset of {code-outcomes}.
-- Do: see whether a process was frozen, with what it was about to publish; the topic holds the customer until its retention has passed since.
SELECT t.part AS partition, t.off AS offset, t.pool, t.request, t.told AS published_at, t.done_at AS erased_at
  FROM (SELECT o.part, o.off, o.pool, o.request, o.told, min(coalesce(e.done_at, 'infinity')) AS done_at
          FROM audit_outcomes o
          JOIN pools p ON p.id = o.pool
          JOIN issuances i ON i.pool = p.pool AND i.request_id = o.request AND i.customer_id = o.alias
          JOIN erasures e ON e.pseudonym = o.alias AND e.begun_at >= i.issued_at
         WHERE o.issued AND NOT o.erased
         GROUP BY o.part, o.off, o.pool, o.request, o.told) t
 WHERE t.told > t.done_at + interval '1 minute'
