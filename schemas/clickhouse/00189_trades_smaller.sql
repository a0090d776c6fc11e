-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades
    ADD COLUMN IF NOT EXISTS recv_to_stream_ns Int64 DEFAULT toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time)
        COMMENT 'Nanoseconds from recv_time, which is computed from it, to stream_time' CODEC(GCD, ZSTD(1)) AFTER recv_time,
    ADD COLUMN IF NOT EXISTS stream_after_event_ns Int64 DEFAULT toUnixTimestamp64Nano(stream_time) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000
        COMMENT 'Nanoseconds from the microsecond of event_time to stream_time, which is computed from it' CODEC(GCD, ZSTD(1)) AFTER stream_time,
    ADD COLUMN IF NOT EXISTS trade_number UInt64 DEFAULT if(toString(toUInt64OrZero(trade_id)) = trade_id, toUInt64OrZero(trade_id), 0)
        COMMENT 'trade_id, which is computed from it, where that is a number above 0 as it is written; 0: see trade_text' CODEC(Delta, T64, ZSTD(1)) AFTER trade_id,
    ADD COLUMN IF NOT EXISTS trade_text String DEFAULT if(trade_number = 0, trade_id, '')
        COMMENT 'trade_id where it is no such number; otherwise empty' CODEC(ZSTD(1)) AFTER trade_number,
    ADD COLUMN IF NOT EXISTS condition_codes LowCardinality(String) DEFAULT arrayStringConcat(arrayMap(x -> concat(replaceAll(replaceAll(x, '%', '%25'), ',', '%2C'), ','), conditions))
        COMMENT 'conditions, which are computed from it: each with a comma behind it, and %25 and %2C for a percent sign and a comma of its own' CODEC(ZSTD(1)) AFTER conditions;
