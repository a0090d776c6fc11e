-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS claims
(
    id LowCardinality(String) COMMENT 'Name of the claim',
    claim String COMMENT 'What was said, one sentence',
    stated_value Decimal(38, 8) COMMENT 'The figure that was said',
    unit LowCardinality(String) COMMENT 'Unit of stated_value',
    stated_on Date COMMENT 'Day on which it was said',
    computed_unit String COMMENT 'What the query computes, with its unit: not always the same as what was said',
    query String COMMENT 'One statement that returns one row: computed (NULL where it cannot be), verdict (holds, holds roughly, does not hold, cannot be told), note. Put a moment in the place of 2200-01-01 00:00:00 to ask as of it',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (id, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Claims about the turn of the miners to AI, with the query that tests each, every version of the list; claims_now has the last';
