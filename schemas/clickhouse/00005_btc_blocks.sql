-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS btc_blocks
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time in the block\'s header, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    height UInt64 COMMENT 'Height, blocks since genesis' CODEC(Delta, ZSTD(1)),
    hash String COMMENT 'Hash of the block, hexadecimal' CODEC(ZSTD(1)),
    previous_hash String COMMENT 'Hash of the block before, hexadecimal' CODEC(ZSTD(1)),
    difficulty Decimal(38, 19) COMMENT 'Difficulty, ratio to the easiest' CODEC(ZSTD(1)),
    subsidy_sat Int64 COMMENT 'Subsidy, satoshi' CODEC(Delta, ZSTD(1)),
    fees_sat Int64 COMMENT 'Sum of fees, satoshi' CODEC(Delta, ZSTD(1)),
    reward_sat Int64 COMMENT 'subsidy_sat + fees_sat, satoshi' CODEC(Delta, ZSTD(1)),
    tx_count UInt32 COMMENT 'Number of transactions' CODEC(T64, ZSTD(1)),
    size_bytes UInt32 COMMENT 'Size, bytes' CODEC(T64, ZSTD(1)),
    weight_units UInt32 COMMENT 'Weight, weight units' CODEC(T64, ZSTD(1)),
    pool LowCardinality(String) COMMENT 'Mining pool as the source names it' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (source, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Bitcoin blocks; a reorganised height comes again with a greater rev and another hash. Stream NETWORK';
