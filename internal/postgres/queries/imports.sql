-- Imports. The row of the task is locked last, behind the pool; nothing else of an
-- import is written by anyone but its session, which holds imports_lock(pool).

-- name: BeginImport :one
INSERT INTO imports (pool, pool_id, file_name, media_type, options, reader, actor, keep_seconds, created_at, touched_at)
SELECT p.pool, p.id, @file_name::text, @media_type::text, @options::jsonb, @reader::int, @actor::text, @keep_seconds::bigint, clock_timestamp(), clock_timestamp()
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

-- From here on nobody gets the file, and its parts can go one by one.
-- name: LetFileGo :execrows
UPDATE imports i SET dropped_at = coalesce(i.dropped_at, clock_timestamp())
 WHERE i.task = @task AND i.body_kept AND i.status NOT IN ('receiving', 'waiting', 'running')
   AND (i.dropped_at IS NOT NULL OR i.finished_at + make_interval(secs => i.keep_seconds) <= clock_timestamp()
        OR NOT EXISTS (SELECT FROM pools p WHERE p.pool = i.pool));

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

-- Files to let go, the next at every call.
-- name: FilesToDrop :many
SELECT i.task FROM imports i
 WHERE i.body_kept AND i.status NOT IN ('receiving', 'waiting', 'running')
   AND (i.dropped_at IS NOT NULL OR i.finished_at + make_interval(secs => i.keep_seconds) <= clock_timestamp()
        OR NOT EXISTS (SELECT FROM pools p WHERE p.pool = i.pool))
 ORDER BY i.task LIMIT 1000;

-- name: FilesOfPool :many
SELECT task FROM imports WHERE pool = @pool AND body_kept;

-- Parts of uploads whose row is gone: their process died between the two. By
-- hops along the key.
-- name: OrphanedParts :many
WITH RECURSIVE hop AS (
    (SELECT p.task FROM import_parts p ORDER BY p.task LIMIT 1)
    UNION ALL
    SELECT (SELECT p.task FROM import_parts p WHERE p.task > hop.task ORDER BY p.task LIMIT 1)
      FROM hop WHERE hop.task IS NOT NULL
)
SELECT hop.task::bigint FROM hop
 WHERE hop.task IS NOT NULL AND NOT EXISTS (SELECT FROM imports i WHERE i.task = hop.task);

-- The oldest open import of each pool, where nobody holds the pool's lock.
-- name: OpenImports :many
SELECT o.task, o.pool
  FROM (SELECT DISTINCT ON (i.pool) i.task, i.pool FROM imports i
         WHERE i.status IN ('waiting', 'running')
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
RETURNING task, pool, pool_id, media_type, options, bytes, bytes_done, coalesce(text_done, bytes_done)::bigint AS text_done, lines_done, layout, attempts;

-- name: ImportClock :one
SELECT clock_timestamp()::timestamptz AS now, coalesce(max(p.state) <> 'archived', false)::boolean AS open, coalesce(bool_or(p.multi_use), false)::boolean AS multi_use
  FROM pools p WHERE p.pool = @pool;

-- name: LotNumbers :many
SELECT nextval('lot_numbers')::int FROM generate_series(1, @n::int);

-- name: CodesFound :many
SELECT f.code::text AS code, f.lot::int AS lot, f.seq::bigint AS seq, f.named::boolean AS named, f.issued::boolean AS issued,
       f.issue_start::timestamptz AS issue_start, f.issue_end::timestamptz AS issue_end,
       f.available_from::timestamptz AS available_from, f.available_till::timestamptz AS available_till, coalesce(f.withheld, '')::text AS withheld
  FROM codes_found(@pool::int, @task::bigint, @codes::text[]) AS f;

-- name: NextMoves :many
SELECT m.code::text AS code, m.lot::int AS lot, m.seq::bigint AS seq,
       m.issue_start::timestamptz AS issue_start, m.issue_end::timestamptz AS issue_end,
       m.available_from::timestamptz AS available_from, m.available_till::timestamptz AS available_till,
       m.line::bigint AS line, m."row"::text AS "row"
  FROM next_moves(@task::bigint, @pool::int, @at_most::int) AS m;

-- name: TakeOut :many
SELECT take_out(@pool::int, @lots::int[], @seqs::bigint[])::int AS idx;

-- Why codes that take_out has left are not issued either.
-- name: WithdrawnOf :many
SELECT w.idx::int AS idx, w.why::text AS why FROM withdrawn_of(@pool::int, @lots::int[], @seqs::bigint[]) AS w;

-- name: MoveCodes :exec
SELECT move_codes(@pool::int, @lots::int[], @seqs::bigint[], @into_lots::int[], @into_seqs::bigint[]);

-- name: NoteSeen :exec
INSERT INTO import_seen (task, code) SELECT @task::bigint, unnest(@codes::text[]);

-- name: ImportChunk :one
SELECT import_chunk(
    @task::bigint, @pool::int, @at::timestamptz, @l_lot::int[], @l_size::bigint[], @l_more::bigint[],
    @l_issue_start::timestamptz[], @l_issue_end::timestamptz[], @l_available_from::timestamptz[], @l_available_till::timestamptz[],
    @bytes_done::bigint, @lines_done::bigint, @layout::jsonb,
    @rows::bigint, @added::bigint, @moved::bigint, @unchanged::bigint, @refused::bigint, @last::boolean
)::text;

-- Lots of which so many small free pieces are left that refills are slow. Of an
-- archived pool nothing is refilled, and its codes stay where they are.
-- name: ScatteredLots :many
SELECT r.pool, r.lot
  FROM runs r JOIN lots l ON l.pool = r.pool AND l.lot = r.lot
 WHERE r.partition IS NULL AND r.next < r.hi AND l.generator IS NULL
   AND (SELECT p.state <> 'archived' AND NOT p.multi_use FROM pools p WHERE p.pool = r.pool)
 GROUP BY r.pool, r.lot
HAVING count(*) > 1000 AND sum(r.hi - r.next) < 20 * count(*)
 ORDER BY r.pool, r.lot;

-- name: SmallPieces :many
SELECT small_pieces(@pool::int, @lots::int[], @from_seqs::bigint[], @pieces::bigint, @mean::bigint)::int AS lot;

-- name: LayAnew :one
SELECT lay_anew(@pool::int, @lot::int, @from_seq::bigint, @into_lot::int, @size::bigint, @at_most::int)::bigint;

-- Behind ImportChunk, in its transaction: where to go on in the text, and whether
-- import_seen or import_moves have codes of the file.
-- name: MarkTextDone :exec
UPDATE imports SET text_done = @text_done::bigint, reader = @reader::int, seen_kept = seen_kept OR @seen_kept::boolean WHERE task = @task;

-- name: CodesSeen :many
SELECT s::text AS code FROM import_seen_codes(@task::bigint, @codes::text[]) AS s;

-- The step of a dry run: as import_chunk, but for the pool.
-- name: RehearseStep :one
UPDATE imports SET
       bytes_done = @bytes_done, text_done = @text_done::bigint, reader = @reader::int, lines_done = @lines_done, layout = @layout, attempts = 0,
       rows = rows + @rows, added = added + @added, moved = moved + @moved, unchanged = unchanged + @unchanged, refused = refused + @refused,
       seen_kept = true,
       status = CASE WHEN NOT @last::boolean THEN status WHEN refused + @refused > 0 THEN 'completed_with_refusals' ELSE 'completed' END,
       finished_at = CASE WHEN @last::boolean THEN @at::timestamptz END
 WHERE task = @task AND status = 'running' AND bytes_done <= @bytes_done
RETURNING status;

-- name: DropSeenCodes :execrows
DELETE FROM import_seen s WHERE s.task = @task AND s.code IN
       (SELECT q.code FROM import_seen q WHERE q.task = @task ORDER BY q.code LIMIT @at_most);

-- name: DropMoves :execrows
DELETE FROM import_moves m WHERE m.task = @task AND m.code IN
       (SELECT q.code FROM import_moves q WHERE q.task = @task ORDER BY q.code LIMIT @at_most);

-- name: MarkSeenDropped :exec
UPDATE imports SET seen_kept = false WHERE task = @task;

-- name: SeenToDrop :many
SELECT task FROM imports
 WHERE seen_kept AND status IN ('completed', 'completed_with_refusals', 'failed', 'cancelled');

-- name: FailImport :execrows
UPDATE imports SET status = 'failed', error = @error, finished_at = clock_timestamp()
 WHERE task = @task AND status IN ('waiting', 'running');

-- What is in stays; a chunk under way finds the status and changes nothing.
-- name: CancelImport :execrows
UPDATE imports SET status = 'cancelled', finished_at = clock_timestamp()
 WHERE task = @task AND status IN ('waiting', 'running');

-- name: ImportByTask :one
SELECT sqlc.embed(i), coalesce(p.id, i.pool_id)::text AS id, clock_timestamp()::timestamptz AS asked_at,
       (SELECT jsonb_object_agg(r.reason, r.n) FROM import_reasons r WHERE r.task = i.task)::jsonb AS reasons
  FROM imports i LEFT JOIN pools p ON p.pool = i.pool
 WHERE i.task = @task AND i.status <> 'receiving';

-- An empty pool_id or status means any. A pool that is gone is known by its last
-- name.
-- name: ImportsBefore :many
SELECT sqlc.embed(i), coalesce(p.id, i.pool_id)::text AS id, clock_timestamp()::timestamptz AS asked_at,
       (SELECT jsonb_object_agg(r.reason, r.n) FROM import_reasons r WHERE r.task = i.task)::jsonb AS reasons
  FROM imports i LEFT JOIN pools p ON p.pool = i.pool
 WHERE i.task < @before AND i.status <> 'receiving'
   AND (@pool_id::text = '' OR coalesce(p.id, i.pool_id) = @pool_id)
   AND (@status::text = '' OR i.status = @status) AND (@kind::text = '' OR i.kind = @kind) AND (@actor::text = '' OR i.actor = @actor)
 ORDER BY i.task DESC
 LIMIT @at_most;

-- name: ImportsOfPool :many
SELECT sqlc.embed(i), p.id, clock_timestamp()::timestamptz AS asked_at,
       (SELECT jsonb_object_agg(r.reason, r.n) FROM import_reasons r WHERE r.task = i.task)::jsonb AS reasons
  FROM imports i JOIN pools p ON p.pool = i.pool
 WHERE p.id = @pool_id AND i.task < @before AND i.status <> 'receiving'
   AND (@status::text = '' OR i.status = @status) AND (@kind::text = '' OR i.kind = @kind) AND (@actor::text = '' OR i.actor = @actor)
 ORDER BY i.task DESC
 LIMIT @at_most;

-- name: RefusalsAfter :many
SELECT line, reason, value, row FROM import_refusals
 WHERE task = @task AND line > @line
 ORDER BY line
 LIMIT @at_most;
