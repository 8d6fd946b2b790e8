-- What the topics say of redemptions, for one audit. Texts that are only compared
-- are digests.

CREATE TEMP TABLE audit_redemption_requests (
    part       int NOT NULL,
    off        bigint NOT NULL,
    at         timestamptz NOT NULL,    -- the record's
    digest     uuid NOT NULL,           -- of key and value
    pool       text COLLATE "C",        -- null: malformed
    redemption text COLLATE "C",
    content    uuid,                    -- domain.Content
    keyed      uuid,                    -- what the store has in its place when the customer is erased; null: nobody ever was
    aliased    uuid                     -- the same, of what an answer says when the customer is erased
);

CREATE TEMP TABLE audit_redemption_outcomes (
    part           int NOT NULL,        -- where the event lies
    off            bigint NOT NULL,
    rpart          int,                 -- the delivery it answers; null: it came by the outbox
    roff           bigint,
    kind           int NOT NULL,        -- 0 redeemed, 1 rejected, 2 rolled back
    pool           text COLLATE "C" NOT NULL,
    redemption     text COLLATE "C" NOT NULL,
    event          uuid NOT NULL,       -- md5 of the ce_id
    content        uuid NOT NULL,       -- domain.Content
    keyed          uuid,                -- what the store has in its place when the customer is erased; null: nobody ever was
    code           uuid NOT NULL,       -- md5, as it came
    customer       text COLLATE "C",
    alias          text COLLATE "C",    -- the customer when erased; null: nobody ever was
    order_id       text COLLATE "C",
    order_alias    text COLLATE "C",
    occurred_at    timestamptz,
    issued_to      text COLLATE "C",
    issued_alias   text COLLATE "C",
    decided_at     timestamptz NOT NULL,
    reason         text COLLATE "C" NOT NULL, -- '': redeemed
    external       boolean NOT NULL,
    rolled_back_at timestamptz,
    context        uuid,                -- md5
    words          bigint NOT NULL,     -- digest of the value, but for rolled_back_at, and of what a repeat has in common
    sense          bigint NOT NULL,     -- the same of what it would be if everybody were erased
    other_stream   boolean NOT NULL,    -- answers another incarnation of the request topic
    ours           boolean NOT NULL     -- answers a delivery of this one, and says so
);

CREATE TEMP TABLE audit_redemption_letters (
    rpart     int NOT NULL,
    roff      bigint NOT NULL,
    digest    uuid NOT NULL,
    truncated boolean NOT NULL,
    poison    boolean NOT NULL
);

-- What waited in the outbox before the ends of the topics were looked up.
CREATE TEMP TABLE audit_redemption_outbox (
    type       text NOT NULL,
    pool       text COLLATE "C" NOT NULL,
    redemption text COLLATE "C" NOT NULL
);

-- Request partitions: deliveries from log_start up to log_end were read, those
-- below committed must be answered.
CREATE TEMP TABLE audit_redemption_partitions (
    part      int NOT NULL,
    log_start bigint NOT NULL,
    log_end   bigint NOT NULL,
    committed bigint NOT NULL
);

-- When the outbox was looked at; and answers to requests older than these may be
-- gone, null: none is.
CREATE TEMP TABLE audit_redemption_cut (
    at       timestamptz NOT NULL,
    outcomes timestamptz,
    letters  timestamptz
);

-- domain.RedemptionReason by name.
CREATE TEMP TABLE audit_redemption_reasons (
    reason smallint NOT NULL,
    name   text COLLATE "C" NOT NULL
);

-- Filled within the snapshot: the answers that are stored, of launched pools and of
-- others.
CREATE TEMP TABLE audit_redemptions (
    pool           text COLLATE "C" NOT NULL,
    redemption     text COLLATE "C" NOT NULL,
    content        uuid,                -- of a conflict
    code           uuid NOT NULL,       -- md5
    customer       text COLLATE "C",
    order_id       text COLLATE "C",
    occurred_at    timestamptz,
    issued_to      text COLLATE "C",
    decided_at     timestamptz NOT NULL,
    reason         text COLLATE "C" NOT NULL,
    external       boolean NOT NULL,
    rolled_back_at timestamptz,
    context        uuid
);
