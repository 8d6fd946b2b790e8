-- Somebody has a notice of a pool that they did not subscribe to then, or while they were inactive.
-- Do: apologize to them; see in the history of staff (GET /v1/staff/{id}/history) when they left. (Ten seconds' difference is allowed: a subscription may be committed later than its time.)
WITH changes AS (
    SELECT h.staff, h.entry, h.at, h.action, h.changes #>> '{subscription,to}' AS begun, h.changes #>> '{subscription,from}' AS ended, h.changes -> 'active' AS active
      FROM history h WHERE h.staff IS NOT NULL
), told AS (
    SELECT n.*, p.id AS pool_id, ARRAY['all', 'campaign:' || g.id, 'pool:' || p.id] AS scopes, p.campaign
      FROM notifications n JOIN pools p ON p.pool = n.pool JOIN campaigns g ON g.campaign = p.campaign
)
SELECT t.pool_id AS pool, t.low_no AS crossing, t.kind, t.staff_id AS staff, t.at
  FROM told t
 WHERE NOT EXISTS (SELECT 1 FROM subscriptions u
                    WHERE u.staff = t.staff AND u.created_at < t.at + interval '10 seconds'
                      AND (u.pool = t.pool OR u.campaign = t.campaign OR num_nonnulls(u.pool, u.campaign) = 0))
   AND NOT EXISTS (SELECT 1 FROM changes b
                    WHERE b.staff = t.staff AND b.begun = ANY (t.scopes) AND b.at < t.at + interval '10 seconds'
                      AND NOT EXISTS (SELECT 1 FROM changes e WHERE e.staff = t.staff AND e.entry > b.entry AND e.at < t.at - interval '10 seconds'
                                         AND (e.ended = b.begun OR e.action = 'staff.deleted')))
    OR EXISTS (SELECT 1 FROM changes i
                WHERE i.staff = t.staff AND i.active ->> 'to' = 'false' AND i.at < t.at - interval '10 seconds'
                  AND NOT EXISTS (SELECT 1 FROM changes j WHERE j.staff = t.staff AND j.entry > i.entry AND j.active IS NOT NULL AND j.at < t.at + interval '10 seconds'))
