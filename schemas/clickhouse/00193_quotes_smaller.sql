-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    ADD COLUMN IF NOT EXISTS recv_to_stream_ns Int64 DEFAULT toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time)
        COMMENT 'Nanoseconds from recv_time, which is computed from it, to stream_time' CODEC(ZSTD(1)) AFTER recv_time;
