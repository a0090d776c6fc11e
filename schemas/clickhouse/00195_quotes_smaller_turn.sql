-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    DROP COLUMN IF EXISTS recv_time_before,
    DROP COLUMN IF EXISTS stream_time_before,
    RENAME COLUMN recv_time TO recv_time_before,
    RENAME COLUMN stream_time TO stream_time_before,
    MODIFY COLUMN recv_to_stream_ns Int64 DEFAULT 0,
    MODIFY COLUMN stream_after_event_ns Int64 DEFAULT 0,
    ADD COLUMN recv_time DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 + stream_after_event_ns - recv_to_stream_ns, 'UTC')
        COMMENT 'When our process had the whole frame in hand, UTC; computed' AFTER event_time,
    ADD COLUMN stream_time DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 + stream_after_event_ns, 'UTC')
        COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it; computed' AFTER recv_to_stream_ns,
    MODIFY COLUMN stream_seq CODEC(Delta, T64, ZSTD(1)),
    MODIFY COLUMN bid_price_usd CODEC(GCD, Delta, ZSTD(1)),
    MODIFY COLUMN ask_price_usd CODEC(GCD, Delta, ZSTD(1)),
    MODIFY COLUMN bid_size_shares CODEC(GCD, T64, ZSTD(1)),
    MODIFY COLUMN ask_size_shares CODEC(GCD, T64, ZSTD(1))
    SETTINGS alter_sync = 2, mutations_sync = 2;
