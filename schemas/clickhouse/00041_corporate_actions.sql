-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS corporate_actions
(
    symbol LowCardinality(String) COMMENT 'Ticker',
    kind LowCardinality(String) COMMENT 'split or distribution',
    ex_date Date COMMENT 'First trade date at the new price',
    shares_new Decimal(38, 8) COMMENT 'Splits: so many new shares for shares_old',
    shares_old Decimal(38, 8) COMMENT 'Splits: old shares',
    amount_usd Decimal(38, 8) COMMENT 'Distributions: USD per share',
    prior_close_usd Decimal(38, 8) COMMENT 'Distributions: raw close of the trade date before',
    price_factor Decimal(76, 30) COMMENT 'What prices before ex_date are multiplied by',
    source String COMMENT 'Who says so',
    version LowCardinality(String) COMMENT 'Hash of the whole list that the row belongs to; the last loaded one holds',
    loaded_at DateTime64(9, 'UTC') COMMENT 'When the list was loaded'
)
ENGINE = MergeTree
ORDER BY (symbol, ex_date, loaded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Splits and distributions, every version of the list; corporate_actions_now has the last';
