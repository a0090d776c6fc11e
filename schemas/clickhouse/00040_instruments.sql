-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS instruments
(
    id LowCardinality(String) COMMENT 'Our name of the instrument; it outlives names and tickers',
    symbol LowCardinality(String) COMMENT 'Ticker in these dates',
    name String COMMENT 'Name in these dates',
    listing LowCardinality(String) COMMENT 'Exchange that lists it',
    tape LowCardinality(String) COMMENT 'Consolidated tape: A, B or C',
    from_date Date COMMENT 'First trade date',
    to_date Date COMMENT 'Last trade date; 2149-06-06: none yet',
    exact Bool COMMENT 'False: from_date is the beginning of the month or year that the source gives',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (id, from_date, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Instruments over time, every version of the list; instruments_now has the last';
