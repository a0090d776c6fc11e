-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS feed_gaps
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time of the change, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    gap_id String COMMENT 'Name of the gap within its source' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker; * for all of the feed\'s' CODEC(ZSTD(1)),
    from_time Nullable(DateTime64(9, 'UTC')) COMMENT 'Begin of what was missed, event time, UTC; NULL: unknown' CODEC(ZSTD(1)),
    to_time Nullable(DateTime64(9, 'UTC')) COMMENT 'End of what was missed, event time, UTC; NULL: still open-ended' CODEC(ZSTD(1)),
    reason String COMMENT 'Why the gap opened, or was given up' CODEC(ZSTD(1)),
    state LowCardinality(String) COMMENT 'open, filled, partly or given_up' CODEC(ZSTD(1)),
    recovered UInt64 COMMENT 'Events that backfill brought' CODEC(Delta, ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (source, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'The gap ledger: what was missed, every state of every gap; feed_gaps_now has the last of each. Stream FEEDS';
