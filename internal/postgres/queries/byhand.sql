-- Codes issued and blocked one by one. The caller holds the pool's lock.

-- name: TakeCode :one
SELECT coalesce(take_code(@pool::int, @lot::int, @seq::bigint), -1)::bigint;

-- name: AddIssuance :exec
INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, valid_until, request_id, customer_id)
VALUES (@pool, @lot, @seq, @issued_at, @valid_from, @valid_until, @request_id, @customer_id);

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
