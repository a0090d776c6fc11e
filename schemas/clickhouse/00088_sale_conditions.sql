-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS sale_conditions
(
    venue LowCardinality(String) COMMENT 'Table of rules: alpaca or massive, the beginning of the names of the sources that it is for',
    method LowCardinality(String) COMMENT 'Name of the table with its version, as bars carry it',
    code LowCardinality(String) COMMENT 'Condition',
    tape LowCardinality(String) COMMENT 'Tape that the rule is for; empty: any other, and then it is the strictest of the code',
    minute LowCardinality(String) COMMENT 'Flags for bars below a day and for sessions: open and close, high and low, volume. G updates, Y updates if it is the first, R does not',
    daily LowCardinality(String) COMMENT 'Flags for the bar of the whole trade date',
    at Date COMMENT 'Date of the source',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (venue, code, tape, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What a print with a sale condition does to a bar, every version of the list; sale_conditions_now has the last';
