-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS btc_fees
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time of the report, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    fastest_sat_per_vb Decimal(18, 8) COMMENT 'For the next block, satoshi per virtual byte' CODEC(Delta, ZSTD(1)),
    half_hour_sat_per_vb Decimal(18, 8) COMMENT 'For half an hour, satoshi per virtual byte' CODEC(Delta, ZSTD(1)),
    hour_sat_per_vb Decimal(18, 8) COMMENT 'For an hour, satoshi per virtual byte' CODEC(Delta, ZSTD(1)),
    economy_sat_per_vb Decimal(18, 8) COMMENT 'Economical, satoshi per virtual byte' CODEC(Delta, ZSTD(1)),
    minimum_sat_per_vb Decimal(18, 8) COMMENT 'Minimum to be relayed, satoshi per virtual byte' CODEC(Delta, ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (source, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Recommended fee rates of the mempool. Stream NETWORK';
