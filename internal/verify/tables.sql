-- What the topics and the stored verdicts say, for one audit. Strings that are
-- only compared are digests.

CREATE TEMP TABLE audit_outcomes (
    part         int NOT NULL,          -- where the event lies
    off          bigint NOT NULL,
    rpart        int,                   -- the delivery it answers
    roff         bigint,
    issued       boolean NOT NULL,      -- code.issued, else code.rejected
    pool         text COLLATE "C" NOT NULL,
    request      text COLLATE "C" NOT NULL,
    customer     text COLLATE "C" NOT NULL,
    alias        text COLLATE "C",      -- the customer when erased; null: nobody ever was
    erased       boolean NOT NULL,      -- it says the alias
    told         timestamptz NOT NULL,  -- the record's
    at           timestamptz NOT NULL,  -- issued_at, rejected_at
    v1           bigint NOT NULL,       -- digest of the value and of what a repeat has in common
    v2           bigint NOT NULL,
    campaign     text COLLATE "C",      -- issued
    parameter    text COLLATE "C",
    code         uuid,                  -- md5
    valid_from   timestamptz,
    valid_until  timestamptz,
    context      uuid,                  -- md5
    reason       int,                   -- rejected
    hash         bigint,                -- domain.Request.Hash; of one that is erased the delivery's, null: that is gone
    other_stream boolean NOT NULL,      -- answers another incarnation of the request topic
    ours         boolean NOT NULL,      -- answers a delivery of this one, and says so
    by_hand      boolean NOT NULL       -- came by the outbox
);

CREATE TEMP TABLE audit_requests (
    part     int NOT NULL,
    off      bigint NOT NULL,
    at       timestamptz NOT NULL,      -- the record's
    digest   uuid NOT NULL,             -- of key and value
    pool     text COLLATE "C",          -- null: malformed
    request  text COLLATE "C",
    customer text COLLATE "C",
    alias    text COLLATE "C",          -- the customer when erased; null: nobody ever was
    hash     bigint,
    expires  timestamptz
);

CREATE TEMP TABLE audit_letters (
    part      int NOT NULL,
    off       bigint NOT NULL,
    rpart     int NOT NULL,
    roff      bigint NOT NULL,
    digest    uuid NOT NULL,
    truncated boolean NOT NULL,
    ours      boolean NOT NULL          -- says that it is of this incarnation of the request topic
);

-- Issues by hand whose events must be in the topic: they were stored, and did not
-- wait in the outbox any more, before its ends were looked up.
CREATE TEMP TABLE audit_by_hand (
    pool    text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    at      timestamptz NOT NULL
);

-- batches.verdicts, unpacked.
CREATE TEMP TABLE audit_verdicts (
    part       int NOT NULL,
    off        bigint NOT NULL,
    hash       bigint NOT NULL,
    reason     int NOT NULL,
    decided_at timestamptz NOT NULL
);

-- batches.evidence, unpacked. remaining is what the service says was left.
CREATE TEMP TABLE audit_evidence (
    part        int NOT NULL,
    first_off   bigint NOT NULL,
    pool        int NOT NULL,
    revision    bigint NOT NULL,
    remaining   bigint NOT NULL,
    at          timestamptz NOT NULL,
    issue_start timestamptz,            -- the pool's own window, as it was read
    issue_end   timestamptz
);

-- Request partitions: deliveries from log_start up to log_end were read, those
-- below committed must be answered.
CREATE TEMP TABLE audit_partitions (
    part      int NOT NULL,
    log_start bigint NOT NULL,
    log_end   bigint NOT NULL,
    committed bigint NOT NULL
);

-- When the cut was set, by the database's clock, and how many incarnations of the
-- request topic it knows.
CREATE TEMP TABLE audit_cut (
    at      timestamptz NOT NULL,
    streams int NOT NULL
);

-- Answers to requests older than these may be gone; null: none is.
CREATE TEMP TABLE audit_horizon (
    outcomes timestamptz,
    letters  timestamptz
);

-- Filled within the snapshot: when the last code of a lot was issued, null: some are left; and the pool's revision at which
-- the lot changed last, null: never.
CREATE TEMP TABLE audit_lots (
    pool        int NOT NULL,
    lot         int NOT NULL,
    issuances   bigint NOT NULL,
    last        timestamptz,            -- when one was issued last
    complete_at timestamptz,
    changed_at  bigint
);

-- Filled within the snapshot: from when until when a bound of a pool's own issue
-- window was what, by the history and the pool as it is. Pools that never had a
-- window are not in it.
CREATE TEMP TABLE audit_bounds (
    pool   int NOT NULL,
    field  text NOT NULL,               -- issue_start, issue_end
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    bound  timestamptz,                 -- null: that side was open
    entry  bigint,                      -- of the history, that ended it; null: it is the bound of now
    became timestamptz                  -- by that entry
);

-- Filled within the snapshot: from when until when a pool had what validity period;
-- null: none. The months of a period count otherwise than the rest.
CREATE TEMP TABLE audit_validities (
    pool   int NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    months interval,
    rest   interval
);

-- The texts of issued and redeemed codes that are generated, made by the auditor.
CREATE TEMP TABLE audit_generated (
    pool int NOT NULL,
    lot  int NOT NULL,
    seq  bigint NOT NULL,
    code uuid                           -- md5; null: its generator cannot be read
);

-- Events of the topic of pool events, and of that of staff notifications.
CREATE TEMP TABLE audit_pool_events (
    part         int NOT NULL,
    off          bigint NOT NULL,
    id           text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,   -- low, launched …; pool_low …
    pool         text COLLATE "C" NOT NULL,
    campaign     text COLLATE "C" NOT NULL,
    remaining    bigint,
    threshold    bigint,
    exhausted_at timestamptz,
    at           timestamptz NOT NULL,
    v1           bigint NOT NULL,             -- digest of what a repeat has in common
    v2           bigint NOT NULL,
    staff        text COLLATE "C",            -- of a notification
    channel      text COLLATE "C",
    per_minute   text                         -- of a crossing
);
CREATE TEMP TABLE audit_notices (LIKE audit_pool_events INCLUDING ALL);

-- What is told of crossings, with the id by which it must be told, and whether to
-- staff. Those that did not wait in the outbox any more before the ends of the topics
-- were looked up: they must be there.
CREATE TEMP TABLE audit_told (
    id       text COLLATE "C" NOT NULL,
    notice   boolean NOT NULL,
    pool     int NOT NULL,
    crossing bigint NOT NULL,           -- 0: a launch, or an archiving
    at       timestamptz NOT NULL,
    staff    text COLLATE "C"           -- of such: which
);

-- Events older than these may be gone; null: none is.
CREATE TEMP TABLE audit_notice_horizon (
    events  timestamptz,
    notices timestamptz
);

-- The ce_id of an event: 128 bits of a SHA-256 over the parts, each with a NUL behind
-- it, in the form of a UUID of version 8.
CREATE FUNCTION pg_temp.event_id(VARIADIC parts text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(set_byte(set_byte(b, 6, get_byte(b, 6) & 15 | 128), 8, get_byte(b, 8) & 63 | 128), 'hex')::uuid::text
      FROM (SELECT substr(sha256(string_agg(convert_to(p, 'UTF8') || '\x00'::bytea, '' ORDER BY n)), 1, 16) AS b
              FROM unnest(parts) WITH ORDINALITY AS u(p, n)) s;
$$;
