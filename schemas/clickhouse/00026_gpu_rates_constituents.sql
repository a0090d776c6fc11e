-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE gpu_rates
    ADD COLUMN IF NOT EXISTS sample_providers UInt32 COMMENT 'Providers in the sample; 0: not told' CODEC(T64, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS constituent_providers Array(LowCardinality(String)) COMMENT 'Providers whose prices the value was made of' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS constituent_usd_per_gpu_hour Array(Decimal(18, 8)) COMMENT 'Their prices, USD per GPU-hour' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS constituent_gpus Array(UInt32) COMMENT 'GPUs in their samples' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS constituent_offers Array(UInt32) COMMENT 'Offers in their samples' CODEC(ZSTD(1));
