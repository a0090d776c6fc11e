-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE hashprice
    ADD COLUMN IF NOT EXISTS inputs Map(LowCardinality(String), String) COMMENT 'Further inputs by name, such as the prices that btc_usd is the median of and their ages' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS published Bool COMMENT 'The source told the value and we did not compute it: components may be 0, which is not given' CODEC(ZSTD(1));
