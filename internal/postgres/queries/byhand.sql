-- Codes issued and blocked one by one. The caller holds the pool's lock.

-- name: TakeCode :one
SELECT coalesce(t.n, -1)::bigint AS seq, t.taken_at::timestamptz AS taken_at FROM take_code(@pool::int, @lot::int, @seq::bigint) AS t;

-- The issuance of a code that was taken, to be listed under its customer, with the
-- entry of its history.
-- name: AddIssuance :exec
WITH issued AS (
    INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, valid_until, request_id, customer_id)
    VALUES (@pool, @lot, @seq, @issued_at, @valid_from, @valid_until, @request_id::text, @customer_id)
), listing AS (
    INSERT INTO unlisted (at, pools, lots, firsts, counts, sketch)
    VALUES (@issued_at, ARRAY[@pool::int], ARRAY[@lot::int], ARRAY[@seq::bigint], ARRAY[1], @sketch)
)
INSERT INTO code_history (pool, lot, seq, at, actor, action, request_id)
VALUES (@pool, @lot, @number, @issued_at, @actor, @action, @request_id);

-- name: BlockCode :one
SELECT block_code(@pool::int, @lot::int, @seq::bigint, @actor::text, @note::text)::boolean;

-- name: UnblockCode :one
SELECT unblock_code(@pool::int, @lot::int, @seq::bigint, @actor::text, @note::text)::boolean;

-- name: AddCodeHistory :exec
INSERT INTO code_history (pool, lot, seq, at, actor, action, note, request_id)
VALUES (@pool, @lot, @seq, @at, @actor, @action, @note, @request_id);

-- The newest entries, the oldest of them first.
-- name: CodeEntries :many
SELECT h.at, h.actor, h.action, h.note, coalesce(h.request_id, '')::text AS request_id
  FROM (SELECT * FROM code_history h WHERE h.pool = @pool AND h.lot = @lot AND h.seq = @seq ORDER BY h.entry DESC LIMIT @at_most) h
 ORDER BY h.entry;
