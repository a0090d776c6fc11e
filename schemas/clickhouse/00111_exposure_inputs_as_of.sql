-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS exposure_inputs_as_of AS
WITH
    toInt256('10000000000000000000') AS e19,
    toInt256('1000000000000000000000000000000') AS e30,
    toInt256('10000000000') AS e10,
    toInt256(100000000) AS e8,
    (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')}) AS actions,
    arrayFirst(x -> x.1 <= prev_day AND prev_day < x.2 AND x.3 <= day AND day < x.4, factors) AS found,
    if(found.2 = toDate(0), toDecimal256(1, 30), found.5) AS prev_factor,
    arrayFirst(x -> arrayExists(y -> y.1 = x.1, levels_before), levels) AS picked,
    arrayFirst(y -> y.1 = picked.1, levels_before) AS picked_before,
    toInt256(toDecimal256(close_usd, 8) * e8) * e30 AS price,
    toInt256(toDecimal256(prev_close_usd, 8) * e8) * toInt256(prev_factor * e30) AS price_before,
    price < 100 * price_before AND price_before < 100 * price AND actions != '' AS moved,
    picked.1 > 0 AND picked.3 < 100 * picked_before.3 AND picked_before.3 < 100 * picked.3 AS factor_moved
SELECT
    mark, symbol, day, prev_day, factor,
    close_usd, close_source, close_time, close_rev, final, prev_close_usd, prev_factor,
    if(picked.1 > 0, picked.2, '') AS method,
    if(picked.1 > 0, CAST(toDecimal256(picked.3, 19) / e19, 'Nullable(Decimal(38, 19))'), NULL) AS level_usd,
    if(picked.1 > 0, CAST(picked.4, 'Nullable(DateTime64(9, \'UTC\'))'), NULL) AS level_time,
    if(picked.1 > 0, CAST(picked.5, 'Nullable(UInt32)'), NULL) AS level_rev,
    if(picked.1 > 0, CAST(toDecimal256(picked_before.3, 19) / e19, 'Nullable(Decimal(38, 19))'), NULL) AS prev_level_usd,
    CAST(toDecimal256(if(moved, intDiv(2 * price * e10 + price_before, 2 * price_before) - e10, NULL), 10) / e10, 'Nullable(Decimal(38, 10))') AS return_1d,
    CAST(toDecimal256(if(factor_moved, intDiv(2 * picked.3 * e10 + picked_before.3, 2 * nullIf(picked_before.3, 0)) - e10, NULL), 10) / e10, 'Nullable(Decimal(38, 10))') AS factor_return_1d,
    multiIf(
        actions = '', 'corporate actions not loaded', NOT moved, 'price moved hundredfold', empty(levels), 'no level of the day',
        empty(levels_before), 'no level of the trade day before', picked.1 = 0, 'no method of both days', NOT factor_moved, 'factor moved hundredfold', '') AS reason
FROM
(
    SELECT s.mark AS mark, s.symbol AS symbol, s.day AS day, s.prev_day AS prev_day, s.factor AS factor, s.close_usd AS close_usd, s.close_source AS close_source,
        s.close_time AS close_time, s.close_rev AS close_rev, s.final AS final, s.prev_close_usd AS prev_close_usd, a.factors AS factors,
        l.levels AS levels, b.levels AS levels_before
    FROM
    (
        SELECT
            mark, symbol, day, lagInFrame(day) OVER w AS prev_day, best.1 AS close_usd, best.2 AS close_time, best.3 AS close_rev, best.4 AS final,
            best.6 AS close_source, lagInFrame(best.1) OVER w AS prev_close_usd, arrayJoin(['hashprice', 'btc', 'gpu']) AS factor
        FROM
        (
            SELECT mark, symbol, day, argMin((last.1, last.2, last.3, last.4, last.5, bar_source), rank) AS best
            FROM
            (
                SELECT
                    multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, symbol, source AS bar_source,
                    if(trade_date != '', toDate(trade_date), toDate(bars.event_time, 'America/New_York')) AS day,
                    argMax((bars.close_usd, bars.event_time, bars.rev, bars.final, bars.trade_count), (bars.event_time, rev, stream_seq, idx)) AS last,
                    (indexOf(['alpaca', 'massive', 'finnhub', 'alpaca-prints', 'massive-prints', 'finnhub-prints', substring(source, length(mark) + 1)], substring(source, length(mark) + 1)), source) AS rank
                FROM bars
                WHERE interval = '1d' AND session = '' AND position(symbol, '-') = 0 AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY mark, symbol, source, day
            )
            WHERE last.1 > 0 AND NOT (endsWith(bar_source, '-prints') AND last.5 = 0)
            GROUP BY mark, symbol, day
        )
        WINDOW w AS (PARTITION BY mark, symbol ORDER BY day ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ) AS s
    LEFT JOIN
    (
        SELECT symbol, groupArray((from_date, to_date, as_of_from, as_of_to, total_factor)) AS factors
        FROM
        (
            SELECT DISTINCT symbol, from_date, to_date, as_of_from, as_of_to, total_factor
            FROM adjustment_factors
            WHERE version = (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
        )
        GROUP BY symbol
    ) AS a ON a.symbol = s.symbol
    LEFT JOIN exposure_levels_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) AS l ON l.mark = s.mark AND l.factor = s.factor AND l.day = s.day
    LEFT JOIN exposure_levels_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) AS b ON b.mark = s.mark AND b.factor = s.factor AND b.day = s.prev_day
    WHERE s.prev_day > toDate(0)
)
COMMENT 'exposure_inputs as it was known at a moment: SELECT ... FROM exposure_inputs_as_of(as_of = \'2026-11-20 00:00:00\')';
