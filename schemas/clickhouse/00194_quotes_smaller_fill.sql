-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    UPDATE recv_to_stream_ns = toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time) WHERE 1
    SETTINGS mutations_sync = 2;
