-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades
    ADD COLUMN IF NOT EXISTS recv_to_stream_ns Int64 DEFAULT toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time)
        COMMENT 'Nanoseconds from recv_time, which is computed from it, to stream_time' CODEC(ZSTD(1)) AFTER recv_time,
    ADD COLUMN IF NOT EXISTS trade_number UInt64 DEFAULT if(toString(toUInt64OrZero(trade_id)) = trade_id, toUInt64OrZero(trade_id), 0)
        COMMENT 'trade_id, which is computed from it, where that is a number above 0 as it is written; 0: see trade_text' CODEC(Delta, T64, ZSTD(1)) AFTER trade_id,
    ADD COLUMN IF NOT EXISTS trade_text String DEFAULT if(trade_number = 0, trade_id, '')
        COMMENT 'trade_id where it is no such number; otherwise empty' CODEC(ZSTD(1)) AFTER trade_number;
