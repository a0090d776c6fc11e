-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS trade_dates
(
    date Date COMMENT 'Trade date of the US equity markets; the list has every one of the years that it covers',
    sessions Array(Tuple(kind String, open_s Int32, close_s Int32)) COMMENT 'Its sessions: pre, regular, after, overnight, from and to in seconds from New York midnight of the date, negative on the evening before',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (date, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Calendar of trade dates with their sessions, every version of the list; trade_dates_now has the last';
