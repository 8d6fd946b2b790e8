-- The events of one redemption differ in their bytes, ce_id or ce_time, or it is both redeemed and rejected. (Rejections are forgotten after 30 days.)
-- Do: compare the events; the redemption in the database is the one that counts (verify names the wrong event under phantom).
SELECT t.pool, t.redemption, t.events, t.event, t.other_event
  FROM (SELECT o.pool, o.redemption, count(*) AS events, min(format('%s/%s', o.part, o.off)) AS event, max(format('%s/%s', o.part, o.off)) AS other_event,
               min(o.words) <> max(o.words) AS differ, max(o.decided_at) - min(o.decided_at) AS apart, bool_or(o.kind = 1) AS rejected
          FROM audit_redemption_outcomes o
         GROUP BY o.pool, o.redemption, o.kind = 2, CASE WHEN o.reason = 'redemption_conflict' THEN o.content END) t
 WHERE t.differ AND NOT (t.rejected AND t.apart > interval '29 days')
