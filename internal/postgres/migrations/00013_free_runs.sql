-- A batch under locks waits for no run that it has not locked before it decides.
-- +goose Up

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION commit_batches(
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
    IF 0 = ANY (r_partition) THEN
        -- Under the pools' locks. Cursors are locked already, in their order. A free run
        -- is not, and who has it locked is a batch that remembers it as its own from
        -- before: he may wait for what we have, so he is not waited for.
        PERFORM 1
           FROM unnest(r_pool, r_lot, r_lo) WITH ORDINALITY AS c(pool, lot, lo, at)
          CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo FOR UPDATE SKIP LOCKED) r;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n <> cardinality(r_pool) THEN
            RAISE EXCEPTION USING ERRCODE = 'PP002', MESSAGE = 'cursor moved: a batch that fails has codes locked, which were handed back';
        END IF;
        n := 0;
    ELSE
        PERFORM 1
           FROM unnest(r_pool, r_lot, r_lo) WITH ORDINALITY AS c(pool, lot, lo, at)
          CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.pool = c.pool AND r.lot = c.lot AND r.lo = c.lo FOR UPDATE) r;
    END IF;
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
