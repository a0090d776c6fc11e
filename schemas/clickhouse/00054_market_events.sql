-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS market_events
(
    date Date COMMENT 'Day of the event, UTC',
    symbol LowCardinality(String) COMMENT 'Ticker; empty: of the whole network',
    kind LowCardinality(String) COMMENT 'ai-contract, halving, ipo, merger or other',
    exact Bool COMMENT 'False: the day is not certain',
    title String COMMENT 'One line, for people',
    at Date COMMENT 'Date of the source',
    confirmed Bool COMMENT 'False: general knowledge, a single secondary page, or an assumption',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (date, symbol, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Days that a chart should mark, every version of the list; market_events_now has the last';
