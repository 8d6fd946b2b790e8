-- Files of more kinds, and dry runs.
-- +goose Up

ALTER TABLE imports
    ADD COLUMN options   jsonb NOT NULL DEFAULT '{}', -- domain.ImportOptions
    ADD COLUMN dry_run   boolean NOT NULL GENERATED ALWAYS AS ((options ->> 'dry_run') IS NOT DISTINCT FROM 'true') STORED,
    ADD COLUMN text_done bigint,                      -- the place to go on at in the file's text, which decoding makes; null: bytes_done
    ADD COLUMN reader    int NOT NULL DEFAULT 1,      -- who can read on: 1 reads UTF-8 only and knows no options
    ADD COLUMN seen_kept boolean NOT NULL DEFAULT false; -- import_seen may have its codes
CREATE INDEX imports_seen_idx ON imports (task) WHERE seen_kept;

-- +goose StatementBegin
-- One probe of the key per code, whatever the statistics say.
CREATE FUNCTION import_seen_codes(p_task bigint, p_codes text[])
RETURNS SETOF text LANGUAGE sql STABLE ROWS 100
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
    SELECT k.code
      FROM (SELECT u.code FROM unnest(p_codes) AS u(code) ORDER BY 1) k
     CROSS JOIN LATERAL (SELECT FROM import_seen s WHERE s.task = p_task AND s.code = k.code COLLATE "C" OFFSET 0) s;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- An older process would fill a pool from a dry run, and take a place in text
-- for one in the file. Its claims find nothing: it looks for the next import.
CREATE FUNCTION import_readers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(nullif(current_setting('promopool.import_reader', true), ''), '1')::int < OLD.reader THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER imports_readers BEFORE UPDATE OF attempts ON imports
    FOR EACH ROW WHEN (NEW.attempts > OLD.attempts) EXECUTE FUNCTION import_readers();
