-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS adjustment_factors
(
    symbol LowCardinality(String) COMMENT 'Ticker',
    from_date Date COMMENT 'For raw prices of trade dates from this one on',
    to_date Date COMMENT 'and before this one',
    as_of_from Date COMMENT 'as they compare to prices of this date on',
    as_of_to Date COMMENT 'and before this one',
    split_factor Decimal(76, 30) COMMENT 'What prices are multiplied by for splits',
    total_factor Decimal(76, 30) COMMENT 'What prices are multiplied by for splits and distributions',
    volume_factor Decimal(76, 30) COMMENT 'What volumes are multiplied by, for splits',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (symbol, from_date, as_of_from, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Factors between every two spans of dates in which prices differ by corporate actions; where there is none it is 1';
