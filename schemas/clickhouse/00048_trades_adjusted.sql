-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS trades_adjusted AS
WITH
    toDate(event_time + INTERVAL 3 HOUR, 'America/New_York') AS day,
    arrayFirst(x -> x.3 <= day AND day < x.4, factors) AS found,
    if(empty(arrayFilter(x -> x.3 <= day AND day < x.4, factors)),
        (toDecimal256(1, 30), toDecimal256(1, 30), toDecimal256(1, 30)), (found.1, found.2, found.5)) AS f
SELECT
    t.symbol AS symbol,
    t.event_time AS event_time,
    t.source AS source,
    day AS price_date,
    t.stream_seq AS stream_seq,
    t.idx AS idx,
    t.action AS action,
    t.trade_id AS trade_id,
    t.exchange AS exchange,
    t.conditions AS conditions,
    t.price_usd AS price_usd,
    t.size_shares AS size_shares,
    f.1 AS split_factor,
    f.2 AS total_factor,
    CAST(round(price_usd * f.1, 8), 'Decimal(38, 8)') AS price_split_usd,
    CAST(round(price_usd * f.2, 8), 'Decimal(38, 8)') AS price_total_usd,
    CAST(round(size_shares * f.3, 8), 'Decimal(38, 8)') AS size_split_shares
FROM trades AS t
LEFT JOIN
(
    SELECT symbol, groupArray((split_factor, total_factor, from_date, to_date, volume_factor)) AS factors
    FROM adjustment_factors_now
    WHERE as_of_from <= toDate(now(), 'America/New_York') AND toDate(now(), 'America/New_York') < as_of_to
    GROUP BY symbol
) AS a ON a.symbol = t.symbol
COMMENT 'trades with prices adjusted for splits, and for splits and distributions, as of today; every report of each print, as in trades';
