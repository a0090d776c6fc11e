-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    DROP COLUMN IF EXISTS recv_time_before,
    RENAME COLUMN recv_time TO recv_time_before,
    MODIFY COLUMN recv_to_stream_ns Int64 DEFAULT 0,
    ADD COLUMN recv_time DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(toUnixTimestamp64Nano(stream_time) - recv_to_stream_ns, 'UTC')
        COMMENT 'When our process had the whole frame in hand, UTC; computed' AFTER event_time,
    MODIFY COLUMN stream_time CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN stream_seq CODEC(Delta, T64, ZSTD(1)),
    MODIFY COLUMN bid_price_usd CODEC(GCD, Delta, ZSTD(1)),
    MODIFY COLUMN ask_price_usd CODEC(GCD, Delta, ZSTD(1)),
    MODIFY COLUMN bid_size_shares CODEC(GCD, T64, ZSTD(1)),
    MODIFY COLUMN ask_size_shares CODEC(GCD, T64, ZSTD(1))
    SETTINGS alter_sync = 2, mutations_sync = 2;
