-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades
    ADD COLUMN IF NOT EXISTS sequence UInt64 COMMENT 'Venue\'s own number of the message, growing within a symbol with gaps; 0: none' CODEC(Delta, ZSTD(1));
