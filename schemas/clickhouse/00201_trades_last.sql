-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW trades_last AS
SELECT
    symbol, source, fromUnixTimestamp64Nano(toInt64(bitShiftRight(place, 64)), 'UTC') AS event_time, last_price AS price_usd, last_size AS size_shares, last_exchange AS exchange,
    toUInt64(bitShiftRight(bitAnd(place, toUInt128('18446744073709551615')), 16)) AS stream_seq, toUInt32(bitAnd(place, toUInt128(65535))) AS idx
FROM
(
    SELECT
        symbol, source,
        max(bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))) AS place,
        argMax(price_usd, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))) AS last_price,
        argMax(size_shares, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))) AS last_size,
        argMax(exchange, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(event_time)), 64), toUInt128(stream_seq * 65536 + idx))) AS last_exchange
    FROM trades
    WHERE action = 'trade' AND toDate(event_time) >= toDate(greatest(0, toInt32(toDate((SELECT max(event_time) FROM trades))) - {days:UInt16})) -- a day before 1970 would be one of 2149
    GROUP BY symbol, source
)
COMMENT 'The last print of each symbol and source, by event_time, then by its place in the stream, of the newest print\'s UTC day and so many days before it, from what is kept of each day; a cancel or correction of it takes nothing away. SELECT ... FROM trades_last(days = 3)';
