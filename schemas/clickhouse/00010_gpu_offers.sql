-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS gpu_offers
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time of the poll, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    action Enum8('opened' = 1, 'changed' = 2, 'closed' = 3) COMMENT 'What happened since the poll before' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'Marketplace' CODEC(ZSTD(1)),
    offer_id String COMMENT 'Provider\'s id of the offer' CODEC(ZSTD(1)),
    host_id String COMMENT 'Provider\'s id of the host' CODEC(ZSTD(1)),
    machine_id String COMMENT 'Provider\'s id of the machine' CODEC(ZSTD(1)),
    gpu LowCardinality(String) COMMENT 'Normalised model with its form factor, such as h100-sxm' CODEC(ZSTD(1)),
    gpu_name LowCardinality(String) COMMENT 'Provider\'s own name of the model' CODEC(ZSTD(1)),
    gpu_count UInt32 COMMENT 'GPUs in the offer' CODEC(T64, ZSTD(1)),
    gpu_memory_mib UInt32 COMMENT 'Memory of one GPU, MiB' CODEC(T64, ZSTD(1)),
    class LowCardinality(String) COMMENT 'on-demand, interruptible or reserved' CODEC(ZSTD(1)),
    usd_per_gpu_hour Decimal(18, 8) COMMENT 'Price of one GPU, USD per hour' CODEC(Delta, ZSTD(1)),
    raw_price Decimal(18, 8) COMMENT 'Price that the provider quoted, in raw_unit' CODEC(Delta, ZSTD(1)),
    raw_unit LowCardinality(String) COMMENT 'Unit of raw_price, such as USD/instance-hour' CODEC(ZSTD(1)),
    region LowCardinality(String) COMMENT 'Region as the provider names it' CODEC(ZSTD(1)),
    verified Bool COMMENT 'Provider has verified the host' CODEC(ZSTD(1)),
    rentable Bool COMMENT 'Can be rented now' CODEC(ZSTD(1)),
    reliability Nullable(Float64) COMMENT 'Provider\'s score, 0 to 1; NULL: not given' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
PARTITION BY toYear(event_time)
ORDER BY (provider, gpu, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Offers of GPUs on marketplaces as they open, change and close between polls; offers_open has those that are open. Stream OFFERS';
