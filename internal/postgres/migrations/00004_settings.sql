-- A pool's own issue window, and the history of pools and campaigns.
-- +goose Up

-- Nothing of the pool is issued before issue_start, nor from issue_end on; null:
-- that side is open. Runs are granted by their lots' windows alone, and decided on
-- by both: an edit hands them back.
ALTER TABLE pools
    ADD COLUMN issue_start timestamptz,
    ADD COLUMN issue_end   timestamptz,
    ADD CONSTRAINT pools_issue_window_ordered CHECK (issue_start < issue_end);

-- What was changed, when and by whom: written with the change, in its transaction
-- and under its locks, so that entries of one pool or campaign are in the order of
-- their changes. Never changed. Outlives what it tells of, so no references.
CREATE TABLE history (
    entry    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text NOT NULL CONSTRAINT history_actor_bounded CHECK (octet_length(actor) BETWEEN 1 AND 200),
    action   text NOT NULL,                     -- domain.Action
    pool     int,
    campaign int,                               -- of the campaign itself, not of its pools
    changes  jsonb NOT NULL,                    -- domain.Changes
    version  bigint NOT NULL DEFAULT 0,         -- the pool's, after it
    revision bigint NOT NULL DEFAULT 0,         -- likewise
    CONSTRAINT history_of_one CHECK (num_nonnulls(pool, campaign) = 1)
);
CREATE INDEX history_pool_idx ON history (pool, entry) WHERE pool IS NOT NULL;
CREATE INDEX history_campaign_idx ON history (campaign, entry) WHERE campaign IS NOT NULL;
