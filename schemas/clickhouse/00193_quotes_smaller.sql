-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    ADD COLUMN IF NOT EXISTS recv_to_stream_ns Int64 DEFAULT toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time)
        COMMENT 'Nanoseconds from recv_time, which is computed from it, to stream_time' CODEC(GCD, ZSTD(1)) AFTER recv_time,
    ADD COLUMN IF NOT EXISTS stream_after_event_ns Int64 DEFAULT toUnixTimestamp64Nano(stream_time) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000
        COMMENT 'Nanoseconds from the microsecond of event_time to stream_time, which is computed from it' CODEC(GCD, ZSTD(1)) AFTER stream_time;
