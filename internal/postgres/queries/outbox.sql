-- Events on their way to Kafka, and who carries them.

-- Events get their numbers in the order in which they come. A traceparent '' is none.
-- name: AddEvents :exec
INSERT INTO outbox (topic, key, id, type, at, subject, value, traceparent)
SELECT e.topic, e.key, e.id, e.type, e.at, e.subject, e.value, nullif(e.traceparent, '')
  FROM (SELECT unnest(@topics::text[]) AS topic, unnest(@keys::bytea[]) AS key, unnest(@ids::text[]) AS id, unnest(@types::text[]) AS type,
               unnest(@ats::timestamptz[]) AS at, unnest(@subjects::text[]) AS subject, unnest(@bodies::bytea[]) AS value,
               unnest(@traceparents::text[]) AS traceparent) e;

-- Nothing while the gate is closed: what a database tells that has lost a part of
-- what it knew may contradict what it told before.
-- name: Unpublished :many
SELECT * FROM outbox WHERE NOT EXISTS (SELECT FROM service s WHERE s.gate IS NOT NULL) ORDER BY no LIMIT @at_most;

-- name: DeletePublished :exec
DELETE FROM outbox WHERE no = ANY (@numbers::bigint[]);

-- Takes a lease that is free, over, or the holder's own.
-- name: TakeLease :one
INSERT INTO leases AS l (name, holder, until)
VALUES (@name, @holder, clock_timestamp() + make_interval(secs => @seconds::float8))
ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until
 WHERE l.holder = EXCLUDED.holder OR l.until <= clock_timestamp()
RETURNING true;

-- name: DropLease :exec
DELETE FROM leases WHERE name = @name AND holder = @holder;
