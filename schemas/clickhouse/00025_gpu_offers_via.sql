-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE gpu_offers
    ADD COLUMN IF NOT EXISTS via LowCardinality(String) COMMENT 'Marketplace that resells the provider\'s GPUs; empty: the provider itself' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS stock LowCardinality(String) COMMENT 'Upstream\'s word for how many are left; empty: not told' CODEC(ZSTD(1));
