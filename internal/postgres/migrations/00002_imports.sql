-- Filling pools from files.
-- +goose Up

-- A task per file. Outlives its pool, so no reference.
CREATE TABLE imports (
    task        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool        int NOT NULL,
    pool_id     text COLLATE "C" NOT NULL,     -- as it was at the upload
    file_name   text NOT NULL CONSTRAINT imports_file_name_bounded CHECK (octet_length(file_name) <= 400),
    media_type  text NOT NULL CONSTRAINT imports_media_type_bounded CHECK (octet_length(media_type) <= 200),
    status      text NOT NULL DEFAULT 'receiving' CONSTRAINT imports_status_known CHECK
                (status IN ('receiving', 'waiting', 'running', 'completed', 'completed_with_refusals', 'failed', 'cancelled')),
    error       text NOT NULL DEFAULT '',      -- why it failed, for its sender
    layout      jsonb,                         -- domain.Layout
    bytes       bigint NOT NULL DEFAULT 0,     -- of the file, as far as it is here
    bytes_done  bigint NOT NULL DEFAULT 0,     -- with lines_done the place to go on at
    lines_done  bigint NOT NULL DEFAULT 0,
    rows        bigint NOT NULL DEFAULT 0,
    added       bigint NOT NULL DEFAULT 0,
    moved       bigint NOT NULL DEFAULT 0,
    unchanged   bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0,
    attempts    int NOT NULL DEFAULT 0,        -- claims since bytes_done moved last
    body_kept   boolean NOT NULL DEFAULT true, -- import_parts has its file
    created_at  timestamptz NOT NULL,
    touched_at  timestamptz NOT NULL,          -- while receiving: when it grew last
    started_at  timestamptz,
    finished_at timestamptz,
    CONSTRAINT imports_rows_told CHECK (rows = added + moved + unchanged + refused),
    CONSTRAINT imports_within CHECK (bytes_done <= bytes)
) WITH (fillfactor = 70);
CREATE INDEX imports_pool_idx ON imports (pool, task);
CREATE INDEX imports_body_idx ON imports (task) WHERE body_kept;

-- A file in the order of first_byte. Not compressed: it is read once, soon.
CREATE TABLE import_parts (
    task       bigint NOT NULL,
    first_byte bigint NOT NULL,
    body       bytea NOT NULL CONSTRAINT import_parts_body_some CHECK (octet_length(body) > 0),
    PRIMARY KEY (task, first_byte)
);
ALTER TABLE import_parts ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE import_refusals (
    task   bigint NOT NULL,
    line   bigint NOT NULL,
    reason text NOT NULL,
    value  text NOT NULL,                      -- what is wrong
    row    text NOT NULL,                      -- as it came
    PRIMARY KEY (task, line)
);

-- The advisory lock of imports into a pool: "impo" and the pool. Of the
-- one-number kind, since enter() marks backends by the other.
-- +goose StatementBegin
CREATE FUNCTION imports_lock(p_pool int) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN (1768779887::bigint << 32) | p_pool;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION imports_locked(p_pool int) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = imports_lock(p_pool));
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Makes a chunk of an import true, its codes and refusals being in already: the
-- lots (l_) become stock, the task moves. Runs last in the chunk's transaction,
-- so that the pool is locked for this and the commit only. Locks the pool, then
-- the task.
CREATE FUNCTION import_step(
    p_task bigint, p_pool int, p_at timestamptz,
    l_lot int[], l_size bigint[], l_issue_start timestamptz[], l_issue_end timestamptz[], l_available_from timestamptz[], l_available_till timestamptz[],
    p_bytes_done bigint, p_lines_done bigint, p_layout jsonb, p_rows bigint, p_added bigint, p_refused bigint, p_last boolean
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    p pools%ROWTYPE;
    s text;
BEGIN
    IF cardinality(l_lot) > 0 THEN
        -- As add_lot, for many lots at once.
        UPDATE pools SET grant_no = grant_no + 1, revision = revision + 1 WHERE pool = p_pool RETURNING * INTO p;
        IF NOT FOUND OR p.state = 'archived' THEN
            RAISE EXCEPTION USING ERRCODE = 'PP004', MESSAGE = 'the pool takes no codes: it is archived or gone';
        END IF;
        INSERT INTO lots (pool, lot, size, issue_start, issue_end, available_from, available_till, import, revision, created_at)
        SELECT p_pool, l.lot, l.size, l.issue_start, l.issue_end, l.available_from, l.available_till, p_task, p.revision, p_at
          FROM unnest(l_lot, l_size, l_issue_start, l_issue_end, l_available_from, l_available_till)
               AS l(lot, size, issue_start, issue_end, available_from, available_till);
        INSERT INTO runs (pool, lot, lo, next, hi, partition, grant_no)
        SELECT p_pool, l.lot, 0, 0, CASE WHEN p.multi_use THEN 9000000000000000 ELSE l.size END, NULL, p.grant_no
          FROM unnest(l_lot, l_size) AS l(lot, size);
        IF p.mode = 'scarce' AND (p.multi_use OR free_stock(p_pool) > 2 * scarce_mark()) THEN
            UPDATE pools SET mode = 'ample' WHERE pool = p_pool;
        END IF;
    END IF;
    UPDATE imports SET
           bytes_done = p_bytes_done, lines_done = p_lines_done, layout = p_layout, attempts = 0,
           rows = rows + p_rows, added = added + p_added, refused = refused + p_refused,
           status = CASE WHEN NOT p_last THEN status WHEN refused + p_refused > 0 THEN 'completed_with_refusals' ELSE 'completed' END,
           finished_at = CASE WHEN p_last THEN p_at END
     WHERE task = p_task AND status = 'running' AND bytes_done <= p_bytes_done
    RETURNING status INTO s;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PP005', MESSAGE = 'the import has been ended';
    END IF;
    RETURN s;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Those of the codes that the pool has, and whether the given import brought
-- them. One probe of codes_code_key per code, whatever the statistics say.
CREATE FUNCTION codes_taken(p_pool int, p_task bigint, p_codes text[])
RETURNS TABLE (code text, same_import boolean) LANGUAGE sql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
    SELECT k.code, coalesce((SELECT l.import = p_task FROM lots l WHERE l.pool = p_pool AND l.lot = c.lot), false)
      FROM (SELECT u.code FROM unnest(p_codes) AS u(code) ORDER BY 1) k
     CROSS JOIN LATERAL (SELECT c.lot FROM codes c WHERE c.pool = p_pool AND c.code = k.code COLLATE "C" OFFSET 0) c;
$$;
-- +goose StatementEnd
