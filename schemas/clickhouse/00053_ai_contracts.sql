-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS ai_contracts
(
    symbol LowCardinality(String) COMMENT 'Ticker of the company that sells',
    counterparty LowCardinality(String) COMMENT 'Who buys',
    kind LowCardinality(String) COMMENT 'colocation: the tenant owns the GPUs; cloud: the company does, and their cost is in the price',
    signed Date COMMENT 'Day of the announcement',
    exact Bool COMMENT 'False: the day is not certain',
    mw Decimal(18, 8) COMMENT 'Critical IT load, MW',
    gpus UInt32 COMMENT 'GPUs; 0: not told',
    value_usd Decimal(38, 8) COMMENT 'Value of the first term, USD',
    years Decimal(18, 8) COMMENT 'First term, years; 0: not told',
    title String COMMENT 'One line, for people',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (symbol, signed, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Contracts of miners with AI, every version of the list; ai_contracts_now has the last';
