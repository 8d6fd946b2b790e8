-- The events of one redemption differ in their bytes, ce_id or ce_time, or it is both redeemed and rejected. (Rejections are forgotten after 30 days. Customers who were erased meanwhile are named and not named.)
-- Shown: events as partition/offset of {redemption-outcomes}.
-- Do: compare the events; the redemption in the database is the one that counts (verify names the wrong event under phantom).
SELECT t.pool, t.redemption, t.events, t.event, t.other_event
  FROM (SELECT n.pool, n.redemption, sum(n.events) AS events, min(n.event) AS event, max(n.other_event) AS other_event,
               bool_or(n.differ) OR min(n.sense) <> max(n.sense) AS differ, max(n.latest) - min(n.earliest) AS apart, bool_or(n.rejected) AS rejected
          FROM (SELECT o.pool, o.redemption, o.kind = 2 AS back, CASE WHEN o.reason = 'redemption_conflict' THEN o.event END AS conflict,
                       count(*) AS events, min(format('%s/%s', o.part, o.off)) AS event, max(format('%s/%s', o.part, o.off)) AS other_event,
                       min(o.words) <> max(o.words) OR min(o.sense) <> max(o.sense) AS differ, min(o.sense) AS sense,
                       max(o.decided_at) AS latest, min(o.decided_at) AS earliest, bool_or(o.kind = 1) AS rejected
                  FROM audit_redemption_outcomes o
                 GROUP BY 1, 2, 3, 4, o.customer, o.order_id, o.issued_to) n
         GROUP BY n.pool, n.redemption, n.back, n.conflict) t
 WHERE t.differ AND NOT (t.rejected AND t.apart > interval '29 days')
