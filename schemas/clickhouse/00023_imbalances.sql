-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS imbalances
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time by the venue, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker' CODEC(ZSTD(1)),
    exchange LowCardinality(String) COMMENT 'Venue\'s code of the exchange; empty: not told' CODEC(ZSTD(1)),
    tape LowCardinality(String) COMMENT 'Consolidated tape' CODEC(ZSTD(1)),
    price_usd Decimal(18, 8) COMMENT 'Reference or indicative price, USD per share; 0: not told' CODEC(Delta, ZSTD(1)),
    imbalance_shares Decimal(18, 8) COMMENT 'Shares without a counterpart, below 0: more to sell; 0: balanced, or not told' CODEC(ZSTD(1)),
    paired_shares Decimal(18, 8) COMMENT 'Shares that would trade; 0: none, or not told' CODEC(ZSTD(1)),
    clearing_price_usd Decimal(18, 8) COMMENT 'Price at which the book would clear, USD per share; 0: not told' CODEC(Delta, ZSTD(1)),
    auction LowCardinality(String) COMMENT 'Venue\'s code of the auction' CODEC(ZSTD(1)),
    auction_time LowCardinality(String) COMMENT 'New York wall clock of the auction as the venue writes it' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (symbol, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Order imbalances before auctions. Stream HALTS';
