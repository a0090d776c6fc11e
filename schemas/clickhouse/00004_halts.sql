-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS halts
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time of the status by the venue, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    kind Enum8('status' = 1, 'luld' = 2) COMMENT 'status: trading status. luld: price band' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker' CODEC(ZSTD(1)),
    status_code LowCardinality(String) COMMENT 'Venue\'s status code' CODEC(ZSTD(1)),
    status_text LowCardinality(String) COMMENT 'Venue\'s words for it' CODEC(ZSTD(1)),
    reason_code LowCardinality(String) COMMENT 'Venue\'s reason code' CODEC(ZSTD(1)),
    reason_text LowCardinality(String) COMMENT 'Venue\'s words for it' CODEC(ZSTD(1)),
    tape LowCardinality(String) COMMENT 'Consolidated tape: A, B or C' CODEC(ZSTD(1)),
    limit_up_usd Decimal(18, 8) COMMENT 'luld: upper band, USD per share; otherwise 0' CODEC(Delta, ZSTD(1)),
    limit_down_usd Decimal(18, 8) COMMENT 'luld: lower band, USD per share; otherwise 0' CODEC(Delta, ZSTD(1)),
    indicator LowCardinality(String) COMMENT 'luld: venue\'s indicator' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (symbol, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Trading status (halts, pauses, resumptions) and limit-up limit-down bands. Stream HALTS';
