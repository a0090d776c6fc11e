-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS bars_adjusted_as_of AS
WITH
    if(trade_date != '', toDate(trade_date), toDate(event_time + if(interval = '1d', INTERVAL 0 HOUR, INTERVAL 3 HOUR), 'America/New_York')) AS day,
    arrayFirst(x -> x.3 <= day AND day < x.4, factors) AS found,
    if(empty(arrayFilter(x -> x.3 <= day AND day < x.4, factors)),
        (toDecimal256(1, 30), toDecimal256(1, 30), toDecimal256(1, 30)), (found.1, found.2, found.5)) AS f
SELECT
    b.symbol AS symbol,
    b.interval AS interval,
    b.event_time AS event_time,
    b.source AS source,
    b.session AS session,
    day AS price_date,
    b.rev AS rev,
    b.final AS final,
    b.method AS method,
    b.open_usd AS open_usd,
    b.high_usd AS high_usd,
    b.low_usd AS low_usd,
    b.close_usd AS close_usd,
    b.vwap_usd AS vwap_usd,
    b.volume AS volume,
    b.trade_count AS trade_count,
    f.1 AS split_factor,
    f.2 AS total_factor,
    CAST(round(open_usd * f.1, 8), 'Decimal(38, 8)') AS open_split_usd,
    CAST(round(high_usd * f.1, 8), 'Decimal(38, 8)') AS high_split_usd,
    CAST(round(low_usd * f.1, 8), 'Decimal(38, 8)') AS low_split_usd,
    CAST(round(close_usd * f.1, 8), 'Decimal(38, 8)') AS close_split_usd,
    CAST(round(vwap_usd * f.1, 8), 'Decimal(38, 8)') AS vwap_split_usd,
    CAST(round(open_usd * f.2, 8), 'Decimal(38, 8)') AS open_total_usd,
    CAST(round(high_usd * f.2, 8), 'Decimal(38, 8)') AS high_total_usd,
    CAST(round(low_usd * f.2, 8), 'Decimal(38, 8)') AS low_total_usd,
    CAST(round(close_usd * f.2, 8), 'Decimal(38, 8)') AS close_total_usd,
    CAST(round(vwap_usd * f.2, 8), 'Decimal(38, 8)') AS vwap_total_usd,
    CAST(round(volume * f.3, 8), 'Decimal(38, 8)') AS volume_split
FROM bars_now AS b
LEFT JOIN
(
    SELECT symbol, groupArray((split_factor, total_factor, from_date, to_date, volume_factor)) AS factors
    FROM adjustment_factors_now
    WHERE as_of_from <= {as_of:Date} AND {as_of:Date} < as_of_to
    GROUP BY symbol
) AS a ON a.symbol = b.symbol
COMMENT 'bars_adjusted as of a date: SELECT ... FROM bars_adjusted_as_of(as_of = \'2026-11-20\')';
