-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_capital
(
    gpu LowCardinality(String) COMMENT 'Model',
    fleet String COMMENT 'Fleet of miners, a name of the levels fleet-efficiency',
    mark String COMMENT 'sim-: generated, rec-: a replayed recording, empty: live',
    day Date COMMENT 'UTC day',
    rate_method String COMMENT 'Method and version of the rate',
    preferred Bool COMMENT 'The rate is of the best method of that day',
    premium Nullable(Float64) COMMENT 'Revenue of a MWh in GPUs over that of a MWh in mining, ratio',
    premium_per_capital Nullable(Float64) COMMENT 'The same per dollar of capital: above 1 a dollar of GPUs earns more revenue than a dollar of miners. Ratio',
    gpu_revenue_per_capital Nullable(Float64) COMMENT 'Revenue of GPUs, USD a year and dollar of capital',
    mining_revenue_per_capital Nullable(Float64) COMMENT 'Revenue of mining, USD a year and dollar of capital',
    gpu_capital_usd_per_mw Nullable(Float64) COMMENT 'Capital of GPUs, USD a MW at the meter',
    mining_capital_usd_per_mw Nullable(Float64) COMMENT 'Capital of mining, USD a MW at the meter',
    stated_capital_ratio Nullable(Float64) COMMENT 'Capital of AI over that of mining as it was stated (CoinShares: up to 20)',
    gpu_capital_from String COMMENT 'level: a figure of that day. mining times ratio: there was none',
    confirmed Bool COMMENT 'False: an assumption or general knowledge went in',
    reason String COMMENT 'Why something is NULL'
)
AS SELECT * FROM pivot_capital_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'pivot per dollar of capital: what GPUs and miners of a megawatt earn in a year, revenue before power, over what they cost. The capital figures are dated levels (reference_levels_now, kinds capital-per-mw and capital-ratio)';
