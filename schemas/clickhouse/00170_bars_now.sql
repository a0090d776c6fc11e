-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW bars_now AS
SELECT
    symbol,
    interval,
    event_time,
    source,
    session,
    last.1 AS recv_time,
    last.2 AS stream_time,
    last.3 AS stream_seq,
    last.4 AS idx,
    last.5 AS rev,
    last.6 AS backfill,
    last.7 AS open_usd,
    last.8 AS high_usd,
    last.9 AS low_usd,
    last.10 AS close_usd,
    last.11 AS volume,
    last.12 AS vwap_usd,
    last.13 AS trade_count,
    last.14 AS final,
    last.15 AS trade_date,
    last.16 AS method
FROM
(
    SELECT
        symbol, interval, event_time, source, session,
        argMax(
            (recv_time, stream_time, stream_seq, idx, rev, backfill, open_usd, high_usd, low_usd, close_usd, volume,
            vwap_usd, trade_count, final, trade_date, method),
            (rev, stream_time, stream_seq, idx)) AS last
    FROM bars
    GROUP BY symbol, interval, event_time, source, session
)
COMMENT 'bars, the last revision of each';
