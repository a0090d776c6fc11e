-- +goose NO TRANSACTION
-- +goose Up
-- What each symbol printed on each day, kept beside each part: the last print is found without reading the others. A print's place in time is its event_time, message and index as
-- one number, of which the greater is told in an instant; a message is at most 1 MiB and has fewer than 65,536 events. A view that is to read this has the expressions as they are here.
ALTER TABLE trades
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT
            toDate(event_time), symbol, source, action, count(),
            max(bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))),
            argMax(price_usd, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))),
            argMax(size_shares, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))),
            argMax(exchange, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx)))
        GROUP BY toDate(event_time), symbol, source, action
    )
    SETTINGS alter_sync = 2;
