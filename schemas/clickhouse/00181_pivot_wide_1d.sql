-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_wide_1d AS
SELECT
    mark, symbol, day, close_usd, close_total_usd, return, volume, source,
    if(hashprice_age_s <= 172800, hashprice, NULL) AS hashprice_usd, hashprice_age_s,
    if(btc_age_s <= 172800, btc, NULL) AS btc_usd, btc_age_s,
    if(gpu_h100_age_s <= 172800, h100, NULL) AS gpu_h100_usd, gpu_h100_age_s, gpu_h100_method,
    if(gpu_h200_age_s <= 172800, h200, NULL) AS gpu_h200_usd, gpu_h200_age_s,
    if(gpu_b200_age_s <= 172800, b200, NULL) AS gpu_b200_usd, gpu_b200_age_s,
    CAST(toDecimal256(intDiv(2 * revenue.1 + revenue.2, 2 * nullIf(revenue.2 * toInt256(usable AND revenue.1 != 0), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS premium,
    substring(concat(
        if(close_reason = '', '', concat('; ', close_reason)),
        multiIf(hashprice IS NULL, '; no hashprice', hashprice_age_s > 172800, '; stale hashprice', ''),
        multiIf(btc IS NULL, '; no btc', btc_age_s > 172800, '; stale btc', ''),
        multiIf(h100 IS NULL, '; no h100 rate', gpu_h100_age_s > 172800, '; stale h100 rate', NOT startsWith(gpu_h100_method, 'h100-sxm'), '; the h100 rate is of all forms: no premium', ''),
        multiIf(h200 IS NULL, '; no h200 rate', gpu_h200_age_s > 172800, '; stale h200 rate', ''),
        multiIf(b200 IS NULL, '; no b200 rate', gpu_b200_age_s > 172800, '; stale b200 rate', ''),
        if(usable AND (revenue.1 = 0 OR revenue.2 = 0), '; no level of efficiency, power, utilisation or PUE, or a zero hashprice or rate', '')), 3) AS reason
FROM
(
    SELECT
        *,
        ifNull(hashprice_age_s <= 172800 AND gpu_h100_age_s <= 172800 AND startsWith(gpu_h100_method, 'h100-sxm'), false) AS usable,
        arrayMap(
            v -> (toInt256(toDecimal256(ifNull(h100, 0), 8) * 100000000) * v[4] * system.1 * 24 * v[1] * v[2] * toInt256('100000000000'),
                v[5] * v[3] * toInt256(toDecimal256(ifNull(hashprice, 0), 19) * toInt256('10000000000000000000'))),
            [arrayMap(v -> toInt256(toDecimal256(v, 8) * 100000000), arrayPushBack(
                arrayMap(k -> arrayFirst(x -> x.1 = k AND x.2 <= day, levels).3, ['fleet-efficiency fleet', 'pue mining', 'pue gpu', 'utilisation gpu']), system.2))])[1] AS revenue
    FROM
    (
        SELECT
            c.mark AS mark, c.symbol AS symbol, c.day AS day, close_usd, close_total_usd, source,
            if(missing > 0 OR prev.6 != adjusted OR prev.5 = 0, NULL, toFloat64(close_total_usd) / toFloat64(prev.5) - 1) AS return,
            if(last.2 = 0 AND last.3 = 0, NULL, last.2) AS volume,
            multiIf(
                no_close != '', no_close,
                close_total_usd IS NULL, 'no list of corporate actions was loaded by then',
                prev_day IS NULL, 'no earlier close',
                missing > 0, concat('no close of ', toString(missing), if(missing = 1, ' trade date', ' trade dates'), ' since ', toString(prev_day)),
                prev.6 != adjusted, concat('prices are of another adjustment than those of ', prev.7, ' on ', toString(prev_day)),
                '') AS close_reason,
            hashprice, btc, h100, h200, b200, ifNull(h100_how, '') AS gpu_h100_method,
            toUInt32(86400 * (c.day - hashprice_day)) AS hashprice_age_s, toUInt32(86400 * (c.day - btc_day)) AS btc_age_s, toUInt32(86400 * (c.day - h100_day)) AS gpu_h100_age_s,
            toUInt32(86400 * (c.day - h200_day)) AS gpu_h200_age_s, toUInt32(86400 * (c.day - b200_day)) AS gpu_b200_age_s,
            (
                SELECT argMax(told, at)
                FROM
                (
                    SELECT
                        arrayReverseSort(groupUniqArrayIf((concat(kind, ' ', name), from_date, value), (kind, name) IN (('fleet-efficiency', 'fleet'), ('pue', 'mining'), ('pue', 'gpu'), ('utilisation', 'gpu')))) AS told,
                        max(loaded_at) AS at
                    FROM reference_levels
                    WHERE loaded_at <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                    GROUP BY version
                )
            ) AS levels,
            (
                SELECT argMax(told, at)
                FROM
                (
                    SELECT anyIf((gpus, kw), reference AND gpu = 'h100-sxm') AS told, max(loaded_at) AS at
                    FROM gpu_systems
                    WHERE loaded_at <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                    GROUP BY version
                )
            ) AS system
        FROM
        (
            SELECT mark, symbol, day, close_usd, close_total_usd, source, last, adjusted, no_close, prev, prev_day, missing
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
                                (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')) != '' AS listed
                            FROM
                            (
                                SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, symbol, day, last, source
                                FROM
                                (
                                    SELECT symbol, multiIf(trade_date != '', toDate(trade_date), endsWith(symbol, '-USD'), toDate(event_time), toDate(event_time, 'America/New_York')) AS day, source, (close_usd, volume, trade_count, final, rev, method) AS last
                                    FROM bars
                                    WHERE interval = '1d' AND session = '' AND NOT endsWith(symbol, '-USD') AND stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                                        AND event_time >= toDateTime64({from_date:Date} - 40, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + 2, 9, 'UTC')
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
                                    SELECT source, gap_id, argMax((symbol, from_time, to_time, state), (rev, stream_time, stream_seq, idx)) AS line
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
                                SELECT date, ordinal
                                FROM (SELECT argMax(dates, at) AS newest FROM (SELECT arraySort(groupUniqArray(date)) AS dates, max(loaded_at) AS at FROM trade_dates GROUP BY version))
                                ARRAY JOIN newest AS date, arrayEnumerate(newest) AS ordinal
                            ) AS t ON t.date = b.day
                        )
                    )
                    WINDOW before AS (PARTITION BY mark, symbol ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                )
            )
            WHERE day >= {from_date:Date} AND day <= {to_date:Date}
        ) AS c
        ASOF LEFT JOIN
        (
            SELECT
                mark, day,
                anyLast(day_hashprice) OVER until AS hashprice, anyLast(if(day_hashprice IS NULL, NULL, day)) OVER until AS hashprice_day,
                anyLast(day_btc) OVER until AS btc, anyLast(if(day_btc IS NULL, NULL, day)) OVER until AS btc_day,
                anyLast(if(bucket = 'h100', day_rate, NULL)) OVER until AS h100, anyLast(if(bucket = 'h100', day, NULL)) OVER until AS h100_day,
                anyLast(if(bucket = 'h100', how, NULL)) OVER until AS h100_how,
                anyLast(if(bucket = 'h200', day_rate, NULL)) OVER until AS h200, anyLast(if(bucket = 'h200', day, NULL)) OVER until AS h200_day,
                anyLast(if(bucket = 'b200', day_rate, NULL)) OVER until AS b200, anyLast(if(bucket = 'b200', day, NULL)) OVER until AS b200_day
            FROM
            (
                SELECT
                    multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(event_time) AS day,
                    argMax(hashprice_usd, (rev, stream_time, stream_seq, idx)) AS day_hashprice, NULL AS day_btc, '' AS bucket, NULL AS day_rate, '' AS how
                FROM hashprice
                WHERE method = 'daily' AND NOT published AND stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                    AND event_time >= toDateTime64({from_date:Date} - 10, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + 1, 9, 'UTC')
                GROUP BY mark, day

                UNION ALL

                SELECT
                    multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(event_time) AS day,
                    NULL, argMax(close_usd, (match(source, '^(sim-|rec-)?coinbase$'), match(source, '^(sim-|rec-)?kraken$'), source, rev, stream_time, stream_seq, idx)), '', NULL, ''
                FROM bars
                WHERE symbol = 'BTC-USD' AND interval = '1d' AND session = '' AND final AND stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                    AND event_time >= toDateTime64({from_date:Date} - 10, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + 1, 9, 'UTC')
                GROUP BY mark, day

                UNION ALL

                SELECT mark, day, NULL, NULL, bucket, rate, concat(gpu, ' ', method, '/1')
                FROM
                (
                    SELECT mark, day, substring(gpu, 1, 4) AS bucket, gpu, method, rate
                    FROM
                    (
                        SELECT
                            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(event_time) AS day, gpu, method,
                            argMax(usd_per_gpu_hour, (gpu_rates.event_time, rev, stream_time, stream_seq, idx)) AS rate
                        FROM gpu_rates
                        WHERE gpu IN ('h100-sxm', 'h100', 'h200', 'b200') AND class = 'on-demand' AND method IN ('gpu-wmedian', 'vast-wmedian', 'vast-metrics-median') AND version = 1
                            AND stream_time <= toDateTime64('2200-01-01 00:00:00', 9, 'UTC')
                            AND event_time >= toDateTime64({from_date:Date} - 10, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + 1, 9, 'UTC')
                        GROUP BY mark, day, gpu, method
                    )
                    ORDER BY gpu != 'h100-sxm', indexOf(['gpu-wmedian', 'vast-wmedian', 'vast-metrics-median'], method)
                    LIMIT 1 BY mark, bucket, day
                )
            )
            WINDOW until AS (PARTITION BY mark ORDER BY day RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        ) AS f ON f.mark = c.mark AND c.day >= f.day
    )
)
COMMENT 'One row a mark, symbol and trade date: close_usd, return (of closes adjusted for splits and distributions), the daily hashprice (USD/PH/s/day), btc_usd (close of BTC-USD) and on-demand rates of H100, H200 and B200 (USD/GPU-hour, the last of the UTC day, of the best method that told one; gpu_h100_method names it) of that day or the last before, with their age in seconds; premium of H100 over mining of the fleet, ratio. Older than two days (172800 s): NULL; reason names everything that is missing. The UTC day ends after the close. SELECT ... FROM pivot_wide_1d(from_date = \'2026-01-01\', to_date = \'2026-06-30\')';
