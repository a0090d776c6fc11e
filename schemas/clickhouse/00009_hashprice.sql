-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS hashprice
(
    event_time DateTime64(9, 'UTC') COMMENT 'Time that the hashprice is for, UTC' CODEC(Delta, ZSTD(1)),
    recv_time DateTime64(9, 'UTC') COMMENT 'When our process had the whole frame in hand, UTC' CODEC(ZSTD(1)),
    stream_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it' CODEC(ZSTD(1)),
    stream_seq UInt64 COMMENT 'Sequence of the message in its stream; with idx the cursor of the row' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Upstream that said so; generated data begins with sim-, replayed recordings with rec-' CODEC(ZSTD(1)),
    rev UInt32 COMMENT '0 for a first report, greater for each later report of the same fact; the greatest is what is true now' CODEC(T64, ZSTD(1)),
    backfill Bool COMMENT 'Fetched from history instead of seen live' CODEC(ZSTD(1)),
    method LowCardinality(String) COMMENT 'Formula and inputs: tip144 (tip, fees of the last 144 blocks, live price) or daily (means of a whole UTC day)' CODEC(ZSTD(1)),
    height UInt64 COMMENT 'Height of the tip' CODEC(Delta, ZSTD(1)),
    difficulty Decimal(38, 19) COMMENT 'Difficulty, ratio to the easiest' CODEC(ZSTD(1)),
    subsidy_sat Int64 COMMENT 'Subsidy, satoshi per block' CODEC(Delta, ZSTD(1)),
    mean_fees_sat Decimal(38, 19) COMMENT 'Mean fees, satoshi per block, over fee_window_blocks' CODEC(ZSTD(1)),
    fee_window_blocks UInt32 COMMENT 'Blocks that the fees are averaged over' CODEC(T64, ZSTD(1)),
    btc_usd Decimal(18, 8) COMMENT 'Price of bitcoin, USD per BTC' CODEC(Delta, ZSTD(1)),
    btc_usd_source LowCardinality(String) COMMENT 'Source of btc_usd' CODEC(ZSTD(1)),
    btc_usd_age_ms Int64 COMMENT 'Age of btc_usd when the hashprice was computed, milliseconds' CODEC(Delta, ZSTD(1)),
    hashprice_btc Decimal(38, 19) COMMENT 'Hashprice, BTC per PH/s per day' CODEC(ZSTD(1)),
    hashprice_sat Decimal(38, 19) COMMENT 'Hashprice, satoshi per PH/s per day' CODEC(ZSTD(1)),
    hashprice_usd Decimal(38, 19) COMMENT 'Hashprice, USD per PH/s per day' CODEC(ZSTD(1)),
    network_ehs Decimal(38, 19) COMMENT 'Hashrate that the difficulty implies, EH/s' CODEC(ZSTD(1)),
    INDEX seq_range stream_seq TYPE minmax GRANULARITY 16
)
ENGINE = MergeTree
ORDER BY (method, event_time, stream_seq, idx)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Expected income of one PH/s for one day with everything that it was computed from; hashprice_now has the last revision of each. Stream HASHPRICE';
