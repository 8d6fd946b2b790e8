-- The codes of customers, and their erasing.

-- name: ListCodes :one
SELECT l.listed::bigint AS listed, l.left_since::timestamptz AS left_since, l.issued_last::timestamptz AS issued_last, l.asked_at::timestamptz AS asked_at
  FROM list_codes(@at_most::bigint, @volume_codes::bigint) AS l;

-- name: CodesOfCustomer :many
SELECT c.pool::int AS pool, c.lot::int AS lot, c.seq::bigint AS seq, c.request_id::text AS request_id,
       c.issued_at::timestamptz AS issued_at, c.valid_from::timestamptz AS valid_from, c.valid_until::timestamptz AS valid_until,
       coalesce(c.code, '')::text AS code, c.generator::uuid AS generator, coalesce(c.number, 0)::bigint AS number,
       c.blocked::boolean AS blocked, c.redeemed_at::timestamptz AS redeemed_at
  FROM codes_of_customer(@customer::text, @a::bigint, @b::bigint, @issued_at::timestamptz, @pool::int, @lot::int, @seq::bigint, @at_most::int) AS c;

-- name: PoolsByKey :many
SELECT sqlc.embed(p), c.id AS campaign_id
  FROM pools p JOIN campaigns c ON c.campaign = p.campaign
 WHERE p.pool = ANY (@pools::int[]);

-- name: PseudonymKey :one
SELECT key FROM customer_key;

-- name: MakePseudonymKey :exec
INSERT INTO customer_key (key, made_at) VALUES (@key, clock_timestamp()) ON CONFLICT (one) DO NOTHING;

-- What everybody sees by now is old; the clock is read after that.
-- name: BeginErasure :exec
INSERT INTO erasures (pseudonym, customer_id, actor, begun_at, listed_no)
SELECT @pseudonym, @customer_id::text, @actor, clock_timestamp(), coalesce((SELECT max(u.no) FROM unlisted u), 0)
ON CONFLICT (pseudonym) WHERE done_at IS NULL DO NOTHING;

-- name: OpenErasure :one
SELECT * FROM erasures WHERE pseudonym = @pseudonym AND done_at IS NULL;

-- name: OpenErasures :many
SELECT * FROM erasures
 WHERE done_at IS NULL AND begun_at < clock_timestamp() - make_interval(secs => @seconds::float8)
 ORDER BY erasure;

-- name: ErasureByNo :one
SELECT * FROM erasures WHERE erasure = @erasure;

-- name: ListedUpTo :one
SELECT (NOT EXISTS (SELECT FROM unlisted u WHERE u.no <= @no))::boolean;

-- name: EraseCodes :one
SELECT erase_codes(@erasure::bigint, @at_most::int)::bigint;

-- name: EraseRedemptions :one
SELECT erase_redemptions(@erasure::bigint, @at_most::int)::bigint;

-- Whether redemptions name an erasure's customer: one that is changed while it is to be
-- erased is passed over.
-- name: StillNamed :one
SELECT (EXISTS (SELECT FROM redemptions r WHERE r.customer_id = e.customer_id AND r.decided_at <= e.begun_at)
        OR EXISTS (SELECT FROM refused_redemptions r WHERE r.customer_id = e.customer_id AND r.decided_at <= e.begun_at))::boolean
  FROM erasures e WHERE e.erasure = @erasure;

-- name: MarkErasure :exec
UPDATE erasures SET stream = @stream::text, ends = @ends::bigint[], redemption_ends = @redemption_ends::bigint[],
       outbox_no = coalesce((SELECT max(o.no) FROM outbox o), 0)
 WHERE erasure = @erasure AND stream IS NULL;

-- Only when the outbox has published what was in it. Another may have finished it.
-- name: FinishErasure :one
WITH finished AS (
    UPDATE erasures e SET customer_id = NULL, done_at = clock_timestamp()
     WHERE e.erasure = @erasure AND e.done_at IS NULL AND NOT EXISTS (SELECT FROM outbox o WHERE o.no <= e.outbox_no)
    RETURNING e.erasure
)
SELECT (EXISTS (SELECT FROM finished) OR EXISTS (SELECT FROM erasures e WHERE e.erasure = @erasure AND e.done_at IS NOT NULL))::boolean;

-- place: of the partition, from 1.
-- name: ErasedAmong :many
SELECT e.pseudonym, max(m.before)::bigint AS before
  FROM erasures e CROSS JOIN LATERAL unnest(e.ends) WITH ORDINALITY AS m(before, place)
 WHERE e.pseudonym = ANY (@pseudonyms::text[]) AND e.stream = @stream AND m.place = @place::bigint
 GROUP BY e.pseudonym;
