-- The task of an import: who sent it, how fast it goes, why rows were refused,
-- how long its file is kept. And all codes of a pool, a page at a time.
-- +goose Up

ALTER TABLE imports
    ADD COLUMN actor        text NOT NULL DEFAULT 'anonymous' CONSTRAINT imports_actor_bounded CHECK (octet_length(actor) BETWEEN 1 AND 200),
    ADD COLUMN keep_seconds bigint NOT NULL DEFAULT 0  -- its file is kept so long behind the end
                            CONSTRAINT imports_keep_positive CHECK (keep_seconds >= 0),
    ADD COLUMN dropped_at   timestamptz,               -- from here on nobody gets its file; its parts go in pieces
    ADD COLUMN pace_at      timestamptz,               -- when it got on last, or was claimed
    ADD COLUMN pace_seconds float8 NOT NULL DEFAULT 0, -- of late, the older the less: time,
    ADD COLUMN pace_rows    float8 NOT NULL DEFAULT 0, -- and what was done in it
    ADD COLUMN pace_bytes   float8 NOT NULL DEFAULT 0,
    ADD COLUMN busy_seconds float8 NOT NULL DEFAULT 0; -- in all; nobody's time between two claims is none

-- Imports whose files are kept are many, those at work few.
CREATE INDEX imports_open_idx ON imports (pool, task) WHERE status IN ('waiting', 'running');

CREATE TABLE import_reasons (
    task   bigint NOT NULL,
    reason text NOT NULL,
    n      bigint NOT NULL CONSTRAINT import_reasons_positive CHECK (n > 0),
    PRIMARY KEY (task, reason)
) WITH (fillfactor = 70);

-- Counted where they are written, and so exact whoever writes them: a program
-- of the version before does too while processes are replaced one by one.
-- +goose StatementBegin
CREATE FUNCTION count_refusals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO import_reasons AS r (task, reason, n)
    SELECT f.task, f.reason, count(*) FROM refused f GROUP BY f.task, f.reason
    ON CONFLICT (task, reason) DO UPDATE SET n = r.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
LOCK TABLE import_refusals IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO import_reasons (task, reason, n) SELECT task, reason, count(*) FROM import_refusals GROUP BY task, reason;
CREATE TRIGGER import_refusals_counted AFTER INSERT ON import_refusals
    REFERENCING NEW TABLE AS refused FOR EACH STATEMENT EXECUTE FUNCTION count_refusals();

-- +goose StatementBegin
-- Keeps the pace of an import: what was done of late weighs the more the later,
-- by half every 7 s. A claim begins a stretch of work.
CREATE FUNCTION keep_pace() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    took float8 := greatest(extract(epoch FROM clock_timestamp() - OLD.pace_at), 0);
    weight float8 := exp(-least(took, 100) / 10);
BEGIN
    NEW.pace_at := clock_timestamp();
    IF NEW.attempts <= OLD.attempts AND took IS NOT NULL THEN
        NEW.busy_seconds := OLD.busy_seconds + took;
        NEW.pace_seconds := OLD.pace_seconds * weight + took;
        NEW.pace_rows := OLD.pace_rows * weight + (NEW.rows - OLD.rows);
        NEW.pace_bytes := OLD.pace_bytes * weight + (NEW.bytes_done - OLD.bytes_done);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER imports_paced BEFORE UPDATE ON imports FOR EACH ROW
    WHEN (NEW.attempts > OLD.attempts OR NEW.bytes_done > OLD.bytes_done OR NEW.rows > OLD.rows) EXECUTE FUNCTION keep_pace();

-- +goose StatementBegin
-- The stored codes of a pool behind a place, in the order of their places, with
-- whom they went to. Whatever the statistics say, it reads as many rows as it
-- returns: it walks codes_pkey, and has one probe per code for the rest. times:
-- how often it was issued; in a multi-use pool every ordinal that no run has
-- left was, and ordinal n is code n mod size.
CREATE FUNCTION codes_after(p_pool int, p_multi_use boolean, p_lot int, p_seq bigint, p_at_most int)
RETURNS TABLE (lot int, seq bigint, code text, issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz,
               times bigint, request_id text, customer_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz)
LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF p_multi_use THEN
        RETURN QUERY
        SELECT c.lot, c.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
               t.n::bigint, NULL::text, NULL::text, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz
          FROM (SELECT c.lot, c.seq, c.code FROM codes c
                 WHERE c.pool = p_pool AND (c.lot, c.seq) > (p_lot, p_seq)
                 ORDER BY c.lot, c.seq LIMIT p_at_most) c
         CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot OFFSET 0) l
         CROSS JOIN LATERAL (
               SELECT (max(r.hi) + l.size - 1 - c.seq) / l.size
                      - sum((r.hi + l.size - 1 - c.seq) / l.size - (r.next + l.size - 1 - c.seq) / l.size) AS n
                 FROM runs r WHERE r.pool = p_pool AND r.lot = c.lot OFFSET 0) t;
    ELSE
        RETURN QUERY
        SELECT c.lot, c.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
               CASE WHEN i.issued_at IS NULL THEN 0 ELSE 1 END::bigint, i.request_id, i.customer_id, i.issued_at, i.valid_from, i.valid_until
          FROM (SELECT c.lot, c.seq, c.code FROM codes c
                 WHERE c.pool = p_pool AND (c.lot, c.seq) > (p_lot, p_seq)
                 ORDER BY c.lot, c.seq LIMIT p_at_most) c
         CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot OFFSET 0) l
          LEFT JOIN LATERAL (SELECT * FROM issuances i WHERE i.pool = p_pool AND i.lot = c.lot AND i.seq >= c.seq AND i.seq <= c.seq
                              ORDER BY i.seq LIMIT 1) i ON true;
    END IF;
    -- No rows means the end, and must not when the pool was deleted meanwhile.
    IF NOT FOUND AND NOT EXISTS (SELECT FROM pools p WHERE p.pool = p_pool) THEN
        RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool is gone, and its codes with it';
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The issued codes of a single-use pool behind a place, in the order of their
-- places; code is null where no text is stored.
CREATE FUNCTION issued_after(p_pool int, p_lot int, p_seq bigint, p_at_most int)
RETURNS TABLE (lot int, seq bigint, code text, issue_start timestamptz, issue_end timestamptz, available_from timestamptz, available_till timestamptz,
               times bigint, request_id text, customer_id text, issued_at timestamptz, valid_from timestamptz, valid_until timestamptz)
LANGUAGE plpgsql STABLE ROWS 1000
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
SET enable_sort = off SET enable_incremental_sort = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT i.lot, i.seq, c.code, l.issue_start, l.issue_end, l.available_from, l.available_till,
           1::bigint, i.request_id, i.customer_id, i.issued_at, i.valid_from, i.valid_until
      FROM (SELECT * FROM issuances i
             WHERE i.pool = p_pool AND (i.lot, i.seq) > (p_lot, p_seq)
             ORDER BY i.lot, i.seq LIMIT p_at_most) i
     CROSS JOIN LATERAL (SELECT * FROM lots l WHERE l.pool = p_pool AND l.lot = i.lot OFFSET 0) l
      LEFT JOIN LATERAL (SELECT c.code FROM codes c WHERE c.pool = p_pool AND c.lot = i.lot AND c.seq >= i.seq AND c.seq <= i.seq
                          ORDER BY c.seq LIMIT 1) c ON true;
END $$;
-- +goose StatementEnd
