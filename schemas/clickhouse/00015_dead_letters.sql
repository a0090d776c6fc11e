-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS dead_letters
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time at which it was refused, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    dead_stream LowCardinality(String) COMMENT 'Stream whose message could not be landed, or UPSTREAM for a frame that was refused at the door' CODEC(ZSTD(1)),
    dead_created_s Int64 COMMENT 'Creation of that stream, seconds since 1970; 0 for UPSTREAM' CODEC(T64, ZSTD(1)),
    dead_seq UInt64 COMMENT 'Sequence in that stream; 0 for UPSTREAM' CODEC(Delta, ZSTD(1)),
    dead_idx Int32 COMMENT 'Index in that message; -1: all of it' CODEC(T64, ZSTD(1)),
    subject String COMMENT 'Subject of the message; for a frame what it was read from' CODEC(ZSTD(1)),
    reason LowCardinality(String) COMMENT 'Why, from a short list' CODEC(ZSTD(1)),
    detail String COMMENT 'Why, in words' CODEC(ZSTD(1)),
    payload String COMMENT 'The bytes, cut to 65536' CODEC(ZSTD(3)),
    payload_bytes UInt64 COMMENT 'Length of the whole, bytes' CODEC(Delta, ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (dead_stream, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What could not be understood or landed. Stream DEAD';
