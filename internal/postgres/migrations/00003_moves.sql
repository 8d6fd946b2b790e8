-- Codes that move to other dates, lots that grow, and pools of very many windows.
-- +goose Up

-- The lot's windows, copied, so that the stock is summed and the first expiring
-- found without a look at every lot. A lot's windows never change. An open end is
-- infinite here, so that an index can compare it.
ALTER TABLE runs
    ADD COLUMN issue_start    timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN issue_end      timestamptz NOT NULL DEFAULT 'infinity',
    ADD COLUMN available_till timestamptz NOT NULL DEFAULT 'infinity';
UPDATE runs r
   SET issue_start = coalesce(l.issue_start, '-infinity'), issue_end = coalesce(l.issue_end, 'infinity'),
       available_till = coalesce(l.available_till, 'infinity')
  FROM lots l
 WHERE l.pool = r.pool AND l.lot = r.lot;
-- First expiring first. Without next and hi: cursors stay HOT.
CREATE INDEX runs_free_idx ON runs (pool, issue_end, available_till, lot, lo) WHERE partition IS NULL;

-- Codes that have left for another lot; their numbers stay unused.
ALTER TABLE lots ADD COLUMN moved bigint NOT NULL DEFAULT 0 CONSTRAINT lots_moved_some CHECK (moved BETWEEN 0 AND size);

-- How lots have changed since they were made, for the auditor: from the pool's
-- revision on there were so many codes more, and so many fewer.
CREATE TABLE lot_changes (
    pool     int NOT NULL,
    lot      int NOT NULL,
    revision bigint NOT NULL,
    added    bigint NOT NULL,
    taken    bigint NOT NULL,
    CONSTRAINT lot_changes_pkey PRIMARY KEY (pool, lot, revision)
);

-- Codes that rows of a file have named and that are not in lots of the import,
-- since they stay as they are: a second row is known for what it is. Gone when
-- the import has ended.
CREATE TABLE import_seen (
    task bigint NOT NULL,
    code text COLLATE "C" NOT NULL,
    CONSTRAINT import_seen_pkey PRIMARY KEY (task, code)
);

-- Codes that rows of a file move to other dates, from the row on until they have
-- moved: in the order of where they lay, when the file is read. Gone when the import
-- has ended.
CREATE TABLE import_moves (
    task           bigint NOT NULL,
    code           text COLLATE "C" NOT NULL,
    lot            int NOT NULL,               -- where it was when the row was read
    seq            bigint NOT NULL,
    issue_start    timestamptz,
    issue_end      timestamptz,
    available_from timestamptz,
    available_till timestamptz,
    line           bigint NOT NULL,            -- for the refusal, if it is issued meanwhile
    row            text NOT NULL,
    CONSTRAINT import_moves_pkey PRIMARY KEY (task, code)
);
CREATE INDEX import_moves_place_idx ON import_moves (task, lot, seq);

-- +goose StatementBegin
-- The pool's stock that has not expired and that nobody holds.
CREATE OR REPLACE FUNCTION free_stock(p_pool int) RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(r.hi - r.next), 0)
      FROM runs r
     WHERE r.pool = p_pool AND r.partition IS NULL AND r.issue_end > clock_timestamp() AND r.available_till > clock_timestamp();
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Folds finished runs into their lots: those of a partition, found by what it
-- holds, or with null all of the pool's. The caller holds the pool's lock. Nobody
-- compares a finished run any more.
CREATE FUNCTION fold(p_pool int, p_partition int) RETURNS void LANGUAGE sql AS $$
    -- Their owners' transactions may hold finished runs and others, in order: to
    -- wait for one here would break it. The next time gets what is skipped.
    WITH finished AS (
        DELETE FROM runs d
         USING (SELECT r.lot, r.lo FROM runs r
                 WHERE r.pool = p_pool AND r.next = r.hi AND (p_partition IS NULL OR r.partition = p_partition)
                   FOR UPDATE SKIP LOCKED) f
         WHERE d.pool = p_pool AND d.lot = f.lot AND d.lo = f.lo RETURNING d.lot, d.hi - d.lo AS n)
    UPDATE lots l SET done = l.done + f.n
      FROM (SELECT lot, sum(n) AS n FROM finished GROUP BY lot) f
     WHERE l.pool = p_pool AND l.lot = f.lot;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Folds all finished runs of the pool and joins free neighbours. The caller holds
-- the pool's lock.
CREATE OR REPLACE FUNCTION tidy(p_pool int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM fold(p_pool, NULL);
    WITH free AS (
        SELECT r.lot, r.lo, r.hi,
               sum(CASE WHEN r.lo = r.before AND r.next = r.lo THEN 0 ELSE 1 END) OVER (PARTITION BY r.lot ORDER BY r.lo) AS chain
          FROM (SELECT lot, lo, next, hi, lag(hi) OVER (PARTITION BY lot ORDER BY lo) AS before
                  FROM runs WHERE pool = p_pool AND partition IS NULL) r
    ), chains AS (
        SELECT lot, chain, min(lo) AS lo, max(hi) AS hi FROM free GROUP BY lot, chain HAVING count(*) > 1
    ), joined AS (
        DELETE FROM runs r USING free f JOIN chains c ON c.lot = f.lot AND c.chain = f.chain
         WHERE r.pool = p_pool AND r.lot = f.lot AND r.lo = f.lo AND f.lo <> c.lo
    )
    UPDATE runs r SET hi = c.hi FROM chains c WHERE r.pool = p_pool AND r.lot = c.lot AND r.lo = c.lo;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Hands held runs of the pool back, in order, which waits for the batches in
-- flight; the stamp makes their owners' next compare-and-set fail. The caller
-- holds the pool's lock. Turns the pool scarce when little is left.
-- p_holders: only theirs; null: everybody's.
CREATE OR REPLACE FUNCTION hand_back(p_pool int, p_holders int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    stamp bigint;
BEGIN
    PERFORM 1 FROM runs
      WHERE pool = p_pool AND partition IS NOT NULL AND (p_holders IS NULL OR partition = ANY (p_holders))
      ORDER BY lot, lo FOR UPDATE;
    IF FOUND THEN
        UPDATE pools SET grant_no = grant_no + 1 WHERE pool = p_pool RETURNING grant_no INTO stamp;
        UPDATE runs SET partition = NULL, grant_no = stamp
         WHERE pool = p_pool AND partition IS NOT NULL AND (p_holders IS NULL OR partition = ANY (p_holders));
        PERFORM tidy(p_pool);
    ELSE
        PERFORM fold(p_pool, NULL);
    END IF;
    UPDATE pools SET mode = 'scarce'
     WHERE pool = p_pool AND mode = 'ample' AND NOT multi_use AND p_holders IS NULL AND free_stock(p_pool) < scarce_mark();
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- REFILL: splits the heads of free runs off for a partition, first expiring
-- first, at most p_want codes in at most 2,000 pieces, and at most the share that
-- keeps buffers below half of what is left. Grants nothing when the pool is not
-- active and ample.
CREATE OR REPLACE FUNCTION refill(p_partition int, p_pool int, p_want bigint)
RETURNS TABLE (lot int, lo bigint, next bigint, hi bigint, grant_no bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    p pools%ROWTYPE;
    r record;
    want bigint;
    n bigint;
    pieces int := 0;
    stamp bigint;
BEGIN
    SELECT * INTO p FROM pools WHERE pool = p_pool FOR UPDATE;
    IF NOT FOUND OR p.state <> 'active' OR p.mode <> 'ample' THEN
        RETURN;
    END IF;
    PERFORM fold(p_pool, p_partition);
    want := p_want;
    IF NOT p.multi_use THEN
        want := least(want, trunc(free_stock(p_pool) / (2 * (SELECT s.partitions FROM service s))));
    END IF;
    IF want <= 0 THEN
        RETURN;
    END IF;
    UPDATE pools SET grant_no = pools.grant_no + 1 WHERE pool = p_pool RETURNING pools.grant_no INTO stamp;
    FOR r IN
        SELECT f.lot, f.lo, f.next, f.hi, f.issue_start, f.issue_end, f.available_till
          FROM runs f
         WHERE f.pool = p_pool AND f.partition IS NULL AND f.next < f.hi
           AND f.issue_start <= clock_timestamp() AND f.issue_end > clock_timestamp() AND f.available_till > clock_timestamp()
         ORDER BY f.issue_end, f.available_till, f.lot, f.lo
    LOOP
        n := least(want, r.hi - r.next);
        UPDATE runs SET partition = p_partition, hi = r.next + n, grant_no = stamp
         WHERE pool = p_pool AND runs.lot = r.lot AND runs.lo = r.lo;
        IF r.next + n < r.hi THEN
            INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
            VALUES (p_pool, r.lot, r.next + n, r.next + n, r.hi, NULL, stamp, r.issue_start, r.issue_end, r.available_till);
        END IF;
        lot := r.lot; lo := r.lo; next := r.next; hi := r.next + n; grant_no := stamp;
        RETURN NEXT;
        want := want - n;
        pieces := pieces + 1;
        EXIT WHEN want <= 0 OR pieces = 2000;
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Puts codes, already in codes, into the pool's stock. From the commit on they
-- can be issued. A lot without codes so far (l_size 0) is made, the others grow by
-- l_more; that their size is as remembered is checked. Returns the pool's
-- revision from then on. Locks the pool.
--
-- Here and below rows are found one by one, by the whole key, and then by their
-- ctid: under the pool's lock nobody else moves them. A join might begin with all
-- rows of the pool, where the planner believes that there are next to none.
CREATE FUNCTION add_codes(
    p_pool int, p_import bigint, p_at timestamptz, l_lot int[], l_size bigint[], l_more bigint[],
    l_issue_start timestamptz[], l_issue_end timestamptz[], l_available_from timestamptz[], l_available_till timestamptz[]
) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    p pools%ROWTYPE;
    grown bigint;
    n bigint;
BEGIN
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING * INTO p;
    IF NOT FOUND OR p.state = 'archived' THEN
        RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool takes no codes: it is archived or gone';
    END IF;
    INSERT INTO lots (pool, lot, size, issue_start, issue_end, available_from, available_till, import, revision, created_at)
    SELECT p_pool, l.lot, l.more, l.issue_start, l.issue_end, l.available_from, l.available_till, p_import, p.revision, p_at
      FROM unnest(l_lot, l_size, l_more, l_issue_start, l_issue_end, l_available_from, l_available_till)
           AS l(lot, size, more, issue_start, issue_end, available_from, available_till)
     WHERE l.size = 0;

    SELECT count(*) INTO grown FROM unnest(l_size) AS l(size) WHERE l.size > 0;
    IF grown > 0 THEN
        UPDATE lots o SET size = o.size + k.more
          FROM (SELECT f.tid, l.more FROM unnest(l_lot, l_size, l_more) AS l(lot, size, more)
                 CROSS JOIN LATERAL (SELECT f.ctid AS tid FROM lots f WHERE f.pool = p_pool AND f.lot = l.lot AND f.size = l.size OFFSET 0) f
                 WHERE l.size > 0 OFFSET 0) k
         WHERE o.ctid = k.tid;
        GET DIAGNOSTICS n = ROW_COUNT;
        -- In a multi-use pool the size says which code a number means: it stays.
        IF n <> grown OR p.multi_use THEN
            RAISE EXCEPTION USING ERRCODE = 'PP008', MESSAGE = 'a lot is not as remembered';
        END IF;
        INSERT INTO lot_changes (pool, lot, revision, added, taken)
        SELECT p_pool, l.lot, p.revision, l.more, 0 FROM unnest(l_lot, l_size, l_more) AS l(lot, size, more) WHERE l.size > 0;
    END IF;

    -- A lot whose last codes are free goes on in the same run.
    WITH l AS MATERIALIZED (
        SELECT l.*, t.tid
          FROM unnest(l_lot, l_size, l_more, l_issue_start, l_issue_end, l_available_till) AS l(lot, size, more, issue_start, issue_end, available_till)
          LEFT JOIN LATERAL (SELECT t.ctid AS tid, t.partition, t.hi FROM runs t WHERE t.pool = p_pool AND t.lot = l.lot ORDER BY t.lo DESC LIMIT 1) t
            ON l.size > 0 AND t.partition IS NULL AND t.hi = l.size
    ), longer AS (
        UPDATE runs r SET hi = r.hi + l.more, grant_no = p.grant_no FROM l WHERE r.ctid = l.tid
    )
    INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
    SELECT p_pool, l.lot, l.size, l.size, CASE WHEN p.multi_use THEN 9000000000000000 ELSE l.size + l.more END, NULL, p.grant_no,
           coalesce(l.issue_start, '-infinity'), coalesce(l.issue_end, 'infinity'), coalesce(l.available_till, 'infinity')
      FROM l WHERE l.tid IS NULL;

    IF p.mode = 'scarce' AND (p.multi_use OR free_stock(p_pool) > 2 * scarce_mark()) THEN
        UPDATE pools SET mode = 'ample' WHERE pool = p_pool;
    END IF;
    RETURN p.revision;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION add_lot(
    p_pool int, p_lot int, p_size bigint, p_import bigint,
    p_issue_start timestamptz, p_issue_end timestamptz, p_available_from timestamptz, p_available_till timestamptz
) RETURNS void LANGUAGE sql AS $$
    SELECT add_codes(p_pool, p_import, clock_timestamp(), ARRAY[p_lot], ARRAY[0::bigint], ARRAY[p_size],
                     ARRAY[p_issue_start], ARRAY[p_issue_end], ARRAY[p_available_from], ARRAY[p_available_till]);
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Takes codes out of the stock, wherever they are, and returns which of them (from
-- 1) were unissued and now are nobody's: the caller puts them elsewhere in this
-- transaction. The others are issued. Locks the pool, then the runs concerned,
-- which waits for batches in flight; what is left of a run is free, under a new
-- stamp, so that the owner of one that was held finds out.
CREATE FUNCTION take_out(p_pool int, p_lots int[], p_seqs bigint[]) RETURNS SETOF int LANGUAGE plpgsql ROWS 2000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    p pools%ROWTYPE;
    t_idx int[];
    t_lot int[];
    t_seq bigint[];
    t_tid tid[];
    t_lo bigint[];
    t_next bigint[];
    t_hi bigint[];
    t_start timestamptz[];
    t_end timestamptz[];
    t_till timestamptz[];
BEGIN
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING * INTO p;
    IF NOT FOUND OR p.state = 'archived' THEN
        RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool takes no codes: it is archived or gone';
    END IF;
    IF p.multi_use THEN
        RAISE EXCEPTION USING ERRCODE = 'PP008', MESSAGE = 'a lot is not as remembered: its codes are for many uses now';
    END IF;

    -- The run of a code is the last that begins at or before it. Runs come and go
    -- under the pool's lock only; how far they are issued is read in a later
    -- statement than their lock. A batch in flight is over in moments, unless its
    -- process is frozen: then all who need the pool would wait with us.
    PERFORM set_config('lock_timeout', '500ms', true);
    PERFORM 1
       FROM (SELECT DISTINCT k.lot, r.lo
               FROM unnest(p_lots, p_seqs) AS k(lot, seq)
              CROSS JOIN LATERAL (SELECT t.lo FROM runs t WHERE t.pool = p_pool AND t.lot = k.lot AND t.lo <= k.seq ORDER BY t.lo DESC LIMIT 1) r
              ORDER BY 1, 2 OFFSET 0) c
      CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.pool = p_pool AND r.lot = c.lot AND r.lo = c.lo FOR UPDATE) r;

    SELECT array_agg(k.idx), array_agg(k.lot), array_agg(k.seq), array_agg(r.tid), array_agg(r.lo), array_agg(r.next), array_agg(r.hi),
           array_agg(r.issue_start), array_agg(r.issue_end), array_agg(r.available_till)
      INTO t_idx, t_lot, t_seq, t_tid, t_lo, t_next, t_hi, t_start, t_end, t_till
      FROM unnest(p_lots, p_seqs) WITH ORDINALITY AS k(lot, seq, idx)
     CROSS JOIN LATERAL (SELECT t.ctid AS tid, t.* FROM runs t WHERE t.pool = p_pool AND t.lot = k.lot AND t.lo <= k.seq ORDER BY t.lo DESC LIMIT 1) r
     WHERE k.seq >= r.next AND k.seq < r.hi;

    -- Whoever asked may have looked before the pool was for many uses for a while.
    IF coalesce(cardinality(t_idx), 0) < cardinality(p_lots)
       AND EXISTS (SELECT FROM unnest(p_lots, p_seqs) WITH ORDINALITY AS k(lot, seq, idx)
                     LEFT JOIN LATERAL (SELECT i.seq FROM issuances i WHERE i.pool = p_pool AND i.lot = k.lot AND i.seq >= k.seq AND i.seq <= k.seq
                                         ORDER BY i.seq LIMIT 1) i ON true
                    WHERE i.seq IS NULL AND k.idx <> ALL (coalesce(t_idx, '{}'))) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP008', MESSAGE = 'a code is not where it was';
    END IF;
    IF t_idx IS NULL THEN
        RETURN;
    END IF;

    DELETE FROM runs WHERE ctid = ANY (t_tid);
    -- What lies before each code, and behind the last of a run.
    INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
    SELECT p_pool, f.lot, e.lo, e.lo, e.hi, NULL, p.grant_no, f.issue_start, f.issue_end, f.available_till
      FROM (SELECT t.*, lag(t.seq, 1, t.next - 1) OVER w AS before, lead(t.seq) OVER w AS behind
              FROM unnest(t_lot, t_seq, t_lo, t_next, t_hi, t_start, t_end, t_till) AS t(lot, seq, lo, next, hi, issue_start, issue_end, available_till)
            WINDOW w AS (PARTITION BY t.lot, t.lo ORDER BY t.seq)) f
     CROSS JOIN LATERAL (VALUES (f.before + 1, f.seq), (f.seq + 1, CASE WHEN f.behind IS NULL THEN f.hi ELSE f.seq END)) AS e(lo, hi)
     WHERE e.lo < e.hi;
    UPDATE lots l SET done = l.done + k.done, moved = l.moved + k.taken
      FROM (SELECT f.tid, g.done, g.taken
              FROM (SELECT r.lot, sum(r.next - r.lo) AS done, sum(r.taken) AS taken
                      FROM (SELECT t.lot, t.lo, t.next, count(*) AS taken FROM unnest(t_lot, t_lo, t_next) AS t(lot, lo, next) GROUP BY 1, 2, 3) r
                     GROUP BY r.lot) g
             CROSS JOIN LATERAL (SELECT f.ctid AS tid FROM lots f WHERE f.pool = p_pool AND f.lot = g.lot OFFSET 0) f OFFSET 0) k
     WHERE l.ctid = k.tid;
    INSERT INTO lot_changes (pool, lot, revision, added, taken)
    SELECT p_pool, t.lot, p.revision, 0, count(*) FROM unnest(t_lot) AS t(lot) GROUP BY t.lot;
    RETURN QUERY SELECT unnest(t_idx);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Takes the next codes to be moved off an import's list, with where they are now.
-- The last first: partitions take codes from the other end, and so the two meet
-- once only.
CREATE FUNCTION next_moves(p_task bigint, p_pool int, p_limit int)
RETURNS TABLE (code text, lot int, seq bigint, issue_start timestamptz, issue_end timestamptz,
               available_from timestamptz, available_till timestamptz, line bigint, "row" text) LANGUAGE plpgsql ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH n AS (
        DELETE FROM import_moves
         WHERE ctid = ANY (ARRAY(SELECT o.ctid FROM import_moves o WHERE o.task = p_task ORDER BY o.lot DESC, o.seq DESC LIMIT p_limit))
        RETURNING *)
    SELECT n.code, c.lot, c.seq, n.issue_start, n.issue_end, n.available_from, n.available_till, n.line, n.row
      FROM n
     CROSS JOIN LATERAL (SELECT c.lot, c.seq FROM codes c
                          WHERE c.pool = p_pool AND c.code >= n.code AND c.code <= n.code ORDER BY c.code LIMIT 1) c;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Gives codes that were taken out their new places.
CREATE FUNCTION move_codes(p_pool int, p_lots int[], p_seqs bigint[], p_into int[], p_at bigint[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off
AS $$
DECLARE
    n bigint;
BEGIN
    UPDATE codes c SET lot = k.into_lot, seq = k.at
      FROM (SELECT f.tid, u.into_lot, u.at
              FROM unnest(p_lots, p_seqs, p_into, p_at) AS u(lot, seq, into_lot, at)
             CROSS JOIN LATERAL (SELECT f.ctid AS tid FROM codes f
                                  WHERE f.pool = p_pool AND f.lot = u.lot AND f.seq >= u.seq AND f.seq <= u.seq ORDER BY f.seq LIMIT 1) f OFFSET 0) k
     WHERE c.ctid = k.tid;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n <> cardinality(p_lots) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP007', MESSAGE = 'a code that is to be moved has no text';
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Those of the lots that from a number on lie in more than p_pieces free pieces of
-- less than p_mean codes each.
CREATE FUNCTION small_pieces(p_pool int, p_lots int[], p_from bigint[], p_pieces bigint, p_mean bigint) RETURNS SETOF int LANGUAGE sql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
    SELECT k.lot
      FROM unnest(p_lots, p_from) AS k(lot, from_seq)
     CROSS JOIN LATERAL (SELECT count(*) AS pieces, sum(r.hi - r.next) AS codes FROM runs r
                          WHERE r.pool = p_pool AND r.lot = k.lot AND r.lo >= k.from_seq AND r.partition IS NULL AND r.next < r.hi) p
     WHERE p.pieces > p_pieces AND p.codes < p_mean * p.pieces;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Lays up to p_limit free codes of a lot, numbered p_from or more, that lie in many
-- pieces down again, in one piece of another lot with the same window; p_size is
-- that one's size, 0: it is made. Returns how many.
CREATE FUNCTION lay_anew(p_pool int, p_lot int, p_from bigint, p_into int, p_size bigint, p_limit int) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    l lots%ROWTYPE;
    seqs bigint[];
    n int;
BEGIN
    PERFORM 1 FROM pools WHERE pool = p_pool FOR UPDATE;
    SELECT array_agg(f.seq) INTO seqs
      FROM (SELECT s.seq FROM (SELECT r.next AS lo, r.hi FROM runs r
                                WHERE r.pool = p_pool AND r.lot = p_lot AND r.lo >= p_from AND r.partition IS NULL AND r.next < r.hi
                                ORDER BY r.lo LIMIT p_limit) r
             CROSS JOIN LATERAL generate_series(r.lo, least(r.hi, r.lo + p_limit) - 1) AS s(seq)
             LIMIT p_limit) f;
    n := cardinality(seqs);
    IF n IS NULL THEN
        RETURN 0;
    END IF;
    SELECT * INTO l FROM lots WHERE pool = p_pool AND lot = p_lot;
    IF (SELECT count(*) FROM take_out(p_pool, array_fill(p_lot, ARRAY[n]), seqs)) <> n THEN
        RAISE EXCEPTION USING ERRCODE = 'PP007', MESSAGE = 'free codes are not free';
    END IF;
    PERFORM move_codes(p_pool, array_fill(p_lot, ARRAY[n]), seqs, array_fill(p_into, ARRAY[n]),
                       ARRAY(SELECT generate_series(p_size, p_size + n - 1)));
    PERFORM add_codes(p_pool, l.import, clock_timestamp(), ARRAY[p_into], ARRAY[p_size], ARRAY[n::bigint],
                      ARRAY[l.issue_start], ARRAY[l.issue_end], ARRAY[l.available_from], ARRAY[l.available_till]);
    RETURN n;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Numbers the codes of a draft's lots without gaps again, in new lots, when it
-- becomes one of many uses, whose ordinals know none: whoever changes that.
CREATE FUNCTION close_gaps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    p_pool int := NEW.pool;
    l lots%ROWTYPE;
    fresh int;
BEGIN
    FOR l IN SELECT * FROM lots WHERE pool = p_pool AND moved > 0 ORDER BY lot LOOP
        fresh := nextval('lot_numbers');
        UPDATE codes c SET lot = fresh, seq = k.at
          FROM (SELECT seq, row_number() OVER (ORDER BY seq) - 1 AS at FROM codes WHERE pool = p_pool AND lot = l.lot) k
         WHERE c.pool = p_pool AND c.lot = l.lot AND c.seq = k.seq;
        DELETE FROM runs WHERE pool = p_pool AND lot = l.lot;
        DELETE FROM lots WHERE pool = p_pool AND lot = l.lot;
        DELETE FROM lot_changes WHERE pool = p_pool AND lot = l.lot;
        IF l.size > l.moved THEN
            PERFORM add_codes(p_pool, l.import, clock_timestamp(), ARRAY[fresh], ARRAY[0::bigint], ARRAY[l.size - l.moved],
                              ARRAY[l.issue_start], ARRAY[l.issue_end], ARRAY[l.available_from], ARRAY[l.available_till]);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER pools_gaps_closed AFTER UPDATE OF multi_use ON pools
    FOR EACH ROW WHEN (NEW.multi_use AND NOT OLD.multi_use) EXECUTE FUNCTION close_gaps();

-- +goose StatementBegin
-- Makes a chunk of an import true, its codes and refusals being in already: the
-- lots (l_) become stock or grow, the task moves. It ends with its file (p_last)
-- when no codes are left to be moved. Runs last in the chunk's transaction, so that
-- the pool is locked for this and the commit only, unless codes were taken out
-- before. Locks the pool, then the task.
CREATE FUNCTION import_chunk(
    p_task bigint, p_pool int, p_at timestamptz, l_lot int[], l_size bigint[], l_more bigint[],
    l_issue_start timestamptz[], l_issue_end timestamptz[], l_available_from timestamptz[], l_available_till timestamptz[],
    p_bytes_done bigint, p_lines_done bigint, p_layout jsonb,
    p_rows bigint, p_added bigint, p_moved bigint, p_unchanged bigint, p_refused bigint, p_last boolean
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ends boolean := p_last AND NOT EXISTS (SELECT FROM import_moves m WHERE m.task = p_task);
    s text;
BEGIN
    IF cardinality(l_lot) > 0 THEN
        PERFORM add_codes(p_pool, p_task, p_at, l_lot, l_size, l_more, l_issue_start, l_issue_end, l_available_from, l_available_till);
    END IF;
    UPDATE imports SET
           bytes_done = p_bytes_done, lines_done = p_lines_done, layout = p_layout, attempts = 0,
           rows = rows + p_rows, added = added + p_added, moved = moved + p_moved,
           unchanged = unchanged + p_unchanged, refused = refused + p_refused,
           status = CASE WHEN NOT ends THEN status WHEN refused + p_refused > 0 THEN 'completed_with_refusals' ELSE 'completed' END,
           finished_at = CASE WHEN ends THEN p_at END
     WHERE task = p_task AND status = 'running' AND bytes_done <= p_bytes_done
    RETURNING status INTO s;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PP005', MESSAGE = 'the import has been ended';
    END IF;
    RETURN s;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As the version before calls it.
CREATE OR REPLACE FUNCTION import_step(
    p_task bigint, p_pool int, p_at timestamptz,
    l_lot int[], l_size bigint[], l_issue_start timestamptz[], l_issue_end timestamptz[], l_available_from timestamptz[], l_available_till timestamptz[],
    p_bytes_done bigint, p_lines_done bigint, p_layout jsonb, p_rows bigint, p_added bigint, p_refused bigint, p_last boolean
) RETURNS text LANGUAGE sql AS $$
    SELECT import_chunk(p_task, p_pool, p_at, l_lot, array_fill(0::bigint, ARRAY[cardinality(l_lot)]), l_size,
                        l_issue_start, l_issue_end, l_available_from, l_available_till,
                        p_bytes_done, p_lines_done, p_layout, p_rows, p_added, 0, 0, p_refused, p_last);
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Those of the codes that the pool has, with what a second row with one may do.
-- One probe of an index per code and question, whatever the statistics say: as in
-- look_up each asks for an order that only the right one has.
CREATE FUNCTION codes_found(p_pool int, p_task bigint, p_codes text[])
RETURNS TABLE (code text, lot int, seq bigint, named boolean, issued boolean,
               issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz)
LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.code, c.lot, c.seq,
           coalesce(l.import = p_task, false) OR s.code IS NOT NULL OR m.code IS NOT NULL, i.seq IS NOT NULL,
           l.issue_start, l.issue_end, l.available_from, l.available_till
      FROM (SELECT u.code FROM unnest(p_codes) AS u(code) ORDER BY 1) k
     CROSS JOIN LATERAL (SELECT c.lot, c.seq FROM codes c
                          WHERE c.pool = p_pool AND c.code >= k.code COLLATE "C" AND c.code <= k.code COLLATE "C" ORDER BY c.code LIMIT 1) c
     CROSS JOIN LATERAL (SELECT l.* FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot OFFSET 0) l
      LEFT JOIN LATERAL (SELECT s.code FROM import_seen s
                          WHERE s.task = p_task AND s.code >= k.code COLLATE "C" AND s.code <= k.code COLLATE "C" ORDER BY s.code LIMIT 1) s ON true
      LEFT JOIN LATERAL (SELECT m.code FROM import_moves m
                          WHERE m.task = p_task AND m.code >= k.code COLLATE "C" AND m.code <= k.code COLLATE "C" ORDER BY m.code LIMIT 1) m ON true
      LEFT JOIN LATERAL (SELECT i.seq FROM issuances i WHERE i.pool = p_pool AND i.lot = c.lot AND i.seq >= c.seq AND i.seq <= c.seq
                          ORDER BY i.seq LIMIT 1) i ON true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The texts of stretches of a pool's lots, each in order. One whose run is no longer
-- as it was granted (p_grant_nos not 0) is left out: codes of it may have moved.
CREATE FUNCTION texts(p_pool int, p_lots int[], p_from bigint[], p_till bigint[], p_los bigint[], p_grant_nos bigint[])
RETURNS TABLE (idx int, codes text[]) LANGUAGE sql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off
AS $$
    SELECT s.idx::int, t.codes
      FROM unnest(p_lots, p_from, p_till, p_los, p_grant_nos) WITH ORDINALITY AS s(lot, from_seq, till_seq, lo, grant_no, idx)
     CROSS JOIN LATERAL (SELECT coalesce(array_agg(o.code), '{}') AS codes
                           FROM (SELECT c.code FROM codes c
                                  WHERE c.pool = p_pool AND c.lot = s.lot AND c.seq >= s.from_seq AND c.seq < s.till_seq ORDER BY c.seq OFFSET 0) o) t
     WHERE s.grant_no = 0
        OR (SELECT r.grant_no FROM runs r WHERE r.pool = p_pool AND r.lot = s.lot AND r.lo = s.lo) = s.grant_no;
$$;
-- +goose StatementEnd
