-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS gpu_systems
(
    system LowCardinality(String) COMMENT 'Whole machine or rack',
    gpu LowCardinality(String) COMMENT 'Normalised model of its GPUs, as in gpu_rates',
    gpus UInt32 COMMENT 'GPUs in it',
    kw Decimal(18, 8) COMMENT 'Power of the whole system at most, kW; kW per GPU all-in is kw / gpus',
    reference Bool COMMENT 'The model is counted with this system',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (gpu, system, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Power of systems with GPUs, every version of the list; gpu_systems_now has the last';
