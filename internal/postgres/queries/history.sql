-- The history of pools, campaigns and staff. An entry is written last in the transaction
-- of what it tells, which holds the row's lock.

-- name: AddHistory :exec
INSERT INTO history (at, actor, action, pool, campaign, staff, changes, version, revision)
VALUES (@at, @actor, @action, @pool, @campaign, @staff, @changes, @version, @revision);

-- name: PoolHistory :many
SELECT entry, at, actor, action, changes, version, revision
  FROM history
 WHERE pool = @pool::int AND entry < @below
   AND (@actor::text = '' OR actor = @actor) AND (@action::text = '' OR action = @action)
   AND (@field::text = '' OR jsonb_exists(changes, @field))
 ORDER BY entry DESC LIMIT @at_most;

-- name: CampaignHistory :many
SELECT entry, at, actor, action, changes, version, revision
  FROM history
 WHERE campaign = @campaign::int AND entry < @below
   AND (@actor::text = '' OR actor = @actor) AND (@action::text = '' OR action = @action)
   AND (@field::text = '' OR jsonb_exists(changes, @field))
 ORDER BY entry DESC LIMIT @at_most;
