-- What redemptions cost. Nothing else of it changes.
-- +goose Up

-- Planning took longer than the work: the plan is made once, as that of the others.
ALTER FUNCTION commit_redemptions(
    timestamptz, int[], int[], bigint[],
    int[], text[], text[], int[], bigint[], text[], text[], timestamptz[],
    bytea[], text[], int[], boolean[], boolean[], boolean[],
    text[], text[], bytea[], text[], text[], text[], timestamptz[],
    bytea[], int[]
) SET plan_cache_mode = force_generic_plan;

-- +goose StatementBegin
-- As before, in a language that keeps its plan.
CREATE OR REPLACE FUNCTION count_redemptions(p_pools int[], p_numbers bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO redemption_counts AS c (pool, slot, redeemed)
    SELECT k.pool, pg_backend_pid() % 16, k.n FROM unnest(p_pools, p_numbers) AS k(pool, n) WHERE k.n <> 0 ORDER BY k.pool
    ON CONFLICT ON CONSTRAINT redemption_counts_pkey DO UPDATE SET redeemed = c.redeemed + EXCLUDED.redeemed;
END $$;
-- +goose StatementEnd
