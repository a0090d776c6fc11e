-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS bars
(
    event_time DateTime64(9, 'UTC') COMMENT 'Start of the bar, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    symbol LowCardinality(String) COMMENT 'Ticker, or a pair such as BTC-USD' CODEC(ZSTD(1)),
    interval LowCardinality(String) COMMENT 'Length: 1s, 1m, 1h, 1d' CODEC(ZSTD(1)),
    open_usd Decimal(18, 8) COMMENT 'Open, USD' CODEC(Delta, ZSTD(1)),
    high_usd Decimal(18, 8) COMMENT 'High, USD' CODEC(Delta, ZSTD(1)),
    low_usd Decimal(18, 8) COMMENT 'Low, USD' CODEC(Delta, ZSTD(1)),
    close_usd Decimal(18, 8) COMMENT 'Close, USD' CODEC(Delta, ZSTD(1)),
    volume Decimal(18, 8) COMMENT 'Volume in units of the symbol (shares, BTC); 0 with trade_count 0: not given' CODEC(ZSTD(1)),
    vwap_usd Decimal(18, 8) COMMENT 'Volume-weighted average price, USD; 0: not given' CODEC(Delta, ZSTD(1)),
    trade_count UInt64 COMMENT 'Number of trades; 0: not given' CODEC(T64, ZSTD(1)),
    final Bool COMMENT 'The session is closed: only a correction changes the bar' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (symbol, interval, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Bars of every interval with every revision; bars_now has the last of each. Stream BARS';
