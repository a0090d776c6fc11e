-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    UPDATE
        recv_to_stream_ns = toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time),
        stream_after_event_ns = toUnixTimestamp64Nano(stream_time) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000
    WHERE 1
    SETTINGS mutations_sync = 2;
