-- Campaigns and pools as staff see them. Locks in the order: names, campaign,
-- pool, its runs; what a lock guards is read in a later statement.

-- Whoever makes, edits, launches, archives or removes a pool holds its name alone;
-- who has not found a name holds it shared before saying so, and so does who judges
-- redemptions by the pool's settings.
-- name: TakeNames :exec
SELECT pg_advisory_xact_lock(hashtextextended(n.name, 0))
  FROM (SELECT unnest(@names::text[]) AS name ORDER BY 1) n;

-- name: CreateCampaign :one
INSERT INTO campaigns (id, name, created_at) VALUES (@id, @name, @created_at)
RETURNING *;

-- name: CampaignByID :one
SELECT * FROM campaigns WHERE id = @id;

-- name: CampaignsAfter :many
SELECT * FROM campaigns
 WHERE id > @after
   AND (@text::text = '' OR strpos(id, @text) > 0 OR name ~ @pattern::text)
 ORDER BY id LIMIT @at_most;

-- name: LockCampaign :exec
SELECT FROM campaigns WHERE id = @id FOR NO KEY UPDATE;

-- name: RenameCampaign :exec
UPDATE campaigns SET name = @name WHERE campaign = @campaign;

-- name: CampaignHasPools :one
SELECT EXISTS (SELECT FROM pools p JOIN campaigns c ON c.campaign = p.campaign WHERE c.id = @id);

-- name: DeleteCampaign :one
DELETE FROM campaigns WHERE id = @id
RETURNING *;

-- Keeps the campaign from being deleted until the pool is in it.
-- name: HoldCampaign :one
SELECT campaign FROM campaigns WHERE id = @id FOR KEY SHARE;

-- The first number that makes a free id of the base; 1 is the base itself.
-- Among two more than there are ids of its kind, one is free.
-- name: FreePoolNumber :one
SELECT n::int FROM generate_series(1, (SELECT count(*) + 2 FROM pools p
        WHERE p.id >= @base::text || '-' AND p.id < @base || '.')) n
 WHERE NOT EXISTS (SELECT FROM pools p WHERE p.id = @base || CASE n WHEN 1 THEN '' ELSE '-' || n END)
 ORDER BY n LIMIT 1;

-- name: FreeCampaignNumber :one
SELECT n::int FROM generate_series(1, (SELECT count(*) + 2 FROM campaigns c
        WHERE c.id >= @base::text || '-' AND c.id < @base || '.')) n
 WHERE NOT EXISTS (SELECT FROM campaigns c WHERE c.id = @base || CASE n WHEN 1 THEN '' ELSE '-' || n END)
 ORDER BY n LIMIT 1;

-- name: CreatePool :exec
INSERT INTO pools (id, campaign, name, description, parameter_name, notify_below, notify,
                   multi_use, check_issued, validity, processing, issue_start, issue_end,
                   redemption_limit, redemption_limit_per_customer, created_at)
VALUES (@id, @campaign, @name, @description, @parameter_name, @notify_below, @notify,
        @multi_use, @check_issued, @validity, @processing, @issue_start, @issue_end,
        @redemption_limit, @redemption_limit_per_customer, @created_at);

-- name: PoolByID :one
SELECT sqlc.embed(p), c.id AS campaign_id,
       (SELECT to_jsonb(r) FROM replenishments r WHERE r.pool = p.pool)::jsonb AS replenish
  FROM pools p JOIN campaigns c ON c.campaign = p.campaign
 WHERE p.id = @id;

-- name: PoolsAfter :many
SELECT sqlc.embed(p), c.id AS campaign_id,
       (SELECT to_jsonb(r) FROM replenishments r WHERE r.pool = p.pool)::jsonb AS replenish
  FROM pools p JOIN campaigns c ON c.campaign = p.campaign
 WHERE p.id > @after
   AND (@campaign::text = '' OR c.id = @campaign)
   AND (@state::text = '' OR p.state = @state)
   AND (@text::text = '' OR strpos(p.id, @text) > 0 OR p.name ~ @pattern::text)
 ORDER BY p.id LIMIT @at_most;

-- name: LockPool :one
SELECT pool FROM pools WHERE id = @id FOR UPDATE;

-- name: SetPool :exec
UPDATE pools
   SET id = @id, campaign = @campaign, name = @name, description = @description,
       parameter_name = @parameter_name, notify_below = @notify_below, notify = @notify,
       multi_use = @multi_use, check_issued = @check_issued, validity = @validity,
       processing = @processing, issue_start = @issue_start, issue_end = @issue_end,
       redemption_limit = @redemption_limit, redemption_limit_per_customer = @redemption_limit_per_customer, version = version + 1
 WHERE pool = @pool;

-- Codes already in a draft become ordinals without end, or codes again. A lot
-- without gaps is one run.
-- name: SetRunsUse :exec
UPDATE runs r
   SET hi = CASE WHEN @multi_use::boolean THEN 9000000000000000 ELSE l.size END
  FROM lots l
 WHERE r.pool = @pool AND l.pool = r.pool AND l.lot = r.lot;

-- Memory is never the authority: the owners' cursors find nothing afterwards.
-- name: HandBackAll :exec
SELECT hand_back(@pool, NULL);

-- name: LaunchPool :exec
UPDATE pools
   SET state = 'active', launched_at = @at::timestamptz, revision = revision + 1, version = version + 1,
       mode = CASE WHEN multi_use OR NOT scattered(pool) AND free_stock_up_to(pool, scarce_mark()) >= scarce_mark() THEN 'ample' ELSE 'scarce' END
 WHERE pool = @pool;

-- name: ArchivePool :exec
UPDATE pools
   SET state = 'archived', archived_at = @at::timestamptz, revision = revision + 1, version = version + 1
 WHERE pool = @pool;

-- name: DeletePool :exec
WITH r AS (DELETE FROM runs WHERE runs.pool = @pool),
     l AS (DELETE FROM lots WHERE lots.pool = @pool),
     c AS (DELETE FROM lot_changes WHERE lot_changes.pool = @pool),
     g AS (DELETE FROM generators WHERE generators.pool = @pool),
     f AS (DELETE FROM replenishments WHERE replenishments.pool = @pool)
DELETE FROM pools WHERE pools.pool = @pool;

-- Some codes of a pool that is gone.
-- name: DeleteCodes :execrows
DELETE FROM codes c
 WHERE c.ctid = ANY (ARRAY(SELECT o.ctid FROM codes o WHERE o.pool = @pool LIMIT @at_most));

-- Pools that are gone and have codes left, by hops along the key.
-- name: CodesWithoutPool :many
WITH RECURSIVE hop AS (
    (SELECT c.pool FROM codes c ORDER BY c.pool LIMIT 1)
    UNION ALL
    SELECT (SELECT c.pool FROM codes c WHERE c.pool > hop.pool ORDER BY c.pool LIMIT 1)
      FROM hop WHERE hop.pool IS NOT NULL
)
SELECT hop.pool::int FROM hop
 WHERE hop.pool IS NOT NULL AND NOT EXISTS (SELECT FROM pools p WHERE p.pool = hop.pool);
