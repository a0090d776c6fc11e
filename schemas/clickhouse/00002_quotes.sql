-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS quotes
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time of the quote by the venue, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker' CODEC(ZSTD(1)),
    bid_exchange LowCardinality(String) COMMENT 'Venue\'s code of the bid\'s exchange' CODEC(ZSTD(1)),
    ask_exchange LowCardinality(String) COMMENT 'Venue\'s code of the ask\'s exchange' CODEC(ZSTD(1)),
    bid_price_usd Decimal(18, 8) COMMENT 'Bid, USD per share; 0: no bid' CODEC(Delta, ZSTD(1)),
    ask_price_usd Decimal(18, 8) COMMENT 'Ask, USD per share; 0: no ask' CODEC(Delta, ZSTD(1)),
    bid_size_shares Decimal(18, 8) COMMENT 'Size at the bid, shares' CODEC(ZSTD(1)),
    ask_size_shares Decimal(18, 8) COMMENT 'Size at the ask, shares' CODEC(ZSTD(1)),
    conditions Array(LowCardinality(String)) COMMENT 'Venue\'s quote condition codes' CODEC(ZSTD(3)),
    tape LowCardinality(String) COMMENT 'Consolidated tape: A, B or C' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(event_time)
ORDER BY (symbol, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Best bid and offer of a feed, the NBBO on a consolidated one. Stream QUOTES';
