-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS gpu_fleets
(
    symbol LowCardinality(String) COMMENT 'Ticker of the owner',
    from_date Date COMMENT 'From this day on, until the next line of the same symbol',
    exact Bool COMMENT 'False: the day is not certain',
    servers UInt32 COMMENT 'Servers',
    gpus_per_server UInt32 COMMENT 'GPUs in each',
    gpu LowCardinality(String) COMMENT 'Model, as in gpu_rates',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (symbol, from_date, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'GPUs of the companies over time, every version of the list; gpu_fleets_now has the last';
