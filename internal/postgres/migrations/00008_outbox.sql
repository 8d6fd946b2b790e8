-- Events that are committed with what they tell of, and published afterwards; and
-- work that one process at a time does.
-- +goose Up

-- Events that are not published yet. The rows are gone when Kafka has them: what
-- they told of is in the other tables, for good. The numbers only grow, but a
-- smaller one may be committed later: whoever reads takes what is there.
CREATE TABLE outbox (
    no          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text NOT NULL CONSTRAINT outbox_topic_known CHECK (topic IN ('code-outcomes', 'redemption-outcomes', 'pool-events', 'staff-notifications')),
    key         bytea NOT NULL,
    id          text NOT NULL,                 -- ce_id
    type        text NOT NULL,                 -- ce_type
    at          timestamptz NOT NULL,          -- ce_time
    subject     text NOT NULL,                 -- the pool's id
    value       bytea NOT NULL,
    traceparent text                           -- of who asked (W3C Trace Context)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Who does what one process at a time should do, and until when the others leave
-- it alone. It saves work: what is done must stay right when two do it, since a
-- process that froze does not know that its time is over.
CREATE TABLE leases (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50);
