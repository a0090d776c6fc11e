-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW daily_closes_as_of AS
SELECT
    mark, symbol, day, close_usd, close_split_usd, close_total_usd, prev_day,
    if(missing > 0 OR prev.6 != adjusted OR prev.5 = 0, NULL, toFloat64(close_total_usd) / toFloat64(prev.5) - 1) AS return_1d,
    if(last.2 = 0 AND last.3 = 0, NULL, last.2) AS volume,
    source, last.4 AS final, last.5 AS rev,
    multiIf(
        startsWith(source, 'rec-alpaca'), 'adjusted by the recording for splits and distributions, not adjusted again',
        adjusted = 'total', 'adjusted by the source for splits and distributions, not adjusted again',
        adjusted = 'split', 'adjusted by the source for splits, adjusted for distributions here',
        '') AS price_note,
    multiIf(
        no_close != '', no_close,
        close_total_usd IS NULL, 'no list of corporate actions was loaded by then',
        prev_day IS NULL, 'no earlier close',
        missing > 0, concat('no close of ', toString(missing), if(missing = 1, ' trade date', ' trade dates'), ' since ', toString(prev_day)),
        prev.6 != adjusted, concat('prices are of another adjustment than those of ', prev.7, ' on ', toString(prev_day)),
        '') AS reason
FROM
(
    SELECT
        *,
        if(prev.2 = 0, NULL, prev.1) AS prev_day,
        if(pair, n - prev.2 - 1, if(ordinal > 0 AND prev.4 > 0, ordinal - prev.4 - 1, if(weekdays - prev.3 > 2, weekdays - prev.3 - 1, 0))) AS missing
    FROM
    (
        SELECT *, anyLastIf((day, n, weekdays, ordinal, close_total_usd, adjusted, toString(source)), no_close = '') OVER before AS prev
        FROM
        (
            SELECT
                mark, symbol, day, last, source, adjusted, pair, no_close, ordinal, n,
                intDiv(n + 3, 7) * 5 + least((n + 3) % 7, 5) AS weekdays,
                if(no_close = '', last.1, NULL) AS close_usd,
                if(no_close = '' AND (adjusted != '' OR pair OR listed),
                    CAST(round(last.1 * if(adjusted != '' OR unchanged, toDecimal256(1, 30), split_factor), 8), 'Decimal(38, 8)'), NULL) AS close_split_usd,
                if(no_close = '' AND (adjusted = 'total' OR pair OR listed),
                    CAST(round(last.1 * multiIf(adjusted = 'total' OR unchanged, toDecimal256(1, 30), adjusted = 'split', CAST(total_factor / split_factor, 'Decimal(76, 30)'), total_factor), 8),
                        'Decimal(38, 8)'), NULL) AS close_total_usd
            FROM
            (
                SELECT
                    mark, symbol, day, last, source,
                    multiIf(startsWith(source, 'rec-alpaca'), 'total', startsWith(how, 'yahoo'), 'split', how != '', 'total', '') AS adjusted,
                    endsWith(symbol, '-USD') AS pair,
                    multiIf(
                        NOT last.4, 'not final: the day was not over when it was last told',
                        endsWith(source, '-prints') AND arrayExists(x -> (x.1 = '*' OR x.1 = symbol) AND x.2 <= day AND day <= x.3, gaps), 'the prints of the day have a gap that was not filled',
                        '') AS no_close,
                    toInt64(t.ordinal) AS ordinal, toInt64(toUInt16(day)) AS n,
                    a.split_factor AS split_factor, a.total_factor AS total_factor, endsWith(symbol, '-USD') OR day >= a.to_date AS unchanged,
                    (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')}) != '' AS listed
                FROM
                (
                    SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, symbol, day, last, source
                    FROM
                    (
                        SELECT symbol, multiIf(trade_date != '', toDate(trade_date), endsWith(symbol, '-USD'), toDate(event_time), toDate(event_time, 'America/New_York')) AS day, source, (close_usd, volume, trade_count, final, rev, method) AS last
                        FROM bars
                        WHERE interval = '1d' AND session = '' AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                            AND event_time >= toDateTime64(toDate('1970-03-01') - 40, 9, 'UTC') AND event_time < toDateTime64(toDate('2148-12-31') + 2, 9, 'UTC')
                        ORDER BY symbol, day, source, rev DESC, stream_time DESC, stream_seq DESC, idx DESC
                        LIMIT 1 BY symbol, day, source
                    )
                    WHERE last.6 = '' OR last.3 != 0
                    ORDER BY
                        last.4 DESC,
                        multiIf(endsWith(source, '-prints'), 9, match(source, '^(sim-|rec-)?(alpaca|coinbase$)'), 1, match(source, '^(sim-|rec-)?(massive|kraken$)'), 2,
                            match(source, '^(sim-|rec-)?finnhub$'), 3, last.2 > 0, 4, 5),
                        source
                    LIMIT 1 BY mark, symbol, day
                ) AS b
                LEFT JOIN
                (
                    SELECT source AS imported, argMax(extract(reason, '; adjusted \\(([a-z-]+)\\)'), (event_time, stream_time, stream_seq, idx)) AS how
                    FROM feed_gaps
                    WHERE startsWith(reason, 'import ') AND reason LIKE '%; adjusted (%' AND stream_time <= {as_of:DateTime64(9, 'UTC')}
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
                        SELECT source, gap_id, argMax((symbol, from_time, to_time, state), (rev, stream_time, stream_seq, idx)) AS line
                        FROM feed_gaps
                        WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
                        GROUP BY source, gap_id
                        HAVING line.4 != 'filled'
                    )
                    GROUP BY source
                ) AS g ON g.of_prints = b.source
                ASOF LEFT JOIN
                (
                    SELECT DISTINCT symbol AS of_symbol, from_date, to_date, split_factor, total_factor
                    FROM adjustment_factors
                    WHERE version = (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                        AND as_of_from <= toDate(least({as_of:DateTime64(9, 'UTC')}, now64(9, 'UTC')), 'America/New_York')
                        AND toDate(least({as_of:DateTime64(9, 'UTC')}, now64(9, 'UTC')), 'America/New_York') < as_of_to
                ) AS a ON a.of_symbol = b.symbol AND b.day >= a.from_date
                LEFT JOIN
                (
                    SELECT date, ordinal
                    FROM (SELECT argMax(dates, at) AS newest FROM (SELECT arraySort(groupUniqArray(date)) AS dates, max(loaded_at) AS at FROM trade_dates GROUP BY version))
                    ARRAY JOIN newest AS date, arrayEnumerate(newest) AS ordinal
                ) AS t ON t.date = b.day
            )
        )
        WINDOW before AS (PARTITION BY mark, symbol ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    )
)
WHERE day >= toDate('1970-03-01') AND day <= toDate('2148-12-31')
COMMENT 'daily_closes as they were known at a moment: SELECT ... FROM daily_closes_as_of(as_of = \'2026-11-20 00:00:00\')';
