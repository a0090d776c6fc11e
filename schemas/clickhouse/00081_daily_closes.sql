-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW daily_closes
(
    mark String COMMENT 'sim-: generated, rec-: a replayed recording, empty: live. Rows of two marks are never mixed',
    symbol LowCardinality(String) COMMENT 'Ticker, or a pair: BTC-USD is among them, by UTC day',
    day Date COMMENT 'Trade date (of a pair the UTC day)',
    close_usd Nullable(Decimal(18, 8)) COMMENT 'Close as the source tells it, USD; NULL while the day is not final',
    close_split_usd Nullable(Decimal(38, 8)) COMMENT 'Close adjusted for splits up to now, USD',
    close_total_usd Nullable(Decimal(38, 8)) COMMENT 'Close adjusted for splits and distributions up to now, USD',
    prev_day Nullable(Date) COMMENT 'The last day before with a close',
    return_1d Nullable(Float64) COMMENT 'Simple return of close_total_usd since the trade date before; NULL where that date has no close: see reason',
    volume Nullable(Decimal(18, 8)) COMMENT 'Volume, shares or BTC; NULL: not given',
    source LowCardinality(String) COMMENT 'The source that was chosen: final before not final, then alpaca (coinbase), massive (kraken), finnhub, files with volume, files of closes, and our own bars of prints last',
    final Bool COMMENT 'The day was over when the bar was last told',
    rev UInt32 COMMENT 'Revision of the bar',
    price_note String COMMENT 'Says so where the source has adjusted the prices already, which are not adjusted again then',
    reason String COMMENT 'Why there is no close or no return; empty: there are both'
)
AS
SELECT
    mark, symbol, day, close_usd, close_split_usd, close_total_usd, prev_day,
    if(missing > 0 OR prev_adjusted != adjusted OR prev_total_usd = 0, NULL, toFloat64(close_total_usd) / toFloat64(prev_total_usd) - 1) AS return_1d,
    if(volume = 0 AND trade_count = 0, NULL, volume) AS volume,
    source, final, rev,
    multiIf(
        startsWith(source, 'rec-alpaca'), 'adjusted by the recording for splits and distributions, not adjusted again',
        adjusted = 'total', 'adjusted by the source for splits and distributions, not adjusted again',
        adjusted = 'split', 'adjusted by the source for splits, adjusted for distributions here',
        '') AS price_note,
    multiIf(
        no_close != '', no_close,
        close_total_usd IS NULL, 'no list of corporate actions was loaded by then',
        prev_day IS NULL, 'no earlier close',
        missing > 0, concat('no close of ', toString(missing), if(missing = 1, ' trade date', ' trade dates'), ' since ', ifNull(toString(prev_day), '')),
        prev_adjusted != adjusted, concat('prices are of another adjustment than those of ', ifNull(prev_source, ''), ' on ', ifNull(toString(prev_day), '')),
        '') AS reason
FROM
(
    SELECT
        *,
        if(pair, n - prev_n - 1, if(ordinal > 0 AND prev_ordinal > 0, ordinal - prev_ordinal - 1, if(weekdays - prev_weekdays > 2, weekdays - prev_weekdays - 1, 0))) AS missing
    FROM
    (
        SELECT
            *,
            anyLast(if(no_close = '', toNullable(day), NULL)) OVER before AS prev_day,
            anyLast(if(no_close = '', toNullable(n), NULL)) OVER before AS prev_n,
            anyLast(if(no_close = '', toNullable(weekdays), NULL)) OVER before AS prev_weekdays,
            anyLast(if(no_close = '', toNullable(toInt64(ordinal)), NULL)) OVER before AS prev_ordinal,
            anyLast(close_total_usd) OVER before AS prev_total_usd,
            anyLast(if(no_close = '', toNullable(adjusted), NULL)) OVER before AS prev_adjusted,
            anyLast(if(no_close = '', toNullable(toString(source)), NULL)) OVER before AS prev_source
        FROM
        (
            SELECT
                mark, symbol, day, volume, trade_count, source, final, rev, adjusted, pair, no_close, ordinal, n,
                intDiv(n + 3, 7) * 5 + least((n + 3) % 7, 5) AS weekdays,
                if(no_close = '', raw_usd, NULL) AS close_usd,
                if(no_close = '' AND (adjusted != '' OR pair OR listed), CAST(round(raw_usd * split_factor, 8), 'Decimal(38, 8)'), NULL) AS close_split_usd,
                if(no_close = '' AND (adjusted = 'total' OR pair OR listed), CAST(round(raw_usd * total_factor, 8), 'Decimal(38, 8)'), NULL) AS close_total_usd
            FROM
            (
                SELECT
                    mark, symbol, day, raw_usd, volume, trade_count, source, final, rev, adjusted, pair, ordinal, toInt64(toUInt16(day)) AS n, listed,
                    multiIf(NOT final, 'not final: the day was not over when it was last told', broken, 'the prints of the day have a gap that was not filled', '') AS no_close,
                    if(adjusted != '' OR pair OR NOT acted, toDecimal256(1, 30), own_split_factor) AS split_factor,
                    multiIf(adjusted = 'total' OR pair OR NOT acted, toDecimal256(1, 30), adjusted = 'split', CAST(own_total_factor / own_split_factor, 'Decimal(76, 30)'), own_total_factor) AS total_factor
                FROM
                (
                    SELECT
                        mark, symbol, day, last.1 AS raw_usd, last.2 AS volume, last.3 AS trade_count, last.4 AS final, last.5 AS rev, source,
                        multiIf(startsWith(source, 'rec-alpaca'), 'total', startsWith(how, 'yahoo'), 'split', how != '', 'total', '') AS adjusted,
                        endsWith(symbol, '-USD') AS pair,
                        endsWith(source, '-prints') AND arrayExists(x -> (x.1 = '*' OR x.1 = symbol) AND x.2 <= day AND day <= x.3, gaps) AS broken,
                        toInt64(t.ordinal) AS ordinal,
                        day < a.to_date AS acted, a.split_factor AS own_split_factor, a.total_factor AS own_total_factor,
                        (SELECT count() > 0 FROM adjustment_factors WHERE loaded_at <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')) AS listed
                    FROM
                    (
                        SELECT
                            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, symbol,
                            multiIf(trade_date != '', toDate(trade_date), endsWith(symbol, '-USD'), toDate(bars.event_time), toDate(bars.event_time, 'America/New_York')) AS day,
                            argMax((close_usd, volume, trade_count, final, rev, method), (rev, stream_seq, idx)) AS last, source,
                            substring(source, length(mark) + 1) AS base,
                            multiIf(endsWith(base, '-prints'), 9, startsWith(base, 'alpaca') OR base = 'coinbase', 1, startsWith(base, 'massive') OR base = 'kraken', 2,
                                base = 'finnhub', 3, last.2 > 0, 4, 5) AS rank
                        FROM bars
                        WHERE interval = '1d' AND session = '' AND stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                            AND bars.event_time >= toDateTime64(toDate('1970-03-01') - INTERVAL 40 DAY, 9, 'UTC')
                            AND bars.event_time < toDateTime64(toDate('2148-12-31') + INTERVAL 2 DAY, 9, 'UTC')
                        GROUP BY mark, symbol, day, source
                        HAVING NOT (last.6 != '' AND last.3 = 0)
                        ORDER BY last.4 DESC, rank, source
                        LIMIT 1 BY mark, symbol, day
                    ) AS b
                    LEFT JOIN
                    (
                        SELECT source AS imported, argMax(extract(reason, '; adjusted \\(([a-z-]+)\\)'), event_time) AS how
                        FROM feed_gaps
                        WHERE startsWith(reason, 'import ') AND reason LIKE '%; adjusted (%' AND stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                        GROUP BY imported
                    ) AS i ON i.imported = b.source
                    LEFT JOIN
                    (
                        SELECT
                            concat(source, '-prints') AS of_prints,
                            groupArray((line.1, toDate(ifNull(line.2, toDateTime64(0, 9, 'UTC')), 'America/New_York'),
                                toDate(ifNull(line.3, now64(9, 'UTC')) + INTERVAL 3 HOUR, 'America/New_York'))) AS gaps
                        FROM
                        (
                            SELECT source, gap_id, argMax((symbol, from_time, to_time, state), (rev, stream_seq, idx)) AS line
                            FROM feed_gaps
                            WHERE stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                            GROUP BY source, gap_id
                            HAVING line.4 != 'filled'
                        )
                        GROUP BY source
                    ) AS g ON g.of_prints = b.source
                    ASOF LEFT JOIN
                    (
                        SELECT DISTINCT symbol AS of_symbol, from_date, to_date, split_factor, total_factor
                        FROM adjustment_factors
                        WHERE version = (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC'))
                            AND as_of_from <= toDate(least(toDateTime64('2200-01-01 00:00:00', 9, 'UTC'), now64(9, 'UTC')), 'America/New_York')
                            AND toDate(least(toDateTime64('2200-01-01 00:00:00', 9, 'UTC'), now64(9, 'UTC')), 'America/New_York') < as_of_to
                    ) AS a ON a.of_symbol = b.symbol AND b.day >= a.from_date
                    LEFT JOIN
                    (
                        SELECT date, row_number() OVER (ORDER BY date) AS ordinal
                        FROM (SELECT DISTINCT date FROM trade_dates WHERE version = (SELECT argMax(version, loaded_at) FROM trade_dates))
                    ) AS t ON t.date = b.day
                )
            )
        )
        WINDOW before AS (PARTITION BY mark, symbol ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    )
)
WHERE day >= toDate('1970-03-01') AND day <= toDate('2148-12-31')
COMMENT 'One close a symbol and trade date, of one chosen source, with its return. Trade dates by the calendar (trade_dates_now); in years that it does not cover a single weekday without a close passes for a holiday';
