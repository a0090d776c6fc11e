-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS companies
(
    symbol LowCardinality(String) COMMENT 'Ticker',
    from_date Date COMMENT 'First day of the period, or from which on it is so',
    exact Bool COMMENT 'False: from_date is the first day of the month or quarter that the source gives',
    segment LowCardinality(String) COMMENT 'self-mining, hosting, colocation, ai-cloud, eth-treasury, ai-subsidiary, sector-fund or total',
    basis LowCardinality(String) COMMENT 'revenue: reported. contracted: yearly revenue of a signed contract. target: what the company aims for. stake: share of a subsidiary. mandate: what it holds',
    share Nullable(Decimal(38, 8)) COMMENT 'Share of the revenue of the period, or of the subsidiary; NULL: not told',
    revenue_usd Nullable(Decimal(38, 8)) COMMENT 'Revenue, USD a period; NULL: not told',
    period LowCardinality(String) COMMENT 'month, quarter or year that revenue_usd is of; empty: there is none',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (symbol, from_date, segment, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Business mix of the companies over time, every version of the list; companies_now has the last';
