-- The issuing core. What each rule closes is told in docs/issuing.md.
-- +goose Up

CREATE TABLE campaigns (
    campaign   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text COLLATE "C" NOT NULL CONSTRAINT campaigns_id_key UNIQUE,
    name       text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE pools (
    pool           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             text COLLATE "C" NOT NULL CONSTRAINT pools_id_key UNIQUE
                   CONSTRAINT pools_id_form CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    campaign       int NOT NULL CONSTRAINT pools_campaign_fkey REFERENCES campaigns,
    name           text NOT NULL,
    description    text NOT NULL,
    parameter_name text NOT NULL,
    notify_below   bigint CONSTRAINT pools_notify_below_positive CHECK (notify_below > 0),
    notify         boolean NOT NULL,
    multi_use      boolean NOT NULL,
    check_issued   boolean NOT NULL,
    validity       text,    -- ISO 8601 duration
    processing     text NOT NULL CONSTRAINT pools_processing_known CHECK (processing IN ('internal', 'external')),
    state          text NOT NULL DEFAULT 'draft' CONSTRAINT pools_state_known CHECK (state IN ('draft', 'active', 'archived')),
    mode           text NOT NULL DEFAULT 'scarce' CONSTRAINT pools_mode_known CHECK (mode IN ('ample', 'scarce')),
    grant_no       bigint NOT NULL DEFAULT 0,  -- stamp of the last movement of codes
    revision       bigint NOT NULL DEFAULT 0,  -- moves with every change of lots, runs by hand, or state
    version        bigint NOT NULL DEFAULT 1,  -- moves with every edit
    created_at     timestamptz NOT NULL,
    launched_at    timestamptz,
    archived_at    timestamptz,
    CONSTRAINT pools_multi_use_unchecked CHECK (NOT (multi_use AND check_issued)),
    CONSTRAINT pools_multi_use_unnotified CHECK (NOT (multi_use AND notify)),
    CONSTRAINT pools_launched_described CHECK (state = 'draft' OR description <> '')
) WITH (fillfactor = 50);
CREATE INDEX pools_campaign_idx ON pools (campaign);

-- Codes of one pool that share a window, numbered 0…size−1.
CREATE TABLE lots (
    pool           int NOT NULL,
    lot            int NOT NULL,
    size           bigint NOT NULL CONSTRAINT lots_size_positive CHECK (size > 0),
    done           bigint NOT NULL DEFAULT 0,  -- codes of finished runs, folded away
    issue_start    timestamptz,
    issue_end      timestamptz,
    available_from timestamptz,
    available_till timestamptz,
    import         bigint,                     -- the task that brought it
    revision       bigint NOT NULL,            -- the pool's, from this lot on
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (pool, lot)
) WITH (fillfactor = 70);
CREATE SEQUENCE lot_numbers AS int;

-- Who holds which numbers. issued = lots.done + Σ(next − lo); held = Σ(hi − next)
-- with a partition; free = the same without. In a multi-use pool hi is far
-- beyond the lot's size: ordinal n is code n mod size.
CREATE TABLE runs (
    pool      int NOT NULL,
    lot       int NOT NULL,
    lo        bigint NOT NULL,
    next      bigint NOT NULL,
    hi        bigint NOT NULL,
    partition int,                             -- partitions.partition; null: free
    grant_no  bigint NOT NULL,
    PRIMARY KEY (pool, lot, lo),
    CONSTRAINT runs_ordered CHECK (lo <= next AND next <= hi)
) WITH (fillfactor = 50);
-- For takeover only. Not on next < hi: that would end HOT updates of cursors.
CREATE INDEX runs_held_idx ON runs (partition) WHERE partition IS NOT NULL;

CREATE TABLE codes (
    pool int NOT NULL,
    lot  int NOT NULL,
    seq  bigint NOT NULL,
    code text COLLATE "C" NOT NULL CONSTRAINT codes_code_bounded CHECK (octet_length(code) BETWEEN 1 AND 200),
    PRIMARY KEY (pool, lot, seq),
    CONSTRAINT codes_code_key UNIQUE (pool, code)
);

-- Written once per issue, never changed. issuances_pkey makes "one code, one
-- request" a law of the database, issuances_request_key "one request, one
-- issuance". No foreign keys: the runs guard the places.
CREATE TABLE issuances (
    pool        int NOT NULL,
    lot         int NOT NULL,
    seq         bigint NOT NULL,
    issued_at   timestamptz NOT NULL,
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz,
    request_id  text COLLATE "C" NOT NULL CONSTRAINT issuances_request_bounded CHECK (octet_length(request_id) BETWEEN 1 AND 200),
    customer_id text COLLATE "C" NOT NULL CONSTRAINT issuances_customer_bounded CHECK (octet_length(customer_id) BETWEEN 1 AND 200),
    context     bytea CONSTRAINT issuances_context_bounded CHECK (octet_length(context) <= 4096),
    CONSTRAINT issuances_pkey PRIMARY KEY (pool, lot, seq),
    CONSTRAINT issuances_request_key UNIQUE (pool, request_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);

-- One row per partition of a stream; stream is cluster, topic and incarnation.
CREATE TABLE partitions (
    partition   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream      text NOT NULL,
    number      int NOT NULL,
    epoch       bigint NOT NULL DEFAULT 0,     -- moves with every takeover: the fence
    worker      text NOT NULL DEFAULT '',
    batch_no    bigint NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL DEFAULT 0,     -- every delivery below it is decided
    CONSTRAINT partitions_stream_key UNIQUE (stream, number)
) WITH (fillfactor = 50);

-- Decided deliveries, with the rejections among them (domain.AppendVerdicts).
CREATE TABLE batches (
    partition    int NOT NULL,
    first_offset bigint NOT NULL,
    end_offset   bigint NOT NULL,
    decided_at   timestamptz NOT NULL,
    verdicts     bytea,
    evidence     jsonb,                        -- domain.Evidence of the pools refused for want of codes
    PRIMARY KEY (partition, first_offset),
    CONSTRAINT batches_ordered CHECK (first_offset < end_offset)
);

-- What every process must agree on. One row.
CREATE TABLE service (
    one        boolean PRIMARY KEY DEFAULT true CONSTRAINT service_single CHECK (one),
    partitions int NOT NULL CONSTRAINT service_partitions_positive CHECK (partitions > 0),
    gate       text                            -- why nothing may be issued; null: it may
);
INSERT INTO service (partitions) VALUES (12);

-- +goose StatementBegin
-- The free stock below which a pool is scarce: buffers of the first size for
-- every partition would hold half of it.
CREATE FUNCTION scarce_mark() RETURNS bigint LANGUAGE sql STABLE
RETURN (SELECT 2 * 200 * s.partitions FROM service s);
-- +goose StatementEnd

-- +goose StatementBegin
-- Begins every transaction of partitions (L0), unless the gate is closed. The shared lock is no lock: it
-- marks this backend, so that a successor finds it in pg_locks and ends it,
-- whatever it holds.
CREATE FUNCTION enter(p_partitions int[], p_epochs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(m.partition, m.epoch::int)
       FROM unnest(p_partitions, p_epochs) AS m(partition, epoch);
    IF (SELECT s.gate IS NOT NULL FROM service s) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP005', MESSAGE = 'the gate is closed: this database has lost what it had acknowledged';
    END IF;
    IF (SELECT count(*) FROM unnest(p_partitions, p_epochs) AS m(partition, epoch)
          JOIN partitions p ON p.partition = m.partition AND p.epoch = m.epoch) <> cardinality(p_partitions) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP001', MESSAGE = 'fenced: another worker has taken the partition over';
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Ends the backends of older epochs of a partition.
CREATE FUNCTION end_predecessors(p_partition int, p_epoch bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(pg_terminate_backend(l.pid))
      FROM pg_locks l
     WHERE l.locktype = 'advisory' AND l.objsubid = 2
       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       AND l.classid::bigint = p_partition AND l.objid::bigint < p_epoch
       AND l.pid <> pg_backend_pid();
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- What is stored of each request: one probe of issuances_request_key per key,
-- whatever the statistics say. Each probe asks for an order that only the right
-- index has, where sorting is off; a plain equality is answered from any index
-- that begins with pool when the planner believes there is next to nothing. The
-- upper bound keeps it from walking over rows that others have not committed.
-- The plan is made once: where batches are small, planning was half the work.
CREATE FUNCTION look_up(p_pools int[], p_requests text[])
RETURNS TABLE (idx int, lot int, seq bigint, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz,
               customer_id text, context bytea, code text)
LANGUAGE plpgsql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, i.lot, i.seq, i.issued_at, i.valid_from, i.valid_until, i.customer_id, i.context, c.code
      FROM unnest(p_pools, p_requests) WITH ORDINALITY AS k(pool, request, idx)
     CROSS JOIN LATERAL (SELECT * FROM issuances i
                          WHERE i.pool = k.pool AND i.request_id >= k.request AND i.request_id <= k.request
                          ORDER BY i.request_id LIMIT 1) i
      LEFT JOIN LATERAL (SELECT i.seq % l.size AS seq FROM lots l WHERE l.pool = i.pool AND l.lot = i.lot OFFSET 0) l ON true
      LEFT JOIN LATERAL (SELECT c.code FROM codes c
                          WHERE c.pool = i.pool AND c.lot = i.lot AND c.seq >= l.seq AND c.seq <= l.seq
                          ORDER BY c.seq LIMIT 1) c ON true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Makes a decision true: the batches of one or several partitions (b_), the
-- runs that codes are taken from (r_, in the order of their key), and the new
-- issuances in the order of (pool, request_id) (i_run: index into r_, from 1;
-- i_at: distance from r_next). r_partition 0: free; verdicts and evidence '':
-- none. Every check raises: zero rows would not stop
-- the COMMIT behind it.
CREATE FUNCTION commit_batches(
    p_now timestamptz,
    b_partition int[], b_epoch bigint[], b_no bigint[], b_first bigint[], b_end bigint[], b_verdicts bytea[], b_evidence text[],
    r_pool int[], r_lot int[], r_lo bigint[], r_partition int[], r_next bigint[], r_grant bigint[], r_take bigint[],
    r_from timestamptz[], r_until timestamptz[],
    i_run int[], i_at int[], i_request text[], i_customer text[], i_context bytea[]
) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM enter(b_partition, b_epoch);

    -- Lock in the order of the key; check and move in a later statement.
    PERFORM 1
       FROM unnest(r_pool, r_lot, r_lo) WITH ORDINALITY AS c(pool, lot, lo, at)
      CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo FOR UPDATE) r;
    -- "partition =" would lure the planner to runs_held_idx.
    UPDATE runs r SET next = r.next + c.take
      FROM unnest(r_pool, r_lot, r_lo, r_partition, r_next, r_grant, r_take) AS c(pool, lot, lo, partition, next, grant_no, take)
     WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo
       AND r.partition IS NOT DISTINCT FROM nullif(c.partition, 0)
       AND r.next = c.next AND r.grant_no = c.grant_no AND c.next + c.take <= r.hi;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n <> cardinality(r_pool) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP002', MESSAGE = 'cursor moved: the codes in hand are no longer ours';
    END IF;

    PERFORM 1 FROM partitions p WHERE p.partition = ANY (b_partition) ORDER BY p.partition FOR UPDATE;
    UPDATE partitions p SET batch_no = p.batch_no + 1, next_offset = greatest(p.next_offset, m.end_offset)
      FROM unnest(b_partition, b_epoch, b_no, b_end) AS m(partition, epoch, batch_no, end_offset)
     WHERE p.partition = m.partition AND p.epoch = m.epoch AND p.batch_no = m.batch_no;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n <> cardinality(b_partition) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP001', MESSAGE = 'fenced: another worker has taken the partition over';
    END IF;
    IF clock_timestamp() >= p_now + interval '1 second' THEN
        RAISE EXCEPTION USING ERRCODE = 'PP003', MESSAGE = 'stale: the decision is older than a second';
    END IF;

    INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, valid_until, request_id, customer_id, context)
    SELECT r_pool[i.run], r_lot[i.run], r_next[i.run] + i.at, p_now, r_from[i.run], r_until[i.run], i.request, i.customer, i.context
      FROM unnest(i_run, i_at, i_request, i_customer, i_context) AS i(run, at, request, customer, context);

    INSERT INTO batches (partition, first_offset, end_offset, decided_at, verdicts, evidence)
    SELECT b.partition, b.first_offset, b.end_offset, p_now, nullif(b.verdicts, ''), nullif(b.evidence, '')::jsonb
      FROM unnest(b_partition, b_first, b_end, b_verdicts, b_evidence) AS b(partition, first_offset, end_offset, verdicts, evidence);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Folds finished runs into their lots and joins free neighbours. The caller
-- holds the pool's lock. Nobody compares a finished run any more.
CREATE FUNCTION tidy(p_pool int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
    before runs%ROWTYPE;
BEGIN
    -- Their owners' transactions may hold finished runs and others, in order:
    -- to wait for one here would break it. The next refill gets what is skipped.
    WITH finished AS (
        DELETE FROM runs d USING (SELECT lot, lo FROM runs WHERE pool = p_pool AND next = hi FOR UPDATE SKIP LOCKED) f
         WHERE d.pool = p_pool AND d.lot = f.lot AND d.lo = f.lo RETURNING d.lot, d.hi - d.lo AS n)
    UPDATE lots l SET done = l.done + f.n
      FROM (SELECT lot, sum(n) AS n FROM finished GROUP BY lot) f
     WHERE l.pool = p_pool AND l.lot = f.lot;

    FOR r IN SELECT * FROM runs WHERE pool = p_pool AND partition IS NULL ORDER BY lot, lo LOOP
        IF before.lot = r.lot AND before.hi = r.lo AND r.next = r.lo THEN
            DELETE FROM runs WHERE pool = p_pool AND lot = r.lot AND lo = r.lo;
            UPDATE runs SET hi = r.hi WHERE pool = p_pool AND lot = before.lot AND lo = before.lo;
            before.hi := r.hi;
        ELSE
            before := r;
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The pool's stock that has not expired and that nobody holds.
CREATE FUNCTION free_stock(p_pool int) RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(r.hi - r.next), 0)
      FROM runs r JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
     WHERE r.pool = p_pool AND r.partition IS NULL
       AND coalesce(l.issue_end > clock_timestamp(), true) AND coalesce(l.available_till > clock_timestamp(), true);
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Hands every held run of the pool back, in order, which waits for the batches
-- in flight; the stamp makes their owners' next compare-and-set fail. The
-- caller holds the pool's lock. Turns the pool scarce when little is left.
-- p_holders: only theirs; null: everybody's.
CREATE FUNCTION hand_back(p_pool int, p_holders int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    stamp bigint;
BEGIN
    PERFORM 1 FROM runs
      WHERE pool = p_pool AND partition IS NOT NULL AND (p_holders IS NULL OR partition = ANY (p_holders))
      ORDER BY lot, lo FOR UPDATE;
    UPDATE pools SET grant_no = grant_no + 1 WHERE pool = p_pool RETURNING grant_no INTO stamp;
    UPDATE runs SET partition = NULL, grant_no = stamp
     WHERE pool = p_pool AND partition IS NOT NULL AND (p_holders IS NULL OR partition = ANY (p_holders));
    PERFORM tidy(p_pool);
    UPDATE pools SET mode = 'scarce'
     WHERE pool = p_pool AND mode = 'ample' AND NOT multi_use AND p_holders IS NULL AND free_stock(p_pool) < scarce_mark();
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- REFILL: splits the heads of free runs off for a partition, first expiring
-- first, at most p_want codes and at most the share that keeps buffers below
-- half of what is left. Grants nothing when the pool is not active and ample.
CREATE FUNCTION refill(p_partition int, p_pool int, p_want bigint)
RETURNS TABLE (lot int, lo bigint, next bigint, hi bigint, grant_no bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    p pools%ROWTYPE;
    r record;
    want bigint;
    n bigint;
    stamp bigint;
BEGIN
    SELECT * INTO p FROM pools WHERE pool = p_pool FOR UPDATE;
    IF NOT FOUND OR p.state <> 'active' OR p.mode <> 'ample' THEN
        RETURN;
    END IF;
    PERFORM tidy(p_pool);
    want := p_want;
    IF NOT p.multi_use THEN
        want := least(want, trunc(free_stock(p_pool) / (2 * (SELECT s.partitions FROM service s))));
    END IF;
    IF want <= 0 THEN
        RETURN;
    END IF;
    UPDATE pools SET grant_no = pools.grant_no + 1 WHERE pool = p_pool RETURNING pools.grant_no INTO stamp;
    FOR r IN
        SELECT f.lot, f.lo, f.next, f.hi
          FROM runs f JOIN lots l ON l.pool = f.pool AND l.lot = f.lot
         WHERE f.pool = p_pool AND f.partition IS NULL AND f.next < f.hi
           AND coalesce(l.issue_start <= clock_timestamp(), true)
           AND coalesce(l.issue_end > clock_timestamp(), true) AND coalesce(l.available_till > clock_timestamp(), true)
         ORDER BY l.issue_end NULLS LAST, l.available_till NULLS LAST, f.lot, f.lo
    LOOP
        n := least(want, r.hi - r.next);
        UPDATE runs SET partition = p_partition, hi = r.next + n, grant_no = stamp
         WHERE pool = p_pool AND runs.lot = r.lot AND runs.lo = r.lo;
        IF r.next + n < r.hi THEN
            INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no)
            VALUES (p_pool, r.lot, r.next + n, r.next + n, r.hi, NULL, stamp);
        END IF;
        lot := r.lot; lo := r.lo; next := r.next; hi := r.next + n; grant_no := stamp;
        RETURN NEXT;
        want := want - n;
        EXIT WHEN want <= 0;
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Puts a lot of codes, already in codes, into the pool's stock. From the
-- commit on they can be issued. The caller holds nothing later than the pool.
CREATE FUNCTION add_lot(
    p_pool int, p_lot int, p_size bigint, p_import bigint,
    p_issue_start timestamptz, p_issue_end timestamptz, p_available_from timestamptz, p_available_till timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p pools%ROWTYPE;
BEGIN
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING * INTO p;
    IF NOT FOUND OR p.state = 'archived' THEN
        RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool takes no codes: it is archived or gone';
    END IF;
    INSERT INTO lots (pool, lot, size, issue_start, issue_end, available_from, available_till, import, revision, created_at)
    VALUES (p_pool, p_lot, p_size, p_issue_start, p_issue_end, p_available_from, p_available_till, p_import, p.revision, clock_timestamp());
    INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no)
    VALUES (p_pool, p_lot, 0, 0, CASE WHEN p.multi_use THEN 9000000000000000 ELSE p_size END, NULL, p.grant_no);
    IF p.mode = 'scarce' AND (p.multi_use OR free_stock(p_pool) > 2 * scarce_mark()) THEN
        UPDATE pools SET mode = 'ample' WHERE pool = p_pool;
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Age of the oldest transaction in this database. A long one holds xmin: dead
-- rows stay, and issuing slows down.
CREATE FUNCTION oldest_transaction_seconds() RETURNS float8 LANGUAGE sql AS $$
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(a.xact_start)), 0)::float8
      FROM pg_stat_activity a WHERE a.datname = current_database();
$$;
-- +goose StatementEnd
