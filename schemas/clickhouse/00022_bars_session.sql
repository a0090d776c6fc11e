-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE bars
    ADD COLUMN IF NOT EXISTS session LowCardinality(String) COMMENT 'pre, regular, after or overnight; empty: the whole trade date, or not told' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS trade_date LowCardinality(String) COMMENT 'Trade date, 2006-01-02; empty: not told' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS method LowCardinality(String) COMMENT 'How the bar was made from prints where we made it; empty: the source\'s own bar' CODEC(ZSTD(1));
