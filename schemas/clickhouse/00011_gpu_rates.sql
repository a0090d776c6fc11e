-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS gpu_rates
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time that the index is for, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    gpu LowCardinality(String) COMMENT 'Normalised model with its form factor, such as h100-sxm' CODEC(ZSTD(1)),
    class LowCardinality(String) COMMENT 'on-demand, interruptible or reserved' CODEC(ZSTD(1)),
    method LowCardinality(String) COMMENT 'Calculation' CODEC(ZSTD(1)),
    version UInt32 COMMENT 'Version of the calculation' CODEC(T64, ZSTD(1)),
    usd_per_gpu_hour Decimal(18, 8) COMMENT 'Index, USD per GPU-hour' CODEC(Delta, ZSTD(1)),
    p10_usd_per_gpu_hour Decimal(18, 8) COMMENT '10th percentile of the sample, USD per GPU-hour; 0: not given' CODEC(Delta, ZSTD(1)),
    p90_usd_per_gpu_hour Decimal(18, 8) COMMENT '90th percentile of the sample, USD per GPU-hour; 0: not given' CODEC(Delta, ZSTD(1)),
    dispersion Nullable(Float64) COMMENT 'Interquartile range over median, a ratio; NULL: too few offers, or not given' CODEC(ZSTD(1)),
    sample_offers UInt32 COMMENT 'Offers in the sample' CODEC(T64, ZSTD(1)),
    sample_gpus UInt32 COMMENT 'GPUs in the sample' CODEC(T64, ZSTD(1)),
    sample_hosts UInt32 COMMENT 'Hosts in the sample' CODEC(T64, ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (gpu, class, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Indices of GPU rental rates; gpu_rates_now has the last revision of each. Stream RATES';
