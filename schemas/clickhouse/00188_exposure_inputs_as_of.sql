-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW exposure_inputs_as_of AS
SELECT
    mark, symbol, day, prev_day, factor,
    close_usd, close_source, close_time, close_rev, final, prev_close_usd, adjusted, prev_factor, method,
    if(rank > 0, CAST(toDecimal256(level, 19) / toInt256('10000000000000000000'), 'Nullable(Decimal(38, 19))'), NULL) AS level_usd,
    if(rank > 0, CAST(level_at, 'Nullable(DateTime64(9, \'UTC\'))'), NULL) AS level_time,
    if(rank > 0, CAST(level_revision, 'Nullable(UInt32)'), NULL) AS level_rev,
    if(rank > 0, CAST(toDecimal256(level_before, 19) / toInt256('10000000000000000000'), 'Nullable(Decimal(38, 19))'), NULL) AS prev_level_usd,
    CAST(toDecimal256(return_e10, 10) / toInt256('10000000000'), 'Nullable(Decimal(38, 10))') AS return_1d,
    CAST(toDecimal256(factor_return_e10, 10) / toInt256('10000000000'), 'Nullable(Decimal(38, 10))') AS factor_return_1d,
    multiIf(
        unlisted, 'no list of corporate actions was loaded by then', other, 'prices are of another adjustment', NOT near, 'price moved hundredfold',
        no_level, 'no level of the day', no_level_before, 'no level of the trade day before', rank = 0, 'no method of both days',
        NOT factor_moved, 'factor moved hundredfold', '') AS reason
FROM
(
    SELECT
        mark, symbol, day, prev_day, factor, close_usd, close_source, close_time, close_rev, final, prev_close_usd, adjusted, prev_factor, no_level, no_level_before, unlisted, other, rank, method, level, level_at, level_revision, level_before,
        price < 100 * price_before AND price_before < 100 * price AS near, NOT unlisted AND NOT other AND near AS moved,
        rank > 0 AND level < 100 * level_before AND level_before < 100 * level AS factor_moved,
        if(moved, intDiv(2 * price * toInt256('10000000000') + price_before, 2 * nullIf(price_before, 0)) - toInt256('10000000000'), NULL) AS return_e10,
        if(factor_moved, intDiv(2 * level * toInt256('10000000000') + level_before, 2 * nullIf(level_before, 0)) - toInt256('10000000000'), NULL) AS factor_return_e10
    FROM
    (
        SELECT
            mark, symbol, day, prev_day, factor, close_usd, close_source, close_time, close_rev, final, prev_close_usd, adjusted, prev_factor, no_level, no_level_before, unlisted, other, picked.1 AS rank,
            if(rank > 0, picked.2, '') AS method, picked.3 AS level, picked.4 AS level_at, picked.5 AS level_revision, picked_before.3 AS level_before,
            toInt256(toDecimal256(close_usd, 8) * 100000000) * toInt256(split_already * toInt256('1000000000000000000000000000000')) AS price,
            toInt256(toDecimal256(prev_close_usd, 8) * 100000000) * toInt256(prev_factor * toInt256('1000000000000000000000000000000')) AS price_before
        FROM
        (
            SELECT
                mark, symbol, day, prev_day, factor, close_usd, close_source, close_time, close_rev, final, prev_close_usd, adjusted, empty(levels) AS no_level, empty(levels_before) AS no_level_before, picked, unlisted, adjusted != prev_adjusted AS other,
                arrayFirst(y -> y.1 = picked.1, levels_before) AS picked_before,
                if(found.2 = toDate(0) OR adjusted = 'total', toDecimal256(1, 30), found.6) AS prev_factor,
                if(found.2 = toDate(0) OR adjusted != 'split', toDecimal256(1, 30), found.5) AS split_already
            FROM
            (
                SELECT
                    mark, symbol, day, prev_day, factor, close_usd, close_source, close_time, close_rev, final, prev_close_usd, adjusted, prev_adjusted, levels, levels_before,
                    arrayFirst(x -> x.1 <= prev_day AND prev_day < x.2 AND x.3 <= day AND day < x.4, factors) AS found,
                    arrayFirst(x -> arrayExists(y -> y.1 = x.1, levels_before), levels) AS picked,
                    adjusted != 'total' AND (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')}) = '' AS unlisted
                FROM
                (
                    SELECT s.mark AS mark, s.symbol AS symbol, s.day AS day, s.prev_day AS prev_day, s.factor AS factor, s.close_usd AS close_usd, s.close_source AS close_source,
                        s.close_time AS close_time, s.close_rev AS close_rev, s.final AS final, s.prev_close_usd AS prev_close_usd, s.adjusted AS adjusted,
                        s.prev_adjusted AS prev_adjusted, a.factors AS factors, l.levels AS levels, b.levels AS levels_before
                    FROM
                    (
                        SELECT *, arrayJoin(['hashprice', 'btc', 'gpu']) AS factor
                        FROM
                        (
                            SELECT
                                mark, symbol, day, lagInFrame(day) OVER w AS prev_day, last.1 AS close_usd, last.2 AS close_time, last.3 AS close_rev, last.4 AS final,
                                bar_source AS close_source, lagInFrame(last.1) OVER w AS prev_close_usd,
                                multiIf(startsWith(bar_source, 'rec-alpaca'), 'total', startsWith(how, 'yahoo'), 'split', how != '', 'total', '') AS adjusted,
                                lagInFrame(adjusted) OVER w AS prev_adjusted
                            FROM
                            (
                                SELECT mark, symbol, day, bar_source, last, max(day) OVER (PARTITION BY mark, symbol) AS newest
                                FROM
                                (
                                    SELECT
                                        multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, symbol, source AS bar_source,
                                        if(trade_date != '', toDate(trade_date), toDate(bars.event_time, 'America/New_York')) AS day,
                                        argMax((bars.close_usd, bars.event_time, bars.rev, bars.final, bars.volume), (rev, stream_time, stream_seq, idx)) AS last,
                                        substring(source, length(mark) + 1) AS base,
                                        multiIf(startsWith(base, 'alpaca'), 1, startsWith(base, 'massive'), 2, base = 'finnhub', 3, last.5 > 0, 4, 5) AS rank
                                    FROM bars
                                    WHERE interval = '1d' AND session = '' AND NOT endsWith(symbol, '-USD') AND NOT endsWith(source, '-prints')
                                        AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                                    GROUP BY mark, symbol, source, day
                                    HAVING last.1 > 0
                                    ORDER BY last.4 DESC, rank, bar_source
                                    LIMIT 1 BY mark, symbol, day
                                )
                            ) AS c
                            LEFT JOIN
                            (
                                SELECT source AS imported, argMax(extract(reason, '; adjusted \\(([a-z-]+)\\)'), (event_time, stream_time, stream_seq, idx)) AS how
                                FROM feed_gaps
                                WHERE startsWith(reason, 'import ') AND reason LIKE '%; adjusted (%' AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                                GROUP BY imported
                            ) AS i ON i.imported = c.bar_source
                            WHERE last.4 OR day = newest
                            WINDOW w AS (PARTITION BY mark, symbol ORDER BY day ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
                        )
                    ) AS s
                    LEFT JOIN
                    (
                        SELECT symbol, groupArray((from_date, to_date, as_of_from, as_of_to, split_factor, total_factor)) AS factors
                        FROM
                        (
                            SELECT DISTINCT symbol, from_date, to_date, as_of_from, as_of_to, split_factor, total_factor
                            FROM adjustment_factors
                            WHERE version = (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                        )
                        GROUP BY symbol
                    ) AS a ON a.symbol = s.symbol
                    LEFT JOIN exposure_levels_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) AS l ON l.mark = s.mark AND l.factor = s.factor AND l.day = s.day
                    LEFT JOIN exposure_levels_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) AS b ON b.mark = s.mark AND b.factor = s.factor AND b.day = s.prev_day
                    WHERE s.prev_day > toDate(0)
                )
            )
        )
    )
)
COMMENT 'exposure_inputs as it was known at a moment: SELECT ... FROM exposure_inputs_as_of(as_of = \'2026-11-20 00:00:00\')';
