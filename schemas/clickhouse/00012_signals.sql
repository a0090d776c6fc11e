-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS signals
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time that the value is for, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    name LowCardinality(String) COMMENT 'Name of the signal' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker; - where the signal is of none' CODEC(ZSTD(1)),
    value Decimal(38, 19) COMMENT 'Value, in unit' CODEC(ZSTD(1)),
    unit LowCardinality(String) COMMENT 'Unit of value' CODEC(ZSTD(1)),
    inputs Map(LowCardinality(String), String) COMMENT 'Inputs by name, as decimal text' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (name, symbol, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Derived values with their inputs. Stream SIGNALS';
