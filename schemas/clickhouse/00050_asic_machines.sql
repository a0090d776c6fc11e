-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS asic_machines
(
    machine LowCardinality(String) COMMENT 'Model of the miner',
    th_per_s Decimal(18, 8) COMMENT 'Hashrate, TH/s',
    j_per_th Decimal(18, 8) COMMENT 'Efficiency at full power, J/TH',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (machine, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Bitcoin miners, every version of the list; asic_machines_now has the last';
