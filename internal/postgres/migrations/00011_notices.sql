-- Staff and what they subscribe to, and the watch over stock that runs low.
-- +goose Up

CREATE TABLE staff (
    staff        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text COLLATE "C" NOT NULL CONSTRAINT staff_id_key UNIQUE
                 CONSTRAINT staff_id_form CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name         text NOT NULL,
    email        text NOT NULL CONSTRAINT staff_email_bounded CHECK (octet_length(email) BETWEEN 3 AND 254),
    active       boolean NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL,
    active_since timestamptz NOT NULL               -- for the auditor; while inactive it means nothing
);

-- What someone is told of: everything, the pools of a campaign, or a pool. By key,
-- since the ids of drafts can change. The references take a subscription along
-- when what it names is deleted, whoever deletes it.
CREATE TABLE subscriptions (
    staff      int NOT NULL CONSTRAINT subscriptions_staff_fkey REFERENCES staff ON DELETE CASCADE,
    campaign   int CONSTRAINT subscriptions_campaign_fkey REFERENCES campaigns ON DELETE CASCADE,
    pool       int CONSTRAINT subscriptions_pool_fkey REFERENCES pools ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    CONSTRAINT subscriptions_key UNIQUE NULLS NOT DISTINCT (staff, campaign, pool),
    CONSTRAINT subscriptions_to_one CHECK (num_nonnulls(campaign, pool) <= 1)    -- neither: to all
);
CREATE INDEX subscriptions_campaign_idx ON subscriptions (campaign) WHERE campaign IS NOT NULL;
CREATE INDEX subscriptions_pool_idx ON subscriptions (pool) WHERE pool IS NOT NULL;

ALTER TABLE history
    ADD COLUMN staff int,
    DROP CONSTRAINT history_of_one,
    ADD CONSTRAINT history_of_one CHECK (num_nonnulls(pool, campaign, staff) = 1);
CREATE INDEX history_staff_idx ON history (staff, entry) WHERE staff IS NOT NULL;

-- Moves with every change of staff and subscriptions, so that the watcher sees
-- that nobody has come since it looked.
ALTER TABLE service ADD COLUMN staff_no bigint NOT NULL DEFAULT 0;

-- Where the stock of launched pools stands (domain.Watch). Nobody waits for a row
-- but who archives the pool: who finds it locked leaves the judging to whoever has
-- it, or to the next second.
CREATE TABLE stock_watch (
    pool      int PRIMARY KEY,
    state     text NOT NULL DEFAULT 'ok' CONSTRAINT stock_watch_state_known CHECK (state IN ('ok', 'low', 'exhausted')),
    low_no    bigint NOT NULL DEFAULT 0,           -- of the last crossing
    told_low  bigint NOT NULL DEFAULT 0,           -- the crossing of which low was told since the stock was ok; 0: none
    told_out  bigint NOT NULL DEFAULT 0,           -- likewise exhausted
    seen_left bigint,                              -- codes left, when the row was written last; null: never looked
    sample_at timestamptz[] NOT NULL DEFAULT '{}', -- domain.Samples
    samples   bigint[] NOT NULL DEFAULT '{}',      -- codes issued by then
    CONSTRAINT stock_watch_samples_whole CHECK (cardinality(sample_at) = cardinality(samples))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Every step of a pool's stock from one state to another, with what it was founded
-- on. Never changed: what was told of it is told again in these words only.
CREATE TABLE crossings (
    pool         int NOT NULL,
    low_no       bigint NOT NULL,
    from_state   text NOT NULL,
    to_state     text NOT NULL,
    kind         text NOT NULL CONSTRAINT crossings_kind_known CHECK (kind IN ('low', 'exhausted', 'replenished', 'quiet')),
    at           timestamptz NOT NULL,
    remaining    bigint NOT NULL,
    threshold    bigint,                           -- null: the notice was off
    per_minute   float8 NOT NULL,
    exhausted_at timestamptz,
    CONSTRAINT crossings_pkey PRIMARY KEY (pool, low_no)
);

-- Who was told of a crossing, and how. One row, one staff.notification. Outlives
-- its addressee, so no references.
CREATE TABLE notifications (
    pool     int NOT NULL,
    low_no   bigint NOT NULL,
    kind     text NOT NULL CONSTRAINT notifications_kind_known CHECK (kind IN ('pool_low', 'pool_exhausted')),
    staff    int NOT NULL,
    channel  text NOT NULL,
    staff_id text COLLATE "C" NOT NULL,            -- as it was
    at       timestamptz NOT NULL,
    CONSTRAINT notifications_pkey PRIMARY KEY (pool, low_no, kind, staff, channel)
);

-- Pools that a process has issued from of late, so that the watcher, wherever it
-- is, looks at them every second. Not worth a write-ahead log: a minute later
-- every pool is looked at.
CREATE UNLOGGED TABLE pools_in_use (
    worker text PRIMARY KEY,
    at     timestamptz NOT NULL,
    pools  int[] NOT NULL
) WITH (fillfactor = 50);

-- +goose StatementBegin
-- A pool is watched from its launch on, whoever launches it. The first sample is
-- that nothing was issued.
CREATE FUNCTION watch_launched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_watch (pool, sample_at, samples) VALUES (NEW.pool, ARRAY[coalesce(NEW.launched_at, clock_timestamp())], ARRAY[0::bigint]) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER pools_watched AFTER UPDATE OF state ON pools
    FOR EACH ROW WHEN (NEW.state = 'active' AND OLD.state <> 'active') EXECUTE FUNCTION watch_launched();
INSERT INTO stock_watch (pool) SELECT pool FROM pools WHERE state = 'active';

-- +goose StatementBegin
-- Of each pool the codes that may be issued now or later: not issued, not expired
-- by their lots' windows or the pool's own, whoever holds them; and in how many
-- runs they lie. One read of the pool's runs.
CREATE FUNCTION watched_stock(p_pools int[]) RETURNS TABLE (pool int, codes_left bigint, runs bigint) LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT p.pool, CASE WHEN p.issue_end <= at THEN 0 ELSE least(s.codes_left, 9000000000000000000)::bigint END, s.runs
      FROM unnest(p_pools) AS k(pool)
     CROSS JOIN LATERAL (SELECT p.pool, p.issue_end FROM pools p WHERE p.pool = k.pool OFFSET 0) p
     CROSS JOIN LATERAL (SELECT coalesce(sum(r.hi - r.next) FILTER (WHERE r.issue_end > at AND r.available_till > at), 0) AS codes_left, count(*) AS runs
                           FROM runs r WHERE r.pool = p.pool OFFSET 0) s;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- How often codes of a pool were issued since it is there, as the stock has it.
CREATE FUNCTION codes_issued(p_pool int) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (coalesce((SELECT sum(l.done) FROM lots l WHERE l.pool = p_pool), 0)
          + coalesce((SELECT sum(r.next - r.lo) FROM runs r WHERE r.pool = p_pool), 0)
          - coalesce((SELECT sum(passed_over(p_pool, s.lot)) FROM (SELECT DISTINCT s.lot FROM passes s WHERE s.pool = p_pool) s), 0))::bigint;
$$;
-- +goose StatementEnd
