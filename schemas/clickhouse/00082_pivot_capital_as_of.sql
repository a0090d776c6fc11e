-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_capital_as_of AS
WITH
    toFloat64(mining.4) AS mining_capital,
    multiIf(gpu_own.4 > 0, toFloat64(gpu_own.4), ratio.4 > 0, mining_capital * toFloat64(ratio.4), 0) AS gpu_capital
SELECT
    gpu, fleet, mark, day, rate_method, preferred,
    toFloat64(premium) AS premium,
    if(gpu_capital > 0 AND mining_capital > 0, toFloat64(premium) * mining_capital / gpu_capital, NULL) AS premium_per_capital,
    if(gpu_capital > 0, toFloat64(gpu_usd_per_mwh) * 8760 / gpu_capital, NULL) AS gpu_revenue_per_capital,
    if(mining_capital > 0, toFloat64(mining_usd_per_mwh) * 8760 / mining_capital, NULL) AS mining_revenue_per_capital,
    nullIf(gpu_capital, 0) AS gpu_capital_usd_per_mw,
    nullIf(mining_capital, 0) AS mining_capital_usd_per_mw,
    nullIf(toFloat64(ratio.4), 0) AS stated_capital_ratio,
    multiIf(gpu_own.4 > 0, 'level', gpu_capital > 0, 'mining times ratio', '') AS gpu_capital_from,
    confirmed AND mining.5 AND if(gpu_own.4 > 0, gpu_own.5, ratio.5) AS confirmed,
    multiIf(
        reason != '', reason,
        premium IS NULL AND hashprice_usd = 0, 'no hashprice',
        premium IS NULL AND usd_per_gpu_hour = 0, 'no rate',
        premium IS NULL, 'no premium',
        mining_capital = 0, 'no capital of mining of that day',
        gpu_capital = 0, 'no capital of GPUs and no ratio of that day',
        '') AS reason
FROM
(
    SELECT
        gpu, fleet, mark, day, rate_method, preferred, premium, gpu_usd_per_mwh, mining_usd_per_mwh, confirmed, reason, hashprice_usd, usd_per_gpu_hour,
        arrayFirst(x -> x.1 = 'capital-ratio' AND x.2 = 'ai-over-mining' AND x.3 <= day, levels) AS ratio,
        arrayFirst(x -> x.1 = 'capital-per-mw' AND x.2 = 'mining' AND x.3 <= day, levels) AS mining,
        arrayFirst(x -> x.1 = 'capital-per-mw' AND x.2 = 'gpu' AND x.3 <= day, levels) AS gpu_own
    FROM
    (
        SELECT
            *,
            (
                SELECT arrayReverseSort(x -> x.3, groupUniqArray((toString(kind), toString(name), from_date, value, confirmed)))
                FROM reference_levels
                WHERE version = (SELECT argMax(version, loaded_at) FROM reference_levels WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                    AND startsWith(kind, 'capital-')
            ) AS levels
        FROM pivot_as_of(as_of = {as_of:DateTime64(9, 'UTC')})
    )
)
COMMENT 'pivot_capital as it was known at a moment: SELECT ... FROM pivot_capital_as_of(as_of = \'2026-11-20 00:00:00\')';
