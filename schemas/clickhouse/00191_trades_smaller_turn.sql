-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades
    DROP COLUMN IF EXISTS recv_time_before,
    DROP COLUMN IF EXISTS stream_time_before,
    DROP COLUMN IF EXISTS trade_id_before,
    DROP COLUMN IF EXISTS conditions_before,
    RENAME COLUMN recv_time TO recv_time_before,
    RENAME COLUMN stream_time TO stream_time_before,
    RENAME COLUMN trade_id TO trade_id_before,
    RENAME COLUMN conditions TO conditions_before,
    MODIFY COLUMN recv_to_stream_ns Int64 DEFAULT 0,
    MODIFY COLUMN stream_after_event_ns Int64 DEFAULT 0,
    MODIFY COLUMN trade_number UInt64 DEFAULT 0,
    MODIFY COLUMN trade_text String DEFAULT '',
    MODIFY COLUMN condition_codes LowCardinality(String) DEFAULT '',
    ADD COLUMN recv_time DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 + stream_after_event_ns - recv_to_stream_ns, 'UTC')
        COMMENT 'When our process had the whole frame in hand, UTC; computed' AFTER event_time,
    ADD COLUMN stream_time DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 + stream_after_event_ns, 'UTC')
        COMMENT 'When JetStream stored the message, UTC; what was known at a moment is what has a stream_time up to it; computed' AFTER recv_to_stream_ns,
    ADD COLUMN trade_id String ALIAS if(trade_number = 0, trade_text, toString(trade_number))
        COMMENT 'Venue\'s id; unique per symbol, exchange and trade date only; computed' AFTER symbol,
    ADD COLUMN conditions Array(String) ALIAS arrayMap(x -> decodeURLComponent(x), arrayPopBack(splitByChar(',', condition_codes)))
        COMMENT 'Venue\'s sale condition codes; computed' AFTER size_shares,
    MODIFY COLUMN stream_seq CODEC(Delta, T64, ZSTD(1)),
    MODIFY COLUMN idx CODEC(T64, ZSTD(1)),
    MODIFY COLUMN price_usd CODEC(GCD, Delta, ZSTD(1)),
    MODIFY COLUMN size_shares CODEC(GCD, T64, ZSTD(1))
    SETTINGS alter_sync = 2, mutations_sync = 2;
