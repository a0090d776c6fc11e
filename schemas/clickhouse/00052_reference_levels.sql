-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS reference_levels
(
    kind LowCardinality(String) COMMENT 'pue, utilisation (both ratios) or fleet-efficiency (J/TH)',
    name LowCardinality(String) COMMENT 'Whose: pue mining and gpu, utilisation gpu and fleet-efficiency fleet are what the pivot is computed with',
    from_date Date COMMENT 'First day on which the level holds, until the next line of the same kind and name',
    value Decimal(18, 8) COMMENT 'Level, in the unit of its kind',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (kind, name, from_date, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Assumptions over time, every version of the list; reference_levels_now has the last';
