-- Codes that leave the stock one by one: issued by hand, blocked, redeemed unissued.
-- +goose Up

-- Codes of single-use pools that have left the stock unissued. They stay at their
-- places, and are in no run.
CREATE TABLE withdrawn (
    pool int NOT NULL,
    lot  int NOT NULL,
    seq  bigint NOT NULL,
    why  text NOT NULL CONSTRAINT withdrawn_why_known CHECK (why IN ('blocked', 'redeemed')),
    at   timestamptz NOT NULL,
    CONSTRAINT withdrawn_pkey PRIMARY KEY (pool, lot, seq)
);

-- Codes that are blocked now, issued or not. In a multi-use pool seq is the code's
-- number, 0…size−1: its ordinals are passed over.
CREATE TABLE blocks (
    pool  int NOT NULL,
    lot   int NOT NULL,
    seq   bigint NOT NULL,
    at    timestamptz NOT NULL,
    actor text NOT NULL CONSTRAINT blocks_actor_bounded CHECK (octet_length(actor) BETWEEN 1 AND 200),
    note  text NOT NULL CONSTRAINT blocks_note_bounded CHECK (octet_length(note) <= 1000),
    CONSTRAINT blocks_pkey PRIMARY KEY (pool, lot, seq)
);

-- Codes of multi-use pools that are or were blocked. Ordinals that are passed over
-- count as used up: so many of the code's were in earlier blocks, and so many
-- were used up when the present one began (null: it is not blocked).
CREATE TABLE passes (
    pool   int NOT NULL,
    lot    int NOT NULL,
    seq    bigint NOT NULL,
    passed bigint NOT NULL CONSTRAINT passes_counted CHECK (passed >= 0),
    since  bigint,
    CONSTRAINT passes_pkey PRIMARY KEY (pool, lot, seq)
);

-- What was done to single codes, when and by whom. Never changed, but for the place
-- of a code that moves.
CREATE TABLE code_history (
    entry      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool       int NOT NULL,
    lot        int NOT NULL,
    seq        bigint NOT NULL,                -- in a multi-use pool the code's number
    at         timestamptz NOT NULL,
    actor      text NOT NULL CONSTRAINT code_history_actor_bounded CHECK (octet_length(actor) BETWEEN 1 AND 200),
    action     text NOT NULL,                  -- domain.CodeAction
    note       text NOT NULL DEFAULT '' CONSTRAINT code_history_note_bounded CHECK (octet_length(note) <= 1000),
    request_id text COLLATE "C"                -- issued: of the issuance
);
CREATE INDEX code_history_place_idx ON code_history (pool, lot, seq, entry);

-- size − moved = done + Σ(next − lo) + Σ(hi − next) + withdrawn. blocked counts
-- codes of a multi-use lot, whose ordinals are without end.
ALTER TABLE lots
    ADD COLUMN withdrawn bigint NOT NULL DEFAULT 0,
    ADD COLUMN blocked   bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT lots_withdrawn_some CHECK (withdrawn >= 0 AND withdrawn <= size - moved),
    ADD CONSTRAINT lots_blocked_some CHECK (blocked BETWEEN 0 AND size);

-- From the pool's revision on so many codes of the lot more were withdrawn or
-- blocked; negative: fewer.
ALTER TABLE lot_changes ADD COLUMN withdrawn bigint NOT NULL DEFAULT 0;

-- +goose StatementBegin
-- Locks codes until the end of the transaction, for what is read of them and
-- written one by one. Behind the pools and runs in the order of locks.
CREATE FUNCTION lock_codes(p_pools int[], p_lots int[], p_seqs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(format('code:%s:%s:%s', c.pool, c.lot, c.seq), 0))
       FROM (SELECT DISTINCT u.pool, u.lot, u.seq FROM unnest(p_pools, p_lots, p_seqs) AS u(pool, lot, seq) ORDER BY 1, 2, 3) c;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Takes one number out of the run that has it still to issue, wherever that is,
-- and returns whether there was one; the caller says what has become of it. What
-- is left of the run stays whose it is, under a new stamp: the owner's next
-- compare-and-set fails, and it reads again what it holds, without having to take
-- codes ahead anew. The caller holds the pool's lock. The wait for the run is one
-- for a batch in flight, over in moments unless its process is frozen: then all
-- who need the pool would wait with us.
CREATE FUNCTION cut_out(p_pool int, p_lot int, p_seq bigint) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = '500ms'
AS $$
DECLARE
    r runs%ROWTYPE;
    stamp bigint;
BEGIN
    -- The run of a number is the last that begins at or before it. Runs come and go
    -- under the pool's lock only; how far this one is issued is read in a later
    -- statement than its lock.
    PERFORM 1 FROM runs t
      WHERE t.pool = p_pool AND t.lot = p_lot
        AND t.lo = (SELECT o.lo FROM runs o WHERE o.pool = p_pool AND o.lot = p_lot AND o.lo <= p_seq ORDER BY o.lo DESC LIMIT 1)
        FOR UPDATE;
    SELECT * INTO r FROM runs o WHERE o.pool = p_pool AND o.lot = p_lot AND o.lo <= p_seq ORDER BY o.lo DESC LIMIT 1;
    IF NOT FOUND OR p_seq < r.next OR p_seq >= r.hi THEN
        RETURN false;
    END IF;
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING grant_no INTO stamp;
    DELETE FROM runs WHERE pool = p_pool AND lot = p_lot AND lo = r.lo;
    INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
    SELECT p_pool, p_lot, e.lo, e.lo, e.hi, r.partition, stamp, r.issue_start, r.issue_end, r.available_till
      FROM (VALUES (r.next, p_seq), (p_seq + 1, r.hi)) AS e(lo, hi)
     WHERE e.lo < e.hi;
    UPDATE lots SET done = done + (r.next - r.lo) WHERE pool = p_pool AND lot = p_lot;
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Takes an unissued code of a single-use pool out of the stock, a partition's buffer
-- included; false: it is issued, or out already. The caller holds the pool's lock.
CREATE FUNCTION withdraw(p_pool int, p_lot int, p_seq bigint, p_why text, p_at timestamptz) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    IF (SELECT p.multi_use FROM pools p WHERE p.pool = p_pool) THEN
        RAISE EXCEPTION 'codes of multi-use pool % cannot be withdrawn', p_pool;
    END IF;
    IF NOT cut_out(p_pool, p_lot, p_seq) THEN
        RETURN false;
    END IF;
    UPDATE lots SET withdrawn = withdrawn + 1 WHERE pool = p_pool AND lot = p_lot;
    INSERT INTO withdrawn (pool, lot, seq, why, at) VALUES (p_pool, p_lot, p_seq, p_why, p_at);
    INSERT INTO lot_changes (pool, lot, revision, added, taken, withdrawn)
    SELECT p_pool, p_lot, p.revision, 0, 0, 1 FROM pools p WHERE p.pool = p_pool;
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Puts a code that was withdrawn as blocked back at its place; false: none was. One
-- that was redeemed stays out: somebody has it. The caller holds the pool's lock.
CREATE FUNCTION put_back(p_pool int, p_lot int, p_seq bigint) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    l lots%ROWTYPE;
    before runs%ROWTYPE;
    behind runs%ROWTYPE;
    p pools%ROWTYPE;
    till bigint := p_seq + 1;
BEGIN
    DELETE FROM withdrawn WHERE pool = p_pool AND lot = p_lot AND seq = p_seq AND why = 'blocked';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING * INTO p;
    UPDATE lots SET withdrawn = withdrawn - 1 WHERE pool = p_pool AND lot = p_lot RETURNING * INTO l;
    INSERT INTO lot_changes (pool, lot, revision, added, taken, withdrawn) VALUES (p_pool, p_lot, p.revision, 0, 0, -1);
    -- Free neighbours make one run with it: a code blocked and unblocked leaves no pieces.
    SELECT * INTO behind FROM runs r WHERE r.pool = p_pool AND r.lot = p_lot AND r.lo = p_seq + 1;
    IF FOUND AND behind.partition IS NULL AND behind.next = behind.lo THEN
        DELETE FROM runs WHERE pool = p_pool AND lot = p_lot AND lo = p_seq + 1;
        till := behind.hi;
    END IF;
    SELECT * INTO before FROM runs r WHERE r.pool = p_pool AND r.lot = p_lot AND r.lo < p_seq ORDER BY r.lo DESC LIMIT 1;
    IF FOUND AND before.partition IS NULL AND before.hi = p_seq THEN
        UPDATE runs SET hi = till, grant_no = p.grant_no WHERE pool = p_pool AND lot = p_lot AND lo = before.lo;
    ELSE
        INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
        VALUES (p_pool, p_lot, p_seq, p_seq, till, NULL, p.grant_no,
                coalesce(l.issue_start, '-infinity'), coalesce(l.issue_end, 'infinity'), coalesce(l.available_till, 'infinity'));
    END IF;
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- How many ordinals of a code of a multi-use lot no run has left.
CREATE FUNCTION used_up(p_pool int, p_lot int, p_seq bigint) RETURNS bigint LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
    SELECT ((max(r.hi) + l.size - 1 - p_seq) / l.size
            - sum((r.hi + l.size - 1 - p_seq) / l.size - (r.next + l.size - 1 - p_seq) / l.size))::bigint
      FROM lots l JOIN runs r ON r.pool = l.pool AND r.lot = l.lot
     WHERE l.pool = p_pool AND l.lot = p_lot
     GROUP BY l.size;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- How many used up ordinals of a multi-use lot were passed over, not issued. Of all
-- blocked codes at once: so many are below an ordinal x as there are whole rounds
-- below it for each, and one more for those whose number is below its place in
-- the round.
CREATE FUNCTION passed_over(p_pool int, p_lot int) RETURNS bigint LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    l lots%ROWTYPE;
    passed bigint;
    since numeric;
    used numeric;
BEGIN
    SELECT coalesce(sum(s.passed), 0), coalesce(sum(s.since), 0) INTO passed, since FROM passes s WHERE s.pool = p_pool AND s.lot = p_lot;
    SELECT * INTO l FROM lots WHERE pool = p_pool AND lot = p_lot;
    IF l.blocked = 0 THEN
        RETURN passed;
    END IF;
    SELECT sum(x.sign * (l.blocked * (x.at / l.size)
                         + (SELECT count(*) FROM blocks b WHERE b.pool = p_pool AND b.lot = p_lot AND b.seq < x.at % l.size)))
      INTO used
      FROM (SELECT max(r.hi) AS at, 1 AS sign FROM runs r WHERE r.pool = p_pool AND r.lot = p_lot
             UNION ALL SELECT r.hi, -1 FROM runs r WHERE r.pool = p_pool AND r.lot = p_lot
             UNION ALL SELECT r.next, 1 FROM runs r WHERE r.pool = p_pool AND r.lot = p_lot) x;
    RETURN passed + used - since;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- How many of the ordinals p_next…p_hi−1 of a lot are not of blocked codes.
CREATE FUNCTION usable(p_pool int, p_lot int, p_next bigint, p_hi bigint) RETURNS bigint LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    l lots%ROWTYPE;
BEGIN
    SELECT * INTO l FROM lots WHERE pool = p_pool AND lot = p_lot;
    IF l.blocked = 0 THEN
        RETURN p_hi - p_next;
    END IF;
    RETURN p_hi - p_next - l.blocked * (p_hi / l.size - p_next / l.size)
           - (SELECT count(*) FROM blocks b WHERE b.pool = p_pool AND b.lot = p_lot AND b.seq < p_hi % l.size)
           + (SELECT count(*) FROM blocks b WHERE b.pool = p_pool AND b.lot = p_lot AND b.seq < p_next % l.size);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Gives held runs of a lot a new stamp, in order, which waits for the batches in
-- flight: their owners read the lot again before they issue more of it. The caller
-- holds the pool's lock.
CREATE FUNCTION restamp(p_pool int, p_lot int) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = '500ms'
AS $$
DECLARE
    stamp bigint;
BEGIN
    PERFORM 1 FROM runs WHERE pool = p_pool AND lot = p_lot AND partition IS NOT NULL ORDER BY lo FOR UPDATE;
    UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING grant_no INTO stamp;
    UPDATE runs SET grant_no = stamp WHERE pool = p_pool AND lot = p_lot AND partition IS NOT NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Blocks a code: from the commit on it is neither issued nor redeemed; false: it
-- was blocked. An unissued one of a single-use pool leaves the stock; one of a
-- multi-use pool is passed over by all who read its lot from now on. The caller
-- holds the pool's lock.
CREATE FUNCTION block_code(p_pool int, p_lot int, p_seq bigint, p_actor text, p_note text) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    multi boolean;
    blocked_at timestamptz;
BEGIN
    SELECT p.multi_use INTO multi FROM pools p WHERE p.pool = p_pool;
    IF EXISTS (SELECT FROM blocks b WHERE b.pool = p_pool AND b.lot = p_lot AND b.seq = p_seq) THEN
        RETURN false;
    END IF;
    IF multi THEN
        PERFORM restamp(p_pool, p_lot);
        INSERT INTO passes (pool, lot, seq, passed, since) VALUES (p_pool, p_lot, p_seq, 0, used_up(p_pool, p_lot, p_seq))
        ON CONFLICT ON CONSTRAINT passes_pkey DO UPDATE SET since = excluded.since;
        UPDATE lots SET blocked = blocked + 1 WHERE pool = p_pool AND lot = p_lot;
        INSERT INTO lot_changes (pool, lot, revision, added, taken, withdrawn)
        SELECT p_pool, p_lot, p.revision, 0, 0, 1 FROM pools p WHERE p.pool = p_pool;
    ELSE
        PERFORM withdraw(p_pool, p_lot, p_seq, 'blocked', clock_timestamp());
    END IF;
    PERFORM lock_codes(ARRAY[p_pool], ARRAY[p_lot], ARRAY[p_seq]);
    blocked_at := clock_timestamp(); -- behind the waits for whoever has issued or redeemed it
    INSERT INTO blocks (pool, lot, seq, at, actor, note) VALUES (p_pool, p_lot, p_seq, blocked_at, p_actor, p_note);
    INSERT INTO code_history (pool, lot, seq, at, actor, action, note) VALUES (p_pool, p_lot, p_seq, blocked_at, p_actor, 'blocked', p_note);
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Ends the block of a code; false: it was not blocked. What it was withdrawn from
-- has it again. The caller holds the pool's lock.
CREATE FUNCTION unblock_code(p_pool int, p_lot int, p_seq bigint, p_actor text, p_note text) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    multi boolean;
    unblocked_at timestamptz;
BEGIN
    SELECT p.multi_use INTO multi FROM pools p WHERE p.pool = p_pool;
    IF NOT EXISTS (SELECT FROM blocks b WHERE b.pool = p_pool AND b.lot = p_lot AND b.seq = p_seq) THEN
        RETURN false;
    END IF;
    IF multi THEN
        PERFORM restamp(p_pool, p_lot);
        UPDATE passes SET passed = passed + used_up(p_pool, p_lot, p_seq) - since, since = NULL WHERE pool = p_pool AND lot = p_lot AND seq = p_seq;
        UPDATE lots SET blocked = blocked - 1 WHERE pool = p_pool AND lot = p_lot;
        INSERT INTO lot_changes (pool, lot, revision, added, taken, withdrawn)
        SELECT p_pool, p_lot, p.revision, 0, 0, -1 FROM pools p WHERE p.pool = p_pool;
    ELSE
        PERFORM put_back(p_pool, p_lot, p_seq);
    END IF;
    PERFORM lock_codes(ARRAY[p_pool], ARRAY[p_lot], ARRAY[p_seq]);
    unblocked_at := clock_timestamp();
    DELETE FROM blocks WHERE pool = p_pool AND lot = p_lot AND seq = p_seq;
    INSERT INTO code_history (pool, lot, seq, at, actor, action, note) VALUES (p_pool, p_lot, p_seq, unblocked_at, p_actor, 'unblocked', p_note);
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Issues one very code: takes it, or of a multi-use pool an ordinal of it, out of
-- wherever it is, and returns the number that the issuance has, null where someone
-- has it, and the time after the waits. The caller holds the pool's lock, has seen
-- that nothing stands against the code, and stores the issuance.
CREATE FUNCTION take_code(p_pool int, p_lot int, p_seq bigint, OUT n bigint, OUT taken_at timestamptz) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    PERFORM enter('{}', '{}'); -- the gate is closed for everybody
    n := p_seq;
    IF (SELECT p.multi_use FROM pools p WHERE p.pool = p_pool) THEN
        -- What is free has no end: buffers stay as they are.
        SELECT min(o.first) INTO n
          FROM lots l
          JOIN runs r ON r.pool = l.pool AND r.lot = l.lot AND r.partition IS NULL
         CROSS JOIN LATERAL (SELECT r.next + ((p_seq - r.next) % l.size + l.size) % l.size AS first) o
         WHERE l.pool = p_pool AND l.lot = p_lot AND o.first < r.hi;
    END IF;
    IF cut_out(p_pool, p_lot, n) THEN
        UPDATE lots SET done = done + 1 WHERE pool = p_pool AND lot = p_lot;
    ELSE
        n := NULL;
    END IF;
    taken_at := clock_timestamp();
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before; but what is to be joined is found once, and by its ctid: under the
-- pool's lock nobody else moves free runs. A join with the table went over all
-- pieces for each of them where the planner believed that there were next to none,
-- and a lot in 20,000 pieces kept its pool locked for a minute.
CREATE OR REPLACE FUNCTION tidy(p_pool int, p_lots int[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    gone tid[];
    heads tid[];
    his bigint[];
BEGIN
    WITH finished AS (
        DELETE FROM runs d
         WHERE d.ctid = ANY (ARRAY(SELECT r.ctid FROM runs r
                                    WHERE r.pool = p_pool AND r.lot = ANY (p_lots) AND r.partition IS NULL AND r.next = r.hi
                                      FOR UPDATE SKIP LOCKED))
        RETURNING d.lot, d.hi - d.lo AS n)
    UPDATE lots l SET done = l.done + f.n
      FROM (SELECT lot, sum(n) AS n FROM finished GROUP BY lot) f
     WHERE l.pool = p_pool AND l.lot = f.lot;

    WITH free AS (
        SELECT r.tid, r.lot, r.lo, r.hi,
               sum(CASE WHEN r.lo = r.before AND r.next = r.lo THEN 0 ELSE 1 END) OVER (PARTITION BY r.lot ORDER BY r.lo) AS chain
          FROM (SELECT ctid AS tid, lot, lo, next, hi, lag(hi) OVER (PARTITION BY lot ORDER BY lo) AS before
                  FROM runs WHERE pool = p_pool AND lot = ANY (p_lots) AND partition IS NULL) r
    ), chains AS (
        SELECT f.tid, f.lo, min(f.lo) OVER c AS head, max(f.hi) OVER c AS hi, count(*) OVER c AS pieces
          FROM free f WINDOW c AS (PARTITION BY f.lot, f.chain)
    )
    SELECT array_agg(c.tid) FILTER (WHERE c.lo <> c.head), array_agg(c.tid) FILTER (WHERE c.lo = c.head), array_agg(c.hi) FILTER (WHERE c.lo = c.head)
      INTO gone, heads, his FROM chains c WHERE c.pieces > 1;
    IF gone IS NOT NULL THEN
        DELETE FROM runs WHERE ctid = ANY (gone);
        UPDATE runs r SET hi = k.hi FROM unnest(heads, his) AS k(tid, hi) WHERE r.ctid = k.tid;
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before; and a multi-use pool that its pieces made scarce is ample again when
-- they are used up.
CREATE OR REPLACE FUNCTION hand_back(p_pool int, p_holders int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    stamp bigint;
    touched int[];
BEGIN
    PERFORM 1 FROM runs
      WHERE pool = p_pool AND partition IS NOT NULL AND (p_holders IS NULL OR partition = ANY (p_holders))
      ORDER BY lot, lo FOR UPDATE;
    IF FOUND THEN
        UPDATE pools SET grant_no = grant_no + 1 WHERE pool = p_pool RETURNING grant_no INTO stamp;
        WITH back AS (
            UPDATE runs SET partition = NULL, grant_no = stamp
             WHERE pool = p_pool AND partition IS NOT NULL AND (p_holders IS NULL OR partition = ANY (p_holders))
            RETURNING lot)
        SELECT array_agg(DISTINCT lot) INTO touched FROM back;
        PERFORM tidy(p_pool, touched);
    END IF;
    UPDATE pools SET mode = 'scarce'
     WHERE pool = p_pool AND mode = 'ample' AND NOT multi_use AND p_holders IS NULL
       AND free_stock_up_to(p_pool, scarce_mark()) < scarce_mark();
    UPDATE pools SET mode = 'ample'
     WHERE pool = p_pool AND mode = 'scarce'
       AND NOT scattered(p_pool) AND (multi_use OR free_stock_up_to(p_pool, 2 * scarce_mark() + 1) > 2 * scarce_mark());
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before; and from a multi-use lot with blocked codes only runs of which some
-- can be issued, and more of them, so that as many can be as are wanted, at most
-- four times as many. The pieces are written by their ctids, for the reason that
-- tidy has.
CREATE OR REPLACE FUNCTION refill(p_partition int, p_pool int, p_want bigint)
RETURNS TABLE (lot int, lo bigint, next bigint, hi bigint, grant_no bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off
AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    p pools%ROWTYPE;
    r record;
    last record;       -- the only piece that may be cut
    share bigint;
    n bigint;
    have bigint := 0; -- codes of the pieces
    f_tid tid[] := '{}';
    f_lot int[] := '{}';
    f_lo bigint[] := '{}';
    f_next bigint[] := '{}';
    f_hi bigint[] := '{}';
    stamp bigint;
BEGIN
    SELECT * INTO p FROM pools WHERE pool = p_pool FOR UPDATE;
    IF NOT FOUND OR p.state <> 'active' OR p.mode <> 'ample' THEN
        RETURN;
    END IF;
    PERFORM fold(p_pool, p_partition);
    IF scattered(p_pool) THEN
        PERFORM hand_back(p_pool, NULL);
        UPDATE pools SET mode = 'scarce' WHERE pool = p_pool;
        RETURN;
    END IF;
    IF NOT p.multi_use THEN
        share := 2 * (SELECT s.partitions FROM service s);
        p_want := least(p_want, trunc(free_stock_up_to(p_pool, share * p_want) / share));
    END IF;
    IF p_want <= 0 THEN
        RETURN;
    END IF;
    at := clock_timestamp();
    FOR r IN
        SELECT f.ctid AS tid, f.lot, f.lo, f.next, f.hi, f.issue_start, f.issue_end, f.available_till
          FROM runs f
         WHERE f.pool = p_pool AND f.partition IS NULL AND f.next < f.hi
           AND f.issue_start <= at AND f.issue_end > at AND f.available_till > at
           AND (NOT p.multi_use OR usable(f.pool, f.lot, f.next, f.hi) > 0)
         ORDER BY f.issue_end, f.available_till, f.lot, f.lo
         LIMIT 2000
    LOOP
        last := r;
        n := p_want - have;
        IF p.multi_use THEN
            n := (SELECT least(4 * n, n * l.size / (l.size - l.blocked)) FROM lots l WHERE l.pool = p_pool AND l.lot = r.lot);
        END IF;
        n := least(n, r.hi - r.next);
        f_tid := f_tid || r.tid;
        f_lot := f_lot || r.lot;
        f_lo := f_lo || r.lo;
        f_next := f_next || r.next;
        f_hi := f_hi || (r.next + n);
        have := have + n;
        EXIT WHEN have >= p_want;
    END LOOP;
    IF have = 0 THEN
        RETURN;
    END IF;
    UPDATE pools SET grant_no = pools.grant_no + 1 WHERE pool = p_pool RETURNING pools.grant_no INTO stamp;
    UPDATE runs SET partition = p_partition, hi = f.hi, grant_no = stamp
      FROM unnest(f_tid, f_hi) AS f(tid, hi)
     WHERE runs.ctid = f.tid;
    IF last.next + n < last.hi THEN
        INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no, issue_start, issue_end, available_till)
        VALUES (p_pool, last.lot, last.next + n, last.next + n, last.hi, NULL, stamp, last.issue_start, last.issue_end, last.available_till);
    END IF;
    RETURN QUERY SELECT f.lot, f.lo, f.next, f.hi, stamp FROM unnest(f_lot, f_lo, f_next, f_hi) AS f(lot, lo, next, hi);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As first_free, of a multi-use pool: runs of which at least one ordinal can be
-- issued.
CREATE FUNCTION first_usable(p_pool int, p_need int, p_now timestamptz)
RETURNS TABLE (idx bigint, pool int, lot int, lo bigint, next bigint, hi bigint, grant_no bigint) LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_incremental_sort = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT row_number() OVER (), f.pool, f.lot, f.lo, f.next, f.hi, f.grant_no
      FROM (SELECT * FROM runs r
             WHERE r.pool = p_pool AND r.partition IS NULL AND r.next < r.hi
               AND r.issue_start <= p_now AND r.issue_end > p_now AND r.available_till > p_now
               AND usable(r.pool, r.lot, r.next, r.hi) > 0
             ORDER BY r.issue_end, r.available_till, r.lot, r.lo
             LIMIT p_need) f;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before; and codes that were withdrawn are left where they are, as issued ones
-- are.
CREATE OR REPLACE FUNCTION take_out(p_pool int, p_lots int[], p_seqs bigint[]) RETURNS SETOF int LANGUAGE plpgsql ROWS 2000
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
                     LEFT JOIN LATERAL (SELECT w.seq FROM withdrawn w WHERE w.pool = p_pool AND w.lot = k.lot AND w.seq >= k.seq AND w.seq <= k.seq
                                         ORDER BY w.seq LIMIT 1) w ON true
                    WHERE i.seq IS NULL AND w.seq IS NULL AND k.idx <> ALL (coalesce(t_idx, '{}'))) THEN
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
-- Those of the places whose codes are withdrawn, with why. Asked under the pool's
-- lock of codes that take_out has left.
CREATE FUNCTION withdrawn_of(p_pool int, p_lots int[], p_seqs bigint[]) RETURNS TABLE (idx int, why text) LANGUAGE plpgsql STABLE ROWS 10
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.idx::int, w.why
      FROM unnest(p_lots, p_seqs) WITH ORDINALITY AS k(lot, seq, idx)
     CROSS JOIN LATERAL (SELECT w.why FROM withdrawn w WHERE w.pool = p_pool AND w.lot = k.lot AND w.seq >= k.seq AND w.seq <= k.seq
                          ORDER BY w.seq LIMIT 1) w;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before, and what was done to them by hand goes with them.
CREATE OR REPLACE FUNCTION move_codes(p_pool int, p_lots int[], p_seqs bigint[], p_into int[], p_at bigint[]) RETURNS void LANGUAGE plpgsql
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
    IF EXISTS (SELECT FROM code_history h WHERE h.pool = p_pool) THEN
        UPDATE code_history h SET lot = k.into_lot, seq = k.at
          FROM (SELECT f.tid, u.into_lot, u.at
                  FROM unnest(p_lots, p_seqs, p_into, p_at) AS u(lot, seq, into_lot, at)
                 CROSS JOIN LATERAL (SELECT f.ctid AS tid FROM code_history f
                                      WHERE f.pool = p_pool AND f.lot = u.lot AND f.seq >= u.seq AND f.seq <= u.seq OFFSET 0) f OFFSET 0) k
         WHERE h.ctid = k.tid;
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before, with why a code is not to be issued: blocked or redeemed; null: it
-- may be, or was. Programs that name the columns which they had before get those.
DROP FUNCTION codes_found(int, bigint, text[]);
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION codes_found(p_pool int, p_task bigint, p_codes text[])
RETURNS TABLE (code text, lot int, seq bigint, named boolean, issued boolean,
               issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz, withheld text)
LANGUAGE plpgsql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.code, c.lot, c.seq,
           coalesce(l.import = p_task, false) OR s.code IS NOT NULL OR m.code IS NOT NULL, i.seq IS NOT NULL,
           l.issue_start, l.issue_end, l.available_from, l.available_till, coalesce(w.why, b.why)
      FROM (SELECT u.code FROM unnest(p_codes) AS u(code) ORDER BY 1) k
     CROSS JOIN LATERAL (SELECT c.lot, c.seq FROM codes c
                          WHERE c.pool = p_pool AND c.code >= k.code COLLATE "C" AND c.code <= k.code COLLATE "C" ORDER BY c.code LIMIT 1) c
     CROSS JOIN LATERAL (SELECT l.* FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot OFFSET 0) l
      LEFT JOIN LATERAL (SELECT s.code FROM import_seen s
                          WHERE s.task = p_task AND s.code >= k.code COLLATE "C" AND s.code <= k.code COLLATE "C" ORDER BY s.code LIMIT 1) s ON true
      LEFT JOIN LATERAL (SELECT m.code FROM import_moves m
                          WHERE m.task = p_task AND m.code >= k.code COLLATE "C" AND m.code <= k.code COLLATE "C" ORDER BY m.code LIMIT 1) m ON true
      LEFT JOIN LATERAL (SELECT i.seq FROM issuances i WHERE i.pool = p_pool AND i.lot = c.lot AND i.seq >= c.seq AND i.seq <= c.seq
                          ORDER BY i.seq LIMIT 1) i ON true
      LEFT JOIN LATERAL (SELECT w.why FROM withdrawn w WHERE l.withdrawn > 0 AND w.pool = p_pool AND w.lot = c.lot AND w.seq >= c.seq AND w.seq <= c.seq
                          ORDER BY w.seq LIMIT 1) w ON true
      LEFT JOIN LATERAL (SELECT 'blocked' AS why FROM blocks b WHERE l.blocked > 0 AND b.pool = p_pool AND b.lot = c.lot AND b.seq >= c.seq AND b.seq <= c.seq
                          ORDER BY b.seq LIMIT 1) b ON true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As before, with what stands against a code: blocked or redeemed; null: nothing.
-- Ordinals that were passed over were not issued. Programs that name the columns
-- which they had before get those.
DROP FUNCTION codes_after(int, boolean, int, bigint, int);
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION codes_after(p_pool int, p_multi_use boolean, p_lot int, p_seq bigint, p_at_most int)
RETURNS TABLE (lot int, seq bigint, code text, issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz,
               times bigint, request_id text, customer_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz, withheld text)
LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF p_multi_use THEN
        RETURN QUERY
        SELECT c.lot, c.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
               (t.n - coalesce(s.passed + coalesce(t.n - s.since, 0), 0))::bigint,
               NULL::text, NULL::text, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, b.why
          FROM (SELECT c.lot, c.seq, c.code FROM codes c
                 WHERE c.pool = p_pool AND (c.lot, c.seq) > (p_lot, p_seq)
                 ORDER BY c.lot, c.seq LIMIT p_at_most) c
         CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot OFFSET 0) l
         CROSS JOIN LATERAL (
               SELECT (max(r.hi) + l.size - 1 - c.seq) / l.size
                      - sum((r.hi + l.size - 1 - c.seq) / l.size - (r.next + l.size - 1 - c.seq) / l.size) AS n
                 FROM runs r WHERE r.pool = p_pool AND r.lot = c.lot OFFSET 0) t
          LEFT JOIN LATERAL (SELECT * FROM passes s WHERE s.pool = p_pool AND s.lot = c.lot AND s.seq >= c.seq AND s.seq <= c.seq ORDER BY s.seq LIMIT 1) s ON true
          LEFT JOIN LATERAL (SELECT 'blocked' AS why FROM blocks b WHERE b.pool = p_pool AND b.lot = c.lot AND b.seq >= c.seq AND b.seq <= c.seq
                              ORDER BY b.seq LIMIT 1) b ON true;
    ELSE
        RETURN QUERY
        SELECT c.lot, c.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
               CASE WHEN i.issued_at IS NULL THEN 0 ELSE 1 END::bigint, i.request_id, i.customer_id, i.issued_at, i.valid_from, i.valid_until,
               coalesce(b.why, w.why)
          FROM (SELECT c.lot, c.seq, c.code FROM codes c
                 WHERE c.pool = p_pool AND (c.lot, c.seq) > (p_lot, p_seq)
                 ORDER BY c.lot, c.seq LIMIT p_at_most) c
         CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot OFFSET 0) l
          LEFT JOIN LATERAL (SELECT * FROM issuances i WHERE i.pool = p_pool AND i.lot = c.lot AND i.seq >= c.seq AND i.seq <= c.seq
                              ORDER BY i.seq LIMIT 1) i ON true
          LEFT JOIN LATERAL (SELECT 'blocked' AS why FROM blocks b WHERE b.pool = p_pool AND b.lot = c.lot AND b.seq >= c.seq AND b.seq <= c.seq
                              ORDER BY b.seq LIMIT 1) b ON true
          LEFT JOIN LATERAL (SELECT w.why FROM withdrawn w WHERE l.withdrawn > 0 AND w.pool = p_pool AND w.lot = c.lot AND w.seq >= c.seq AND w.seq <= c.seq
                              ORDER BY w.seq LIMIT 1) w ON true;
    END IF;
    -- No rows means the end, and must not when the pool was deleted meanwhile.
    IF NOT FOUND AND NOT EXISTS (SELECT FROM pools p WHERE p.pool = p_pool) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool is gone, and its codes with it';
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DROP FUNCTION issued_after(int, int, bigint, int);
-- +goose StatementEnd
-- +goose StatementBegin
-- Likewise.
CREATE FUNCTION issued_after(p_pool int, p_lot int, p_seq bigint, p_at_most int)
RETURNS TABLE (lot int, seq bigint, code text, issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz,
               times bigint, request_id text, customer_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz, withheld text)
LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT i.lot, i.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
           1::bigint, i.request_id, i.customer_id, i.issued_at, i.valid_from, i.valid_until, b.why
      FROM (SELECT * FROM issuances i
             WHERE i.pool = p_pool AND (i.lot, i.seq) > (p_lot, p_seq)
             ORDER BY i.lot, i.seq LIMIT p_at_most) i
     CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = i.lot OFFSET 0) l
      LEFT JOIN LATERAL (SELECT c.code FROM codes c WHERE c.pool = p_pool AND c.lot = i.lot AND c.seq >= i.seq AND c.seq <= i.seq
                          ORDER BY c.seq LIMIT 1) c ON true
      LEFT JOIN LATERAL (SELECT 'blocked' AS why FROM blocks b WHERE b.pool = p_pool AND b.lot = i.lot AND b.seq >= i.seq AND b.seq <= i.seq
                          ORDER BY b.seq LIMIT 1) b ON true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The codes of a pool that are blocked or withdrawn, behind a place, in the order of
-- their places; code is null where no text is stored.
CREATE FUNCTION withheld_after(p_pool int, p_multi_use boolean, p_lot int, p_seq bigint, p_at_most int)
RETURNS TABLE (lot int, seq bigint, code text, issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz,
               times bigint, request_id text, customer_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz, withheld text)
LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT k.lot, k.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
           CASE WHEN p_multi_use THEN u.n - coalesce(s.passed + coalesce(u.n - s.since, 0), 0) WHEN i.issued_at IS NULL THEN 0 ELSE 1 END::bigint,
           i.request_id, i.customer_id, i.issued_at, i.valid_from, i.valid_until, k.why
      FROM (SELECT DISTINCT ON (k.lot, k.seq) k.lot, k.seq, k.why
              FROM ((SELECT b.lot, b.seq, 'blocked' AS why FROM blocks b
                      WHERE b.pool = p_pool AND (b.lot, b.seq) > (p_lot, p_seq) ORDER BY b.lot, b.seq LIMIT p_at_most)
                    UNION ALL
                    (SELECT w.lot, w.seq, w.why FROM withdrawn w
                      WHERE w.pool = p_pool AND (w.lot, w.seq) > (p_lot, p_seq) ORDER BY w.lot, w.seq LIMIT p_at_most)) k
             ORDER BY k.lot, k.seq, k.why LIMIT p_at_most) k
     CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = k.lot OFFSET 0) l
     CROSS JOIN LATERAL (SELECT CASE WHEN p_multi_use THEN used_up(p_pool, k.lot, k.seq) END AS n) u
      LEFT JOIN LATERAL (SELECT * FROM passes s WHERE s.pool = p_pool AND s.lot = k.lot AND s.seq >= k.seq AND s.seq <= k.seq ORDER BY s.seq LIMIT 1) s ON true
      LEFT JOIN LATERAL (SELECT c.code FROM codes c WHERE c.pool = p_pool AND c.lot = k.lot AND c.seq >= k.seq AND c.seq <= k.seq
                          ORDER BY c.seq LIMIT 1) c ON true
      LEFT JOIN LATERAL (SELECT * FROM issuances i WHERE NOT p_multi_use AND i.pool = p_pool AND i.lot = k.lot AND i.seq >= k.seq AND i.seq <= k.seq
                          ORDER BY i.seq LIMIT 1) i ON true;
END $$;
-- +goose StatementEnd
