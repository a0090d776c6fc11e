-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS trades
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time of the print by the venue, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    action Enum8('trade' = 1, 'correction' = 2, 'cancel' = 3) COMMENT 'trade: a print. correction: price_usd, size_shares and conditions are the corrected values, original_* what they replace. cancel: of the print trade_id' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker' CODEC(ZSTD(1)),
    trade_id String COMMENT 'Venue\'s id; unique per symbol, exchange and trade date only' CODEC(ZSTD(1)),
    exchange LowCardinality(String) COMMENT 'Venue\'s code of the exchange' CODEC(ZSTD(1)),
    tape LowCardinality(String) COMMENT 'Consolidated tape: A, B or C' CODEC(ZSTD(1)),
    price_usd Decimal(18, 8) COMMENT 'Price, USD per share' CODEC(Delta, ZSTD(1)),
    size_shares Decimal(18, 8) COMMENT 'Size, shares; may be fractional' CODEC(ZSTD(1)),
    conditions Array(LowCardinality(String)) COMMENT 'Venue\'s sale condition codes' CODEC(ZSTD(3)),
    original_trade_id String COMMENT 'Corrections: id of the print that is replaced' CODEC(ZSTD(1)),
    original_price_usd Decimal(18, 8) COMMENT 'Corrections: price that is replaced, USD per share; otherwise 0' CODEC(Delta, ZSTD(1)),
    original_size_shares Decimal(18, 8) COMMENT 'Corrections: size that is replaced, shares; otherwise 0' CODEC(ZSTD(1)),
    cancel_code LowCardinality(String) COMMENT 'Cancels: venue\'s code' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(event_time)
ORDER BY (symbol, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Trades of equities with their corrections and cancels, every report of each. Stream TRADES';
