-- Imports. The row of the task is locked last, behind the pool; nothing else of an
-- import is written by anyone but its session, which holds imports_lock(pool).

-- name: BeginImport :one
INSERT INTO imports (pool, pool_id, file_name, media_type, created_at, touched_at)
SELECT p.pool, p.id, @file_name::text, @media_type::text, clock_timestamp(), clock_timestamp()
  FROM pools p
 WHERE p.id = @pool_id AND p.state <> 'archived'
RETURNING task;

-- name: GrowImport :execrows
UPDATE imports SET bytes = bytes + @n::bigint, touched_at = clock_timestamp()
 WHERE task = @task AND status = 'receiving' AND bytes = @first_byte;

-- name: AddImportPart :exec
INSERT INTO import_parts (task, first_byte, body) VALUES (@task, @first_byte, @body);

-- name: PoolOfImport :one
SELECT pool FROM imports WHERE task = @task;

-- name: LockPoolOfImport :one
SELECT p.pool FROM pools p WHERE p.pool = (SELECT i.pool FROM imports i WHERE i.task = @task) FOR UPDATE;

-- name: SubmitImport :execrows
UPDATE imports SET status = 'waiting', created_at = clock_timestamp() WHERE task = @task AND status = 'receiving';

-- The row first: nothing can be appended to an upload that is gone.
-- name: AbandonImport :execrows
DELETE FROM imports WHERE task = @task AND status = 'receiving';

-- name: DropImportParts :execrows
DELETE FROM import_parts p WHERE p.task = @task AND p.first_byte IN
       (SELECT q.first_byte FROM import_parts q WHERE q.task = @task ORDER BY q.first_byte LIMIT @at_most);

-- name: MarkImportDropped :exec
UPDATE imports SET body_kept = false WHERE task = @task;

-- name: PartOfImport :one
SELECT first_byte, body
  FROM import_parts
 WHERE task = @task AND first_byte <= @at
 ORDER BY first_byte DESC LIMIT 1;

-- name: StaleUploads :many
SELECT task FROM imports
 WHERE body_kept AND status = 'receiving' AND touched_at < clock_timestamp() - make_interval(secs => @seconds::float8);

-- name: ImportsToDrop :many
SELECT task FROM imports
 WHERE body_kept AND status IN ('completed', 'completed_with_refusals', 'failed', 'cancelled');

-- Parts of uploads whose row is gone: their process died between the two.
-- name: OrphanedParts :many
SELECT DISTINCT p.task FROM import_parts p WHERE NOT EXISTS (SELECT FROM imports i WHERE i.task = p.task);

-- The oldest open import of each pool, where nobody holds the pool's lock.
-- name: OpenImports :many
SELECT o.task, o.pool
  FROM (SELECT DISTINCT ON (i.pool) i.task, i.pool FROM imports i
         WHERE i.body_kept AND i.status IN ('waiting', 'running')
         ORDER BY i.pool, i.task) o
 WHERE NOT imports_locked(o.pool)
 ORDER BY o.task
 LIMIT 100;

-- name: LockImportsOf :one
SELECT pg_try_advisory_lock(imports_lock(@pool::int));

-- name: UnlockImportsOf :exec
SELECT pg_advisory_unlock(imports_lock(@pool::int));

-- name: ClaimImport :one
UPDATE imports SET status = 'running', attempts = attempts + 1, started_at = coalesce(started_at, clock_timestamp())
 WHERE task = @task AND status IN ('waiting', 'running')
RETURNING task, pool, pool_id, bytes_done, lines_done, layout, attempts;

-- name: ImportClock :one
SELECT clock_timestamp()::timestamptz AS now, EXISTS (SELECT FROM pools p WHERE p.pool = @pool AND p.state <> 'archived') AS open;

-- name: LotNumbers :many
SELECT nextval('lot_numbers')::int FROM generate_series(1, @n::int);

-- name: CodesTaken :many
SELECT t.code::text AS code, t.same_import::boolean AS same_import FROM codes_taken(@pool::int, @task::bigint, @codes::text[]) AS t;

-- name: ImportStep :one
SELECT import_step(
    @task::bigint, @pool::int, @at::timestamptz,
    @l_lot::int[], @l_size::bigint[], @l_issue_start::timestamptz[], @l_issue_end::timestamptz[], @l_available_from::timestamptz[], @l_available_till::timestamptz[],
    @bytes_done::bigint, @lines_done::bigint, @layout::jsonb, @rows::bigint, @added::bigint, @refused::bigint, @last::boolean
)::text;

-- name: FailImport :execrows
UPDATE imports SET status = 'failed', error = @error, finished_at = clock_timestamp()
 WHERE task = @task AND status IN ('waiting', 'running');

-- name: ImportByTask :one
SELECT sqlc.embed(i), coalesce(p.id, i.pool_id)::text AS id
  FROM imports i LEFT JOIN pools p ON p.pool = i.pool
 WHERE i.task = @task AND i.status <> 'receiving';

-- name: ImportsOfPool :many
SELECT sqlc.embed(i), p.id
  FROM imports i JOIN pools p ON p.pool = i.pool
 WHERE p.id = @pool_id AND i.status <> 'receiving' AND i.task < @before
 ORDER BY i.task DESC
 LIMIT @at_most;

-- name: RefusalsAfter :many
SELECT line, reason, value, row FROM import_refusals
 WHERE task = @task AND line > @line
 ORDER BY line
 LIMIT @at_most;
