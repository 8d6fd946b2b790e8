-- Codes by customer, listed behind issuing; and customers that are erased.
-- +goose Up

-- Calls that are under way go on with commit_batches as it was, and would not say what
-- they have issued: those that have begun end first, the others are fenced.
SET LOCAL lock_timeout = '30s';
LOCK TABLE service IN ACCESS EXCLUSIVE MODE;
UPDATE partitions SET epoch = epoch + 1;

-- Issued places that customer_codes does not list yet: stretches of lots, some of
-- whose places may never have been issued. Written by who issues, in the same
-- transaction, and gone in the one that lists them. sketch says which customers
-- cannot be among them (may_hold); null: nothing.
CREATE TABLE unlisted (
    no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL,               -- issued_at
    pools  int[] NOT NULL,
    lots   int[] NOT NULL,
    firsts bigint[] NOT NULL,
    counts bigint[] NOT NULL,
    sketch bytea
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- What a compression would save is not worth a batch's time.
ALTER TABLE unlisted
    ALTER COLUMN pools SET STORAGE EXTERNAL, ALTER COLUMN lots SET STORAGE EXTERNAL,
    ALTER COLUMN firsts SET STORAGE EXTERNAL, ALTER COLUMN counts SET STORAGE EXTERNAL,
    ALTER COLUMN sketch SET STORAGE EXTERNAL;

-- What was issued so far: where no run has anything left to issue.
INSERT INTO unlisted (at, pools, lots, firsts, counts)
SELECT clock_timestamp(), ARRAY[g.pool], ARRAY[g.lot], ARRAY[g.first], ARRAY[g.till - g.first]
  FROM (SELECT r.pool, r.lot, coalesce(lag(r.hi) OVER (PARTITION BY r.pool, r.lot ORDER BY r.lo), 0) AS first, r.next AS till FROM runs r
        UNION ALL
        SELECT l.pool, l.lot, coalesce((SELECT max(r.hi) FROM runs r WHERE r.pool = l.pool AND r.lot = l.lot), 0), l.size FROM lots l) g
 WHERE g.first < g.till
 ORDER BY g.pool, g.lot, g.first;

-- The codes of customers, with those that are erased under their pseudonyms. In
-- volumes of about a million codes, so that listing stays in a part of the index
-- that fits into memory, however much was issued before; to find a customer's codes
-- takes a probe for each volume.
CREATE TABLE customer_codes (
    issued_at   timestamptz NOT NULL,
    seq         bigint NOT NULL,
    volume      int NOT NULL,
    pool        int NOT NULL,
    lot         int NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    CONSTRAINT customer_codes_pkey PRIMARY KEY (volume, customer_id, issued_at, pool, lot, seq)
);
CREATE TABLE customer_volumes (
    volume int PRIMARY KEY,
    codes  bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO customer_volumes (volume, codes) VALUES (1, 0);

-- The key of pseudonyms. Whoever has it can find out whether a pseudonym is a given
-- customer's: it is read by the service and the auditor only, and never logged.
CREATE TABLE customer_key (
    one     boolean PRIMARY KEY DEFAULT true CONSTRAINT customer_key_single CHECK (one),
    key     bytea NOT NULL CONSTRAINT customer_key_whole CHECK (octet_length(key) = 32),
    made_at timestamptz NOT NULL
);

-- Customers that were erased, and by whom. An id stays until it is erased everywhere,
-- since nothing else tells whom to erase.
CREATE TABLE erasures (
    erasure     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pseudonym   text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C",
    actor       text NOT NULL CONSTRAINT erasures_actor_bounded CHECK (octet_length(actor) BETWEEN 1 AND 200),
    begun_at    timestamptz NOT NULL,          -- what is younger is new, and stays
    listed_no   bigint NOT NULL,               -- the last of unlisted when it began
    volume      int NOT NULL DEFAULT 1,        -- where to go on
    issuances   bigint NOT NULL DEFAULT 0,
    redemptions bigint NOT NULL DEFAULT 0,
    -- From when the rows are erased: what the request topics held then, by partition,
    -- and the last number of the outbox.
    stream      text,                          -- of the code requests
    ends        bigint[],
    redemption_ends bigint[],
    outbox_no   bigint,
    done_at     timestamptz,
    CONSTRAINT erasures_forgotten CHECK ((customer_id IS NULL) = (done_at IS NOT NULL)),
    CONSTRAINT erasures_marked CHECK (num_nonnulls(stream, ends, redemption_ends, outbox_no) IN (0, 4) AND (done_at IS NULL OR stream IS NOT NULL))
);
CREATE UNIQUE INDEX erasures_open_key ON erasures (pseudonym) WHERE done_at IS NULL;
CREATE INDEX erasures_pseudonym_idx ON erasures (pseudonym, stream);

-- To find a customer in them.
CREATE INDEX redemptions_customer_idx ON redemptions (customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX redemptions_tried_idx ON redemptions (pool, lot, seq) WHERE reason <> 0 AND issued_to IS NOT NULL;
CREATE INDEX refused_redemptions_customer_idx ON refused_redemptions (customer_id) WHERE customer_id IS NOT NULL;

-- +goose StatementBegin
-- Held by who lists or erases, first in the order of locks: what one reads the other
-- does not change. "cust"; of the one-number kind, as imports_lock.
CREATE FUNCTION customers_lock() RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN 1668641652::bigint << 32;
-- +goose StatementEnd

-- +goose StatementBegin
-- Whether a customer may be among those of a sketch, a Bloom filter whose bits are
-- numbered by two hashes of the customer (postgres/sketch.go).
CREATE FUNCTION may_hold(p_sketch bytea, p_a bigint, p_b bigint) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN p_sketch IS NULL
    OR get_bit(p_sketch, p_a % (8 * octet_length(p_sketch))) = 1 AND get_bit(p_sketch, (p_a + p_b) % (8 * octet_length(p_sketch))) = 1
       AND get_bit(p_sketch, (p_a + 2 * p_b) % (8 * octet_length(p_sketch))) = 1 AND get_bit(p_sketch, (p_a + 3 * p_b) % (8 * octet_length(p_sketch))) = 1;
-- +goose StatementEnd

DROP FUNCTION commit_batches(timestamptz, int[], bigint[], bigint[], bigint[], bigint[], bytea[], text[],
    int[], int[], bigint[], int[], bigint[], bigint[], bigint[], timestamptz[], timestamptz[], int[], int[], text[], text[], bytea[]);

-- +goose StatementBegin
-- As before, and says what is to be listed. The program of the version before gives
-- no sketch.
CREATE FUNCTION commit_batches(
    p_now timestamptz,
    b_partition int[], b_epoch bigint[], b_no bigint[], b_first bigint[], b_end bigint[], b_verdicts bytea[], b_evidence text[],
    r_pool int[], r_lot int[], r_lo bigint[], r_partition int[], r_next bigint[], r_grant bigint[], r_take bigint[],
    r_from timestamptz[], r_until timestamptz[],
    i_run int[], i_at int[], i_request text[], i_customer text[], i_context bytea[],
    p_sketch bytea DEFAULT NULL
) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    n bigint := 0;
    used_up bigint := 0;
BEGIN
    PERFORM enter(b_partition, b_epoch);

    -- Lock in the order of the key; check and move in a later statement.
    PERFORM 1
       FROM unnest(r_pool, r_lot, r_lo) WITH ORDINALITY AS c(pool, lot, lo, at)
      CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo FOR UPDATE) r;
    IF 0 = ANY (r_partition) THEN
        WITH gone AS (
            DELETE FROM runs r
             USING unnest(r_pool, r_lot, r_lo, r_partition, r_next, r_grant, r_take) AS c(pool, lot, lo, partition, next, grant_no, take)
             WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo AND c.partition = 0 AND r.partition IS NULL
               AND r.next = c.next AND r.grant_no = c.grant_no AND c.next + c.take = r.hi
            RETURNING r.pool, r.lot, r.hi - r.lo AS codes
        ), folded AS (
            UPDATE lots l SET done = l.done + g.codes
              FROM (SELECT pool, lot, sum(codes) AS codes FROM gone GROUP BY pool, lot) g
             WHERE l.pool = g.pool AND l.lot = g.lot
        )
        SELECT count(*) INTO used_up FROM gone;
    END IF;
    IF used_up < cardinality(r_pool) THEN
        -- "partition =" would lure the planner to runs_held_idx.
        UPDATE runs r SET next = r.next + c.take
          FROM unnest(r_pool, r_lot, r_lo, r_partition, r_next, r_grant, r_take) AS c(pool, lot, lo, partition, next, grant_no, take)
         WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo
           AND r.partition IS NOT DISTINCT FROM nullif(c.partition, 0)
           AND r.next = c.next AND r.grant_no = c.grant_no AND c.next + c.take <= r.hi;
        GET DIAGNOSTICS n = ROW_COUNT;
    END IF;
    IF used_up + n <> cardinality(r_pool) THEN
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
    IF cardinality(i_run) > 0 THEN
        INSERT INTO unlisted (at, pools, lots, firsts, counts, sketch) VALUES (p_now, r_pool, r_lot, r_next, r_take, p_sketch);
    END IF;

    INSERT INTO batches (partition, first_offset, end_offset, decided_at, verdicts, evidence)
    SELECT b.partition, b.first_offset, b.end_offset, p_now, nullif(b.verdicts, ''), nullif(b.evidence, '')::jsonb
      FROM unnest(b_partition, b_first, b_end, b_verdicts, b_evidence) AS b(partition, first_offset, end_offset, verdicts, evidence);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Lists about p_at_most codes under their customers, in a new volume once the last
-- has p_volume. left_since: when the first of those that are left was issued, null:
-- none is left; issued_last: when the last. Of a stretch that is longer a part is
-- listed. Who issues is not waited for: what is committed later is listed later.
CREATE FUNCTION list_codes(p_at_most bigint, p_volume bigint)
RETURNS TABLE (listed bigint, left_since timestamptz, issued_last timestamptz, asked_at timestamptz) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET work_mem = '32MB'
AS $$
#variable_conflict use_column
DECLARE
    picked bigint[];
    s_pool int[];
    s_lot int[];
    s_first bigint[];
    s_count bigint[];
    v customer_volumes%ROWTYPE;
    n bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(customers_lock());
    SELECT array_agg(q.no) INTO picked
      FROM (SELECT u.no, c.n, sum(c.n) OVER (ORDER BY u.no) - c.n AS before
              FROM (SELECT * FROM unlisted ORDER BY no LIMIT 4000) u
             CROSS JOIN LATERAL (SELECT sum(k)::bigint AS n FROM unnest(u.counts) AS k) c) q
     WHERE q.before < p_at_most AND (q.before = 0 OR q.n <= p_at_most);
    IF picked IS NOT NULL THEN
        SELECT array_agg(s.pool), array_agg(s.lot), array_agg(s.first), array_agg(s.n) INTO s_pool, s_lot, s_first, s_count
          FROM unlisted u CROSS JOIN LATERAL unnest(u.pools, u.lots, u.firsts, u.counts) AS s(pool, lot, first, n)
         WHERE u.no = ANY (picked);
        IF cardinality(s_count) = 1 AND s_count[1] > p_at_most THEN
            UPDATE unlisted SET firsts = ARRAY[s_first[1] + p_at_most], counts = ARRAY[s_count[1] - p_at_most] WHERE no = picked[1];
            s_count[1] := p_at_most;
        ELSE
            DELETE FROM unlisted WHERE no = ANY (picked);
        END IF;

        SELECT * INTO v FROM customer_volumes ORDER BY volume DESC LIMIT 1;
        IF v.codes >= p_volume THEN
            v.volume := v.volume + 1;
            INSERT INTO customer_volumes (volume, codes) VALUES (v.volume, 0);
        END IF;
        INSERT INTO customer_codes (issued_at, seq, volume, pool, lot, customer_id)
        SELECT i.issued_at, i.seq, v.volume, i.pool, i.lot, i.customer_id
          FROM unnest(s_pool, s_lot, s_first, s_count) AS s(pool, lot, first, n)
         CROSS JOIN LATERAL (SELECT * FROM issuances i
                              WHERE i.pool = s.pool AND i.lot = s.lot AND i.seq >= s.first AND i.seq < s.first + s.n ORDER BY i.lot, i.seq) i
         ORDER BY i.customer_id;
        GET DIAGNOSTICS n = ROW_COUNT;
        UPDATE customer_volumes SET codes = codes + n WHERE volume = v.volume;
    END IF;
    RETURN QUERY SELECT n, (SELECT u.at FROM unlisted u ORDER BY u.no LIMIT 1), (SELECT u.at FROM unlisted u ORDER BY u.no DESC LIMIT 1), clock_timestamp();
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The codes of a customer that come behind a place in the order of their issue, the
-- last first: those that are listed and those that are not yet, all of one moment. code
-- is null where no text is stored. redeemed_at: when last, and of a code that many may
-- use by this customer.
CREATE FUNCTION codes_of_customer(
    p_customer text, p_a bigint, p_b bigint, p_issued_at timestamptz, p_pool int, p_lot int, p_seq bigint, p_at_most int
) RETURNS TABLE (pool int, lot int, seq bigint, request_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz,
                 code text, generator uuid, number bigint, blocked boolean, redeemed_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH k AS MATERIALIZED (
        SELECT a.issued_at, a.pool, a.lot, a.seq
          FROM (SELECT c.issued_at, c.pool, c.lot, c.seq
                  FROM customer_volumes v
                 CROSS JOIN LATERAL (SELECT c.issued_at, c.pool, c.lot, c.seq FROM customer_codes c
                                      WHERE c.volume = v.volume AND c.customer_id = p_customer
                                        AND (c.issued_at, c.pool, c.lot, c.seq) < (p_issued_at, p_pool, p_lot, p_seq)
                                      ORDER BY c.issued_at DESC, c.pool DESC, c.lot DESC, c.seq DESC LIMIT p_at_most) c
                 UNION ALL
                SELECT i.issued_at, i.pool, i.lot, i.seq
                  FROM unlisted u
                 CROSS JOIN LATERAL unnest(u.pools, u.lots, u.firsts, u.counts) AS s(pool, lot, first, n)
                 CROSS JOIN LATERAL (SELECT * FROM issuances i
                                      WHERE i.pool = s.pool AND i.lot = s.lot AND i.seq >= s.first AND i.seq < s.first + s.n ORDER BY i.lot, i.seq) i
                 WHERE may_hold(u.sketch, p_a, p_b) AND i.customer_id = p_customer
                   AND (i.issued_at, i.pool, i.lot, i.seq) < (p_issued_at, p_pool, p_lot, p_seq)) a
         ORDER BY a.issued_at DESC, a.pool DESC, a.lot DESC, a.seq DESC LIMIT p_at_most)
    SELECT k.pool, k.lot, k.seq, i.request_id, i.issued_at, i.valid_from, i.valid_until, t.code, l.generator, l.gen_from + l.seq,
           EXISTS (SELECT FROM blocks b WHERE b.pool = k.pool AND b.lot = k.lot AND b.seq = l.seq OFFSET 0), r.decided_at
      FROM k
     CROSS JOIN LATERAL (SELECT * FROM issuances i WHERE i.pool = k.pool AND i.lot = k.lot AND i.seq >= k.seq AND i.seq <= k.seq
                          ORDER BY i.lot, i.seq LIMIT 1) i
     CROSS JOIN LATERAL (SELECT k.seq % l.size AS seq, l.generator, l.gen_from FROM lots l WHERE l.pool = k.pool AND l.lot = k.lot OFFSET 0) l
     CROSS JOIN LATERAL (SELECT p.multi_use FROM pools p WHERE p.pool = k.pool OFFSET 0) p
      LEFT JOIN LATERAL (SELECT t.code FROM codes t WHERE t.pool = k.pool AND t.lot = k.lot AND t.seq >= l.seq AND t.seq <= l.seq
                          ORDER BY t.lot, t.seq LIMIT 1) t ON true
      LEFT JOIN LATERAL (SELECT r.decided_at FROM redemptions r
                          WHERE r.pool = k.pool AND r.lot = k.lot AND r.seq = l.seq AND r.reason = 0 AND r.rolled_back_at IS NULL
                            AND (NOT p.multi_use OR r.customer_id = p_customer)
                          ORDER BY r.pool DESC, r.lot DESC, r.seq DESC, r.decided_at DESC LIMIT 1) r ON true
     ORDER BY k.issued_at DESC, k.pool DESC, k.lot DESC, k.seq DESC;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- 128 bits of HMAC-SHA256 under the key of pseudonyms (RFC 2104, RFC 4231); null:
-- there is no key. As domain.Pseudonyms makes them.
CREATE FUNCTION keyed(p_text bytea) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
DECLARE
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
    k bytea := (SELECT c.key FROM customer_key c);
BEGIN
    FOR i IN 0..31 LOOP
        inner_pad := set_byte(inner_pad, i, get_byte(k, i) # 54);
        outer_pad := set_byte(outer_pad, i, get_byte(k, i) # 92);
    END LOOP;
    RETURN substr(sha256(outer_pad || sha256(inner_pad || p_text)), 1, 16);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- What an erased customer is called; null: nobody ever was erased.
CREATE FUNCTION customer_pseudonym(p_customer text) RETURNS text LANGUAGE sql STABLE
RETURN 'erased:' || translate(rtrim(encode(keyed(convert_to(p_customer, 'UTF8')), 'base64'), '='), '+/', '-_');
-- +goose StatementEnd

-- +goose StatementBegin
-- What stands for an order of an erased customer.
CREATE FUNCTION order_pseudonym(p_order text) RETURNS text LANGUAGE sql STABLE
RETURN 'erased:' || translate(rtrim(encode(keyed('\x6f7264657200'::bytea || convert_to(p_order, 'UTF8')), 'base64'), '='), '+/', '-_');
-- +goose StatementEnd

-- +goose StatementBegin
-- Erases up to p_at_most issuances of an erasure's customer, and whom they were issued
-- to in redemptions; returns how many were looked at, 0: all that are listed are
-- erased. A redemption that has read to whom a code was issued holds the code's lock
-- until it is written.
CREATE FUNCTION erase_codes(p_erasure bigint, p_at_most int) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off
AS $$
DECLARE
    e erasures%ROWTYPE;
    k_issued_at timestamptz[];
    k_pool int[];
    k_lot int[];
    k_seq bigint[];
    n bigint := 0;
    m bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(customers_lock());
    SELECT * INTO e FROM erasures WHERE erasure = p_erasure FOR UPDATE;
    LOOP
        SELECT array_agg(c.issued_at), array_agg(c.pool), array_agg(c.lot), array_agg(c.seq) INTO k_issued_at, k_pool, k_lot, k_seq
          FROM (SELECT c.issued_at, c.pool, c.lot, c.seq FROM customer_codes c
                 WHERE c.volume = e.volume AND c.customer_id = e.customer_id AND c.issued_at <= e.begun_at
                 ORDER BY c.issued_at, c.pool, c.lot, c.seq LIMIT p_at_most) c;
        EXIT WHEN k_pool IS NOT NULL OR NOT EXISTS (SELECT FROM customer_volumes v WHERE v.volume > e.volume);
        e.volume := e.volume + 1;
    END LOOP;
    IF k_pool IS NOT NULL THEN
        PERFORM lock_codes(array_agg(k.pool), array_agg(k.lot), array_agg(k.seq))
           FROM unnest(k_pool, k_lot, k_seq) AS k(pool, lot, seq)
          CROSS JOIN LATERAL (SELECT p.multi_use FROM pools p WHERE p.pool = k.pool OFFSET 0) p
          WHERE NOT p.multi_use;
        UPDATE issuances i SET customer_id = e.pseudonym, context = NULL
          FROM (SELECT f.tid FROM unnest(k_pool, k_lot, k_seq) AS k(pool, lot, seq)
                 CROSS JOIN LATERAL (SELECT i.ctid AS tid, i.customer_id FROM issuances i
                                      WHERE i.pool = k.pool AND i.lot = k.lot AND i.seq >= k.seq AND i.seq <= k.seq ORDER BY i.lot, i.seq LIMIT 1) f
                 WHERE f.customer_id = e.customer_id OFFSET 0) f
         WHERE i.ctid = f.tid;
        GET DIAGNOSTICS n = ROW_COUNT;
        UPDATE customer_codes c SET customer_id = e.pseudonym
          FROM (SELECT f.tid FROM unnest(k_issued_at, k_pool, k_lot, k_seq) AS k(issued_at, pool, lot, seq)
                 CROSS JOIN LATERAL (SELECT c.ctid AS tid FROM customer_codes c
                                      WHERE c.volume = e.volume AND c.customer_id = e.customer_id AND c.issued_at = k.issued_at
                                        AND c.pool = k.pool AND c.lot = k.lot AND c.seq = k.seq OFFSET 0) f OFFSET 0) f
         WHERE c.ctid = f.tid;
        -- Those that name the customer come later, and are counted then.
        WITH erased AS (
        UPDATE redemptions r SET issued_to = e.pseudonym,
               order_id = CASE WHEN r.customer_id IS NULL THEN order_pseudonym(r.order_id) ELSE r.order_id END,
               context = CASE WHEN r.customer_id IS NULL THEN NULL ELSE r.context END
          FROM (SELECT f.tid FROM unnest(k_pool, k_lot, k_seq) AS k(pool, lot, seq)
                 CROSS JOIN LATERAL ((SELECT r.ctid AS tid, r.issued_to FROM redemptions r
                                       WHERE r.pool = k.pool AND r.lot = k.lot AND r.seq >= k.seq AND r.seq <= k.seq AND r.reason = 0
                                       ORDER BY r.seq, r.decided_at)
                                      UNION ALL
                                     (SELECT r.ctid, r.issued_to FROM redemptions r
                                       WHERE r.pool = k.pool AND r.lot = k.lot AND r.seq >= k.seq AND r.seq <= k.seq AND r.reason <> 0 AND r.issued_to IS NOT NULL
                                       ORDER BY r.seq)) f
                 WHERE f.issued_to = e.customer_id OFFSET 0) f
         WHERE r.ctid = f.tid
        RETURNING r.customer_id)
        SELECT count(*) INTO m FROM erased WHERE erased.customer_id IS DISTINCT FROM e.customer_id;
    END IF;
    UPDATE erasures SET volume = e.volume, issuances = issuances + n, redemptions = redemptions + m WHERE erasure = p_erasure;
    RETURN coalesce(cardinality(k_pool), 0);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Erases up to p_at_most redemptions in which an erasure's customer is named, and
-- returns how many. What a repeat is known by stays, as a keyed hash.
CREATE FUNCTION erase_redemptions(p_erasure bigint, p_at_most int) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    e erasures%ROWTYPE;
    n bigint;
    m bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(customers_lock());
    SELECT * INTO e FROM erasures WHERE erasure = p_erasure FOR UPDATE;
    UPDATE redemptions r SET customer_id = e.pseudonym, order_id = order_pseudonym(r.order_id), context = NULL
     WHERE r.ctid = ANY (ARRAY(SELECT f.ctid FROM redemptions f
                                WHERE f.customer_id = e.customer_id AND f.decided_at <= e.begun_at LIMIT p_at_most));
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE refused_redemptions r
       SET customer_id = e.pseudonym, order_id = order_pseudonym(r.order_id), context = NULL,
           content = CASE WHEN r.content = '' THEN '' ELSE keyed(r.content) END
     WHERE r.ctid = ANY (ARRAY(SELECT f.ctid FROM refused_redemptions f
                                WHERE f.customer_id = e.customer_id AND f.decided_at <= e.begun_at LIMIT p_at_most));
    GET DIAGNOSTICS m = ROW_COUNT;
    UPDATE erasures SET redemptions = redemptions + n + m WHERE erasure = p_erasure;
    RETURN n + m;
END $$;
-- +goose StatementEnd
