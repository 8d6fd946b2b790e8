-- Generated codes: computed from a key and a number, stored nowhere.
-- +goose Up

-- A pattern of a pool, with the key that puts its texts in order. Codes of
-- numbers 0…made−1 are in the pool's lots. Whoever has the key can spell them
-- all: it is read by the service and the auditor only, and never logged.
CREATE TABLE generators (
    pool       int NOT NULL,
    generator  uuid NOT NULL,                  -- unlike a number never used again, not after a restore either
    pattern    text COLLATE "C" NOT NULL CONSTRAINT generators_pattern_bounded CHECK (octet_length(pattern) BETWEEN 1 AND 400),
    alphabet   text COLLATE "C" NOT NULL CONSTRAINT generators_alphabet_bounded CHECK (octet_length(alphabet) BETWEEN 2 AND 256),
    key        bytea NOT NULL CONSTRAINT generators_key_whole CHECK (octet_length(key) = 32),
    made       bigint NOT NULL DEFAULT 0 CONSTRAINT generators_made_counted CHECK (made >= 0),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (pool, generator),
    CONSTRAINT generators_pattern_key UNIQUE (pool, pattern, alphabet)
);

-- A generated lot's code n is the generator's code gen_from + n.
ALTER TABLE lots
    ADD COLUMN generator uuid,
    ADD COLUMN gen_from  bigint,
    ADD CONSTRAINT lots_generated_whole CHECK ((generator IS NULL) = (gen_from IS NULL) AND gen_from >= 0);
CREATE INDEX lots_generated_idx ON lots (pool, generator, gen_from) WHERE generator IS NOT NULL;

-- A generation is a task without a file, completed as it begins.
ALTER TABLE imports
    ADD COLUMN kind            text NOT NULL DEFAULT 'file' CONSTRAINT imports_kind_known CHECK (kind IN ('file', 'generation', 'replenishment')),
    ADD COLUMN pattern         text NOT NULL DEFAULT '',
    ADD COLUMN alphabet        text NOT NULL DEFAULT '',
    ADD COLUMN idempotency_key text COLLATE "C" CONSTRAINT imports_idempotency_bounded CHECK (octet_length(idempotency_key) BETWEEN 1 AND 200);
CREATE UNIQUE INDEX imports_idempotency_key ON imports (pool, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Pools that have codes generated when few are left.
CREATE TABLE replenishments (
    pool           int PRIMARY KEY,
    below          bigint NOT NULL CONSTRAINT replenishments_below_positive CHECK (below > 0),
    count          bigint NOT NULL CONSTRAINT replenishments_count_positive CHECK (count > 0),
    pattern        text COLLATE "C" NOT NULL,
    alphabet       text COLLATE "C" NOT NULL,
    max_guess_odds float8 NOT NULL CONSTRAINT replenishments_odds_possible CHECK (max_guess_odds > 0 AND max_guess_odds <= 1),
    stopped        text NOT NULL DEFAULT ''    -- why no more are made; '': it works
);

-- +goose StatementBegin
-- Whether the pool's codes come from files. An upload counts from its acceptance
-- on; one that has ended counts for the codes that it has added only.
CREATE FUNCTION is_uploaded(p_pool int) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (SELECT FROM lots WHERE pool = p_pool AND generator IS NULL)
        OR EXISTS (SELECT FROM imports WHERE pool = p_pool AND kind = 'file' AND NOT dry_run AND status IN ('waiting', 'running'));
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION is_generated(p_pool int) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (SELECT FROM generators WHERE pool = p_pool);
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- A pool's lots are all uploaded or all generated, whoever inserts them: who
-- does holds the pool's lock, so that none is overlooked.
CREATE FUNCTION lots_unmixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Not by a look at all lots of the pool, which may be as many as its codes.
    IF EXISTS (SELECT FROM (SELECT DISTINCT pool, generator IS NULL AS uploaded FROM fresh) n
                WHERE CASE WHEN n.uploaded THEN is_generated(n.pool)
                      ELSE EXISTS (SELECT FROM lots l WHERE l.pool = n.pool AND l.generator IS NULL) END) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP006', MESSAGE = 'the codes of a pool are all uploaded or all generated';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER lots_unmixed AFTER INSERT ON lots REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION lots_unmixed();

-- +goose StatementBegin
-- Makes p_count codes of a generator stock, as add_lot does with codes that are
-- stored, and returns the task that tells of it. The generator is made by its
-- first lot; p_from is what it has made as the caller knows it. The caller holds
-- the pool's lock and nothing later.
CREATE FUNCTION generate_lot(
    p_pool int, p_generator uuid, p_pattern text, p_alphabet text, p_key bytea, p_from bigint, p_count bigint,
    p_issue_start timestamptz, p_issue_end timestamptz, p_available_from timestamptz, p_available_till timestamptz,
    p_kind text, p_actor text, p_idempotency_key text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    p pools%ROWTYPE;
    new_lot int := nextval('lot_numbers');
    new_task bigint;
    made_at timestamptz;
BEGIN
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING * INTO p;
    IF NOT FOUND OR p.state = 'archived' THEN
        RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool takes no codes: it is archived or gone';
    END IF;
    IF is_uploaded(p_pool) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP006', MESSAGE = 'the codes of a pool are all uploaded or all generated';
    END IF;
    made_at := clock_timestamp();
    INSERT INTO generators (pool, generator, pattern, alphabet, key, created_at)
    VALUES (p_pool, p_generator, p_pattern, p_alphabet, p_key, made_at)
    ON CONFLICT ON CONSTRAINT generators_pkey DO NOTHING;
    UPDATE generators SET made = made + p_count WHERE pool = p_pool AND generator = p_generator AND made = p_from;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the generator has made codes meanwhile';
    END IF;
    INSERT INTO imports (pool, pool_id, kind, pattern, alphabet, actor, file_name, media_type, status, rows, added, body_kept,
                         created_at, touched_at, started_at, finished_at, idempotency_key)
    VALUES (p_pool, p.id, p_kind, p_pattern, p_alphabet, p_actor, '', '', 'completed', p_count, p_count, false, made_at, made_at, made_at, made_at, p_idempotency_key)
    RETURNING task INTO new_task;
    INSERT INTO lots (pool, lot, size, issue_start, issue_end, available_from, available_till, import, revision, created_at, generator, gen_from)
    VALUES (p_pool, new_lot, p_count, p_issue_start, p_issue_end, p_available_from, p_available_till, new_task, p.revision, made_at, p_generator, p_from);
    INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
    VALUES (p_pool, new_lot, 0, 0, CASE WHEN p.multi_use THEN 9000000000000000 ELSE p_count END, NULL, p.grant_no,
            coalesce(p_issue_start, '-infinity'), coalesce(p_issue_end, 'infinity'), coalesce(p_available_till, 'infinity'));
    IF p.mode = 'scarce' AND (p.multi_use OR free_stock(p_pool) > 2 * scarce_mark()) THEN
        UPDATE pools SET mode = 'ample' WHERE pool = p_pool;
    END IF;
    RETURN new_task;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The codes of a pool that are left: neither issued nor expired, whoever holds
-- them and whenever they may be issued.
CREATE FUNCTION stock_left(p_pool int) RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(r.hi - r.next), 0)
      FROM runs r
     WHERE r.pool = p_pool AND r.issue_end > clock_timestamp() AND r.available_till > clock_timestamp();
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before, and where a lot is generated no code but its generator and number.
-- Programs that name the columns which they had before get those.
DROP FUNCTION look_up(int[], text[]);
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION look_up(p_pools int[], p_requests text[])
RETURNS TABLE (idx int, lot int, seq bigint, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz,
               customer_id text, context bytea, code text, generator uuid, number bigint)
LANGUAGE plpgsql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, i.lot, i.seq, i.issued_at, i.valid_from, i.valid_until, i.customer_id, i.context, c.code,
           l.generator, l.gen_from + l.seq
      FROM unnest(p_pools, p_requests) WITH ORDINALITY AS k(pool, request, idx)
     CROSS JOIN LATERAL (SELECT * FROM issuances i
                          WHERE i.pool = k.pool AND i.request_id >= k.request AND i.request_id <= k.request
                          ORDER BY i.request_id LIMIT 1) i
      LEFT JOIN LATERAL (SELECT i.seq % l.size AS seq, l.generator, l.gen_from FROM lots l WHERE l.pool = i.pool AND l.lot = i.lot OFFSET 0) l ON true
      LEFT JOIN LATERAL (SELECT c.code FROM codes c
                          WHERE c.pool = i.pool AND c.lot = i.lot AND c.seq >= l.seq AND c.seq <= l.seq
                          ORDER BY c.seq LIMIT 1) c ON true;
END $$;
-- +goose StatementEnd
