-- Staff, and what they subscribe to. Whoever changes someone holds the row's lock;
-- it comes before pools and campaigns, which nobody keeps who waits for staff.

-- name: CreateStaff :one
INSERT INTO staff (id, name, email, active, created_at, active_since) VALUES (@id, @name, @email, @active, @created_at, @created_at)
RETURNING *;

-- name: FreeStaffNumber :one
SELECT n::int FROM generate_series(1, (SELECT count(*) + 2 FROM staff s
        WHERE s.id >= @base::text || '-' AND s.id < @base || '.')) n
 WHERE NOT EXISTS (SELECT FROM staff s WHERE s.id = @base || CASE n WHEN 1 THEN '' ELSE '-' || n END)
 ORDER BY n LIMIT 1;

-- name: LockStaff :exec
SELECT FROM staff WHERE id = @id FOR UPDATE;

-- name: StaffByID :one
SELECT * FROM staff WHERE id = @id;

-- name: StaffAfter :many
SELECT * FROM staff
 WHERE id > @after
   AND (sqlc.narg(active)::boolean IS NULL OR active = sqlc.narg(active))
   AND (@text::text = '' OR strpos(id, @text) > 0 OR email ~ @pattern::text OR name ~ @pattern)
 ORDER BY id LIMIT @at_most;

-- name: SetStaff :one
UPDATE staff
   SET name = @name, email = @email, active = @active,
       active_since = CASE WHEN @active AND NOT active THEN @at::timestamptz ELSE active_since END
 WHERE staff = @staff
RETURNING *;

-- name: DeleteStaff :exec
DELETE FROM staff WHERE staff = @staff;

-- In the order in which bodies list them: all, campaigns, pools.
-- name: SubscriptionsOf :many
SELECT u.staff, (coalesce('campaign:' || c.id, 'pool:' || p.id, 'all') COLLATE "C")::text AS scope
  FROM subscriptions u
  LEFT JOIN campaigns c ON c.campaign = u.campaign
  LEFT JOIN pools p ON p.pool = u.pool
 WHERE u.staff = ANY (@staff::int[])
 ORDER BY u.staff, 2;

-- name: Subscribe :execrows
INSERT INTO subscriptions (staff, campaign, pool, created_at) VALUES (@staff, @campaign, @pool, @created_at)
ON CONFLICT DO NOTHING;

-- name: Unsubscribe :execrows
DELETE FROM subscriptions
 WHERE staff = @staff AND campaign IS NOT DISTINCT FROM sqlc.narg(campaign)::int AND pool IS NOT DISTINCT FROM sqlc.narg(pool)::int;

-- The last statement of a change that someone may have to be told after.
-- name: MoveStaffNo :exec
UPDATE service SET staff_no = staff_no + 1;

-- name: StaffHistory :many
SELECT entry, at, actor, action, changes, version, revision
  FROM history
 WHERE staff = @staff::int AND entry < @below
   AND (@actor::text = '' OR actor = @actor) AND (@action::text = '' OR action = @action)
   AND (@field::text = '' OR jsonb_exists(changes, @field))
 ORDER BY entry DESC LIMIT @at_most;
