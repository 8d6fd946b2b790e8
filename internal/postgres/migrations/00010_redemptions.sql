-- Redemptions. How they are judged, and what a crash leaves, is told in docs/redeeming.md.
-- +goose Up

-- How often each code of a pool for many uses may be redeemed; null: without limit.
ALTER TABLE pools
    ADD COLUMN redemption_limit              bigint,
    ADD COLUMN redemption_limit_per_customer bigint,
    ADD CONSTRAINT pools_redemption_limits_positive CHECK (redemption_limit > 0 AND redemption_limit_per_customer > 0),
    ADD CONSTRAINT pools_redemption_limits_multi_use CHECK (multi_use OR num_nonnulls(redemption_limit, redemption_limit_per_customer) = 0);

-- First answers, which a repeat of the redemption_id gets again. Rejections are
-- dropped after 30 days. Never changed, but for being rolled back.
CREATE TABLE redemptions (
    pool           int NOT NULL,
    redemption_id  text COLLATE "C" NOT NULL CONSTRAINT redemptions_id_bounded CHECK (octet_length(redemption_id) BETWEEN 1 AND 200),
    code           text COLLATE "C" NOT NULL CONSTRAINT redemptions_code_bounded CHECK (octet_length(code) BETWEEN 1 AND 200), -- as it came
    lot            int,                        -- where it lay, and if it is redeemed lies for good; null: the pool had none such
    seq            bigint,
    customer_id    text COLLATE "C" CONSTRAINT redemptions_customer_bounded CHECK (octet_length(customer_id) BETWEEN 1 AND 200),
    order_id       text COLLATE "C" CONSTRAINT redemptions_order_bounded CHECK (octet_length(order_id) BETWEEN 1 AND 200),
    occurred_at    timestamptz,
    context        bytea CONSTRAINT redemptions_context_bounded CHECK (octet_length(context) <= 4096),
    issued_to      text COLLATE "C",
    decided_at     timestamptz NOT NULL,
    reason         smallint NOT NULL,          -- domain.RedemptionReason; 0: redeemed
    external       boolean NOT NULL,           -- reported by another system, and not judged
    checked        boolean NOT NULL,           -- the issue check was on
    multi_use      boolean NOT NULL,           -- the pool's, which is fixed by its launch
    rolled_back_at timestamptz,
    rolled_back_by text,
    CONSTRAINT redemptions_pkey PRIMARY KEY (pool, redemption_id),
    CONSTRAINT redemptions_placed CHECK ((lot IS NULL) = (seq IS NULL)),
    CONSTRAINT redemptions_rolled_back CHECK (reason = 0 OR rolled_back_at IS NULL)
);
-- "A code for one use is redeemed at most once" is a law of the database.
CREATE UNIQUE INDEX redemptions_once_key ON redemptions (pool, lot, seq)
 WHERE reason = 0 AND NOT external AND NOT multi_use AND rolled_back_at IS NULL;
CREATE INDEX redemptions_place_idx ON redemptions (pool, lot, seq, decided_at) WHERE reason = 0 AND lot IS NOT NULL;
CREATE INDEX redemptions_use_idx ON redemptions (pool, lot, seq, customer_id)
 WHERE reason = 0 AND multi_use AND rolled_back_at IS NULL AND customer_id IS NOT NULL;
CREATE INDEX redemptions_rejected_idx ON redemptions (decided_at) WHERE reason <> 0;

-- Rejections that belong to no launched pool, and those of redemption_ids that were
-- used for something else before. Dropped after 30 days.
CREATE TABLE refused_redemptions (
    pool_id       text COLLATE "C" NOT NULL CONSTRAINT refused_redemptions_pool_bounded CHECK (octet_length(pool_id) BETWEEN 1 AND 200),
    redemption_id text COLLATE "C" NOT NULL CONSTRAINT refused_redemptions_id_bounded CHECK (octet_length(redemption_id) BETWEEN 1 AND 200),
    content       bytea NOT NULL,              -- domain.Content where the id was used before; '': this is the first answer
    code          text COLLATE "C" NOT NULL CONSTRAINT refused_redemptions_code_bounded CHECK (octet_length(code) BETWEEN 1 AND 200),
    customer_id   text COLLATE "C" CONSTRAINT refused_redemptions_customer_bounded CHECK (octet_length(customer_id) BETWEEN 1 AND 200),
    order_id      text COLLATE "C" CONSTRAINT refused_redemptions_order_bounded CHECK (octet_length(order_id) BETWEEN 1 AND 200),
    occurred_at   timestamptz,
    context       bytea CONSTRAINT refused_redemptions_context_bounded CHECK (octet_length(context) <= 4096),
    decided_at    timestamptz NOT NULL,
    reason        smallint NOT NULL,
    CONSTRAINT refused_redemptions_pkey PRIMARY KEY (pool_id, redemption_id, content)
);
CREATE INDEX refused_redemptions_age_idx ON refused_redemptions (decided_at);

-- How often codes for many uses were redeemed, not counting what was rolled back.
-- Guarded by the code's lock.
CREATE TABLE code_uses (
    pool int NOT NULL,
    lot  int NOT NULL,
    seq  bigint NOT NULL,
    uses bigint NOT NULL CONSTRAINT code_uses_counted CHECK (uses >= 0),
    CONSTRAINT code_uses_pkey PRIMARY KEY (pool, lot, seq)
) WITH (fillfactor = 50);

-- How many codes of a pool were redeemed, not counting what was rolled back: the sum
-- over its slots, several of them lest all who redeem wait for one row.
CREATE TABLE redemption_counts (
    pool     int NOT NULL,
    slot     smallint NOT NULL,
    redeemed bigint NOT NULL,
    CONSTRAINT redemption_counts_pkey PRIMARY KEY (pool, slot)
) WITH (fillfactor = 50);

-- Below, rows of large tables are found by one probe of an index per key, whatever the
-- statistics say: see look_up.

-- +goose StatementBegin
-- Where stored codes lie.
CREATE FUNCTION code_places(p_pools int[], p_codes text[]) RETURNS TABLE (idx int, lot int, seq bigint) LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, c.lot, c.seq
      FROM unnest(p_pools, p_codes) WITH ORDINALITY AS k(pool, code, idx)
     CROSS JOIN LATERAL (SELECT c.lot, c.seq FROM codes c
                          WHERE c.pool = k.pool AND c.code >= k.code COLLATE "C" AND c.code <= k.code COLLATE "C" ORDER BY c.code LIMIT 1) c;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Where generated codes lie, by their numbers.
CREATE FUNCTION generated_places(p_pools int[], p_generators uuid[], p_numbers bigint[])
RETURNS TABLE (idx int, lot int, seq bigint) LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, l.lot, k.number - l.gen_from
      FROM unnest(p_pools, p_generators, p_numbers) WITH ORDINALITY AS k(pool, generator, number, idx)
     CROSS JOIN LATERAL (SELECT l.lot, l.gen_from, l.size FROM lots l
                          WHERE l.pool = k.pool AND l.generator = k.generator AND l.gen_from <= k.number
                          ORDER BY l.gen_from DESC LIMIT 1) l
     WHERE k.number < l.gen_from + l.size;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The remembered answers to redemptions of launched pools.
CREATE FUNCTION first_answers(p_pools int[], p_ids text[])
RETURNS TABLE (idx int, code text, lot int, seq bigint, customer_id text, order_id text, occurred_at timestamptz, context bytea, issued_to text,
               decided_at timestamptz, reason smallint, external boolean, checked boolean, rolled_back_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, r.code, r.lot, r.seq, r.customer_id, r.order_id, r.occurred_at, r.context, r.issued_to,
           r.decided_at, r.reason, r.external, r.checked, r.rolled_back_at
      FROM unnest(p_pools, p_ids) WITH ORDINALITY AS k(pool, id, idx)
     CROSS JOIN LATERAL (SELECT * FROM redemptions r
                          WHERE r.pool = k.pool AND r.redemption_id >= k.id AND r.redemption_id <= k.id
                          ORDER BY r.redemption_id LIMIT 1) r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Those of refused_redemptions, with or without a content of their own.
CREATE FUNCTION refused_answers(p_pool_ids text[], p_ids text[], p_contents bytea[])
RETURNS TABLE (idx int, content bytea, code text, customer_id text, order_id text, occurred_at timestamptz, context bytea,
               decided_at timestamptz, reason smallint)
LANGUAGE plpgsql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, r.content, r.code, r.customer_id, r.order_id, r.occurred_at, r.context, r.decided_at, r.reason
      FROM unnest(p_pool_ids, p_ids, p_contents) WITH ORDINALITY AS k(pool_id, id, content, idx)
     CROSS JOIN LATERAL (VALUES (''::bytea), (k.content)) c(content)
     CROSS JOIN LATERAL (SELECT * FROM refused_redemptions r
                          WHERE r.pool_id = k.pool_id AND r.redemption_id >= k.id AND r.redemption_id <= k.id AND r.content = c.content
                          ORDER BY r.redemption_id LIMIT 1) r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- What codes are judged by, for each redemption of one: uses and uses_by of codes for
-- many uses, the second by the customer and counted up to p_most.
CREATE FUNCTION redemption_facts(p_pools int[], p_lots int[], p_seqs bigint[], p_multi_use boolean[], p_customers text[], p_most bigint[])
RETURNS TABLE (idx int, available_from timestamptz, available_till timestamptz,
               issued_at timestamptz, valid_from timestamptz, valid_until timestamptz, issued_to text,
               blocked boolean, withdrawn boolean, redeemed boolean, uses bigint, uses_by bigint)
LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, l.available_from, l.available_till, i.issued_at, i.valid_from, i.valid_until, i.customer_id,
           EXISTS (SELECT FROM blocks b WHERE b.pool = k.pool AND b.lot = k.lot AND b.seq = k.seq OFFSET 0),
           EXISTS (SELECT FROM withdrawn w WHERE w.pool = k.pool AND w.lot = k.lot AND w.seq = k.seq OFFSET 0),
           NOT k.multi_use AND EXISTS (
               SELECT FROM redemptions r
                WHERE r.pool = k.pool AND r.lot = k.lot AND r.seq = k.seq AND r.reason = 0 AND r.rolled_back_at IS NULL
                ORDER BY r.decided_at OFFSET 0),
           coalesce(u.uses, 0), coalesce(b.uses, 0)
      FROM unnest(p_pools, p_lots, p_seqs, p_multi_use, p_customers, p_most) WITH ORDINALITY AS k(pool, lot, seq, multi_use, customer, most, idx)
     CROSS JOIN LATERAL (SELECT l.available_from, l.available_till FROM lots l WHERE l.pool = k.pool AND l.lot = k.lot OFFSET 0) l
      LEFT JOIN LATERAL (SELECT * FROM issuances i WHERE NOT k.multi_use AND i.pool = k.pool AND i.lot = k.lot AND i.seq >= k.seq AND i.seq <= k.seq
                          ORDER BY i.seq LIMIT 1) i ON true
      LEFT JOIN LATERAL (SELECT u.uses FROM code_uses u WHERE k.multi_use AND u.pool = k.pool AND u.lot = k.lot AND u.seq = k.seq OFFSET 0) u ON true
      LEFT JOIN LATERAL (SELECT count(*) AS uses
                           FROM (SELECT FROM redemptions r
                                  WHERE k.multi_use AND r.pool = k.pool AND r.lot = k.lot AND r.seq = k.seq
                                    AND r.customer_id >= k.customer COLLATE "C" AND r.customer_id <= k.customer COLLATE "C"
                                    AND r.reason = 0 AND r.multi_use AND r.rolled_back_at IS NULL
                                  ORDER BY r.customer_id LIMIT k.most) o) b ON true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Those of the places (from 1) whose codes are redeemed, and not rolled back.
CREATE FUNCTION redeemed_of(p_pool int, p_lots int[], p_seqs bigint[]) RETURNS SETOF int LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT k.idx::int
      FROM unnest(p_lots, p_seqs) WITH ORDINALITY AS k(lot, seq, idx)
     CROSS JOIN LATERAL (SELECT FROM redemptions r
                          WHERE r.pool = p_pool AND r.lot = k.lot AND r.seq = k.seq AND r.reason = 0 AND r.rolled_back_at IS NULL
                          ORDER BY r.decided_at LIMIT 1) r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The redeemed codes of a single-use pool behind a place, as codes_after has them.
CREATE FUNCTION redeemed_after(p_pool int, p_lot int, p_seq bigint, p_at_most int)
RETURNS TABLE (lot int, seq bigint, code text, issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz,
               times bigint, request_id text, customer_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz, withheld text)
LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.lot, k.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
           CASE WHEN i.issued_at IS NULL THEN 0 ELSE 1 END::bigint, i.request_id, i.customer_id, i.issued_at, i.valid_from, i.valid_until,
           coalesce(b.why, 'redeemed')
      FROM (SELECT DISTINCT r.lot, r.seq FROM redemptions r
             WHERE r.pool = p_pool AND r.lot IS NOT NULL AND (r.lot, r.seq) > (p_lot, p_seq) AND r.reason = 0 AND r.rolled_back_at IS NULL
             ORDER BY r.lot, r.seq LIMIT p_at_most) k
     CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = k.lot OFFSET 0) l
      LEFT JOIN LATERAL (SELECT c.code FROM codes c WHERE c.pool = p_pool AND c.lot = k.lot AND c.seq >= k.seq AND c.seq <= k.seq
                          ORDER BY c.seq LIMIT 1) c ON true
      LEFT JOIN LATERAL (SELECT * FROM issuances i WHERE i.pool = p_pool AND i.lot = k.lot AND i.seq >= k.seq AND i.seq <= k.seq
                          ORDER BY i.seq LIMIT 1) i ON true
      LEFT JOIN LATERAL (SELECT 'blocked' AS why FROM blocks b WHERE b.pool = p_pool AND b.lot = k.lot AND b.seq >= k.seq AND b.seq <= k.seq
                          ORDER BY b.seq LIMIT 1) b ON true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Locks the runs that codes lie in, in order. The caller holds the pools' locks and
-- withdraws codes of them afterwards.
CREATE FUNCTION lock_runs_of(p_pools int[], p_lots int[], p_seqs bigint[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET lock_timeout = '500ms' -- of a batch whose process froze: as in cut_out
AS $$
BEGIN
    PERFORM 1
       FROM (SELECT DISTINCT k.pool, k.lot, r.lo
               FROM unnest(p_pools, p_lots, p_seqs) AS k(pool, lot, seq)
              CROSS JOIN LATERAL (SELECT t.lo FROM runs t WHERE t.pool = k.pool AND t.lot = k.lot AND t.lo <= k.seq ORDER BY t.lo DESC LIMIT 1) r
              ORDER BY 1, 2, 3 OFFSET 0) c
      CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo FOR UPDATE) r;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Counts redemptions, or with a negative number those that were rolled back.
CREATE FUNCTION count_redemptions(p_pools int[], p_numbers bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO redemption_counts AS c (pool, slot, redeemed)
    SELECT k.pool, pg_backend_pid() % 16, k.n FROM unnest(p_pools, p_numbers) AS k(pool, n) WHERE k.n <> 0 ORDER BY k.pool
    ON CONFLICT ON CONSTRAINT redemption_counts_pkey DO UPDATE SET redeemed = c.redeemed + EXCLUDED.redeemed;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Makes answers true: what leaves the stock (w_), the redemptions in the order of
-- (pool, redemption_id) (r_; r_lot 0: no such code), the refusals in the order of their
-- key (f_), and what is counted. Texts '': none. The caller holds the codes' locks, and
-- those of the pools that something is withdrawn from.
CREATE FUNCTION commit_redemptions(
    p_now timestamptz,
    w_pool int[], w_lot int[], w_seq bigint[],
    r_pool int[], r_id text[], r_code text[], r_lot int[], r_seq bigint[], r_customer text[], r_order text[], r_occurred timestamptz[],
    r_context bytea[], r_issued_to text[], r_reason int[], r_external boolean[], r_checked boolean[], r_multi_use boolean[],
    f_pool text[], f_id text[], f_content bytea[], f_code text[], f_customer text[], f_order text[], f_occurred timestamptz[],
    f_context bytea[], f_reason int[]
) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    taken record;
BEGIN
    FOR taken IN SELECT * FROM unnest(w_pool, w_lot, w_seq) AS u(pool, lot, seq) LOOP
        IF NOT withdraw(taken.pool, taken.lot, taken.seq, 'redeemed', p_now) THEN
            RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a code that nobody had is issued';
        END IF;
    END LOOP;
    -- One that another system has redeemed while it was blocked stays out of the stock.
    IF true = ANY (r_external) THEN
        UPDATE withdrawn w SET why = 'redeemed'
          FROM (SELECT f.tid
                  FROM unnest(r_pool, r_lot, r_seq, r_reason, r_external, r_multi_use) AS r(pool, lot, seq, reason, external, multi_use)
                 CROSS JOIN LATERAL (SELECT f.ctid AS tid FROM withdrawn f WHERE f.pool = r.pool AND f.lot = r.lot AND f.seq = r.seq AND f.why = 'blocked' OFFSET 0) f
                 WHERE r.external AND r.reason = 0 AND NOT r.multi_use OFFSET 0) k
         WHERE w.ctid = k.tid;
    END IF;
    -- Who holds the codes' locks so long would say something of the past.
    IF clock_timestamp() >= p_now + interval '1 second' THEN
        RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'stale: the decision is older than a second';
    END IF;

    INSERT INTO redemptions (pool, redemption_id, code, lot, seq, customer_id, order_id, occurred_at, context, issued_to,
                             decided_at, reason, external, checked, multi_use)
    SELECT r.pool, r.id, r.code, nullif(r.lot, 0), CASE WHEN r.lot <> 0 THEN r.seq END, nullif(r.customer, ''), nullif(r.order_id, ''), r.occurred,
           r.context, nullif(r.issued_to, ''), p_now, r.reason, r.external, r.checked, r.multi_use
      FROM unnest(r_pool, r_id, r_code, r_lot, r_seq, r_customer, r_order, r_occurred, r_context, r_issued_to, r_reason, r_external, r_checked, r_multi_use)
           AS r(pool, id, code, lot, seq, customer, order_id, occurred, context, issued_to, reason, external, checked, multi_use);

    INSERT INTO refused_redemptions (pool_id, redemption_id, content, code, customer_id, order_id, occurred_at, context, decided_at, reason)
    SELECT f.pool, f.id, f.content, f.code, nullif(f.customer, ''), nullif(f.order_id, ''), f.occurred, f.context, p_now, f.reason
      FROM unnest(f_pool, f_id, f_content, f_code, f_customer, f_order, f_occurred, f_context, f_reason)
           AS f(pool, id, content, code, customer, order_id, occurred, context, reason);

    INSERT INTO code_uses AS u (pool, lot, seq, uses)
    SELECT r.pool, r.lot, r.seq, count(*)
      FROM unnest(r_pool, r_lot, r_seq, r_reason, r_multi_use) AS r(pool, lot, seq, reason, multi_use)
     WHERE r.reason = 0 AND r.multi_use AND r.lot <> 0 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT ON CONSTRAINT code_uses_pkey DO UPDATE SET uses = u.uses + EXCLUDED.uses;

    PERFORM count_redemptions(array_agg(c.pool), array_agg(c.n))
       FROM (SELECT r.pool, count(*) AS n FROM unnest(r_pool, r_lot, r_reason) AS r(pool, lot, reason)
              WHERE r.reason = 0 AND r.lot <> 0 GROUP BY 1) c;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Rolls a redemption back, under its code's lock, and returns whether it was not
-- before. A code that left the stock for it stays out: someone has it.
CREATE FUNCTION roll_back_redemption(p_pool int, p_id text, p_at timestamptz, p_actor text) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    r redemptions%ROWTYPE;
BEGIN
    UPDATE redemptions SET rolled_back_at = p_at, rolled_back_by = p_actor
     WHERE pool = p_pool AND redemption_id = p_id AND reason = 0 AND rolled_back_at IS NULL
    RETURNING * INTO r;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF r.lot IS NOT NULL THEN
        UPDATE code_uses SET uses = uses - 1 WHERE r.multi_use AND pool = r.pool AND lot = r.lot AND seq = r.seq;
        PERFORM count_redemptions(ARRAY[r.pool], ARRAY[-1::bigint]);
    END IF;
    RETURN true;
END $$;
-- +goose StatementEnd
