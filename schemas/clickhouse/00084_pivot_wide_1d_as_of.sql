-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_wide_1d_as_of AS
SELECT
    mark, symbol, day, close_usd, close_total_usd, return, volume, source,
    if(hashprice_age_s <= 172800, hashprice, NULL) AS hashprice_usd, hashprice_age_s,
    if(btc_age_s <= 172800, btc, NULL) AS btc_usd, btc_age_s,
    if(gpu_h100_age_s <= 172800, h100, NULL) AS gpu_h100_usd, gpu_h100_age_s, gpu_h100_method,
    if(gpu_h200_age_s <= 172800, h200, NULL) AS gpu_h200_usd, gpu_h200_age_s,
    if(gpu_b200_age_s <= 172800, b200, NULL) AS gpu_b200_usd, gpu_b200_age_s,
    CAST(toDecimal256(intDiv(2 * earns + mines, 2 * nullIf(mines, 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS premium,
    substring(concat(
        if(close_reason = '', '', concat('; ', close_reason)),
        multiIf(hashprice IS NULL, '; no hashprice', hashprice_age_s > 172800, '; stale hashprice', ''),
        multiIf(btc IS NULL, '; no btc', btc_age_s > 172800, '; stale btc', ''),
        multiIf(h100 IS NULL, '; no h100 rate', gpu_h100_age_s > 172800, '; stale h100 rate', NOT startsWith(gpu_h100_method, 'h100-sxm'), '; the h100 rate is of all forms: no premium', ''),
        multiIf(h200 IS NULL, '; no h200 rate', gpu_h200_age_s > 172800, '; stale h200 rate', ''),
        multiIf(b200 IS NULL, '; no b200 rate', gpu_b200_age_s > 172800, '; stale b200 rate', ''),
        if(mines = 0 AND usable, '; no level of efficiency, power, utilisation or PUE, or a zero hashprice or rate', '')), 3) AS reason
FROM
(
    SELECT
        *,
        toInt256(toDecimal256(if(usable, assumeNotNull(hashprice), 0), 19) * toInt256('10000000000000000000')) AS hp,
        toInt256(toDecimal256(if(usable, assumeNotNull(h100), 0), 8) * toInt256(100000000)) AS rate,
        rate * toInt256(toDecimal256(held[4], 8) * toInt256(100000000)) * system.1 AS rented,
        rented * 24 * toInt256(toDecimal256(held[1], 8) * toInt256(100000000)) * toInt256(toDecimal256(held[2], 8) * toInt256(100000000)) * toInt256('100000000000') AS earns,
        if(earns = 0, toInt256(0), toInt256(toDecimal256(system.2, 8) * toInt256(100000000)) * toInt256(toDecimal256(held[3], 8) * toInt256(100000000)) * hp) AS mines
    FROM
    (
        SELECT
            *,
            arrayMap(k -> arrayFirst(x -> x.1 = k AND x.2 <= day, levels).3, ['fleet-efficiency fleet', 'pue mining', 'pue gpu', 'utilisation gpu']) AS held
        FROM
        (
            SELECT
                c.mark AS mark, c.symbol AS symbol, c.day AS day, close_usd, close_total_usd, return_1d AS return, volume, source, reason AS close_reason,
                hashprice, btc, h100, h200, b200, ifNull(h100_how, '') AS gpu_h100_method,
                toUInt32(86400 * (day - hashprice_day)) AS hashprice_age_s, toUInt32(86400 * (day - btc_day)) AS btc_age_s, toUInt32(86400 * (day - h100_day)) AS gpu_h100_age_s,
                toUInt32(86400 * (day - h200_day)) AS gpu_h200_age_s, toUInt32(86400 * (day - b200_day)) AS gpu_b200_age_s,
                ifNull(hashprice_age_s <= 172800 AND gpu_h100_age_s <= 172800 AND startsWith(gpu_h100_method, 'h100-sxm'), false) AS usable,
                (
                    SELECT arrayReverseSort(groupUniqArray((concat(kind, ' ', name), from_date, value)))
                    FROM reference_levels
                    WHERE version = (SELECT argMax(version, loaded_at) FROM reference_levels WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                        AND (kind, name) IN (('fleet-efficiency', 'fleet'), ('pue', 'mining'), ('pue', 'gpu'), ('utilisation', 'gpu'))
                ) AS levels,
                (
                    SELECT any((gpus, kw))
                    FROM gpu_systems
                    WHERE reference AND gpu = 'h100-sxm' AND version = (SELECT argMax(version, loaded_at) FROM gpu_systems WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                ) AS system
            FROM
            (
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
                                        (SELECT count() > 0 FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')}) AS listed
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
                                        WHERE interval = '1d' AND session = '' AND NOT endsWith(bars.symbol, '-USD') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                                            AND bars.event_time >= toDateTime64({from_date:Date} - INTERVAL 40 DAY, 9, 'UTC')
                                            AND bars.event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC')
                                        GROUP BY mark, symbol, day, source
                                        HAVING NOT (last.6 != '' AND last.3 = 0)
                                        ORDER BY last.4 DESC, rank, source
                                        LIMIT 1 BY mark, symbol, day
                                    ) AS b
                                    LEFT JOIN
                                    (
                                        SELECT source AS imported, argMax(extract(reason, '; adjusted \\(([a-z-]+)\\)'), event_time) AS how
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
                                            SELECT source, gap_id, argMax((symbol, from_time, to_time, state), (rev, stream_seq, idx)) AS line
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
                                        SELECT date, row_number() OVER (ORDER BY date) AS ordinal
                                        FROM (SELECT DISTINCT date FROM trade_dates WHERE version = (SELECT argMax(version, loaded_at) FROM trade_dates))
                                    ) AS t ON t.date = b.day
                                )
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
                        multiIf(startsWith(hashprice.source, 'sim-'), 'sim-', startsWith(hashprice.source, 'rec-'), 'rec-', '') AS mark, toDate(event_time) AS day,
                        toNullable(argMax(hashprice_usd, (rev, stream_seq, idx))) AS day_hashprice, CAST(NULL, 'Nullable(Decimal(18, 8))') AS day_btc,
                        '' AS bucket, CAST(NULL, 'Nullable(Decimal(18, 8))') AS day_rate, '' AS how
                    FROM hashprice
                    WHERE method = 'daily' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                        AND event_time >= toDateTime64({from_date:Date} - INTERVAL 10 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 1 DAY, 9, 'UTC')
                    GROUP BY mark, day

                    UNION ALL

                    SELECT
                        multiIf(startsWith(bars.source, 'sim-'), 'sim-', startsWith(bars.source, 'rec-'), 'rec-', '') AS mark, toDate(event_time) AS day,
                        NULL, argMax(close_usd, (indexOf(['kraken', 'coinbase'], substring(bars.source, length(mark) + 1)), bars.source, rev, stream_seq, idx)), '', NULL, ''
                    FROM bars
                    WHERE symbol = 'BTC-USD' AND interval = '1d' AND session = '' AND final AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                        AND event_time >= toDateTime64({from_date:Date} - INTERVAL 10 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 1 DAY, 9, 'UTC')
                    GROUP BY mark, day

                    UNION ALL

                    SELECT mark, day, NULL, NULL, bucket, rate, concat(model, ' ', named)
                    FROM
                    (
                        SELECT
                            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(event_time) AS day, gpu AS model, substring(gpu, 1, 4) AS bucket,
                            concat(method, '/', toString(version)) AS named,
                            indexOf(['h100-sxm gpu-wmedian/1', 'h100-sxm vast-wmedian/1', 'h100-sxm vast-metrics-median/1', 'gpu-wmedian/1', 'vast-wmedian/1', 'vast-metrics-median/1'],
                                if(bucket = 'h100' AND gpu = 'h100-sxm', concat(gpu, ' ', named), named)) AS rank,
                            argMax(usd_per_gpu_hour, (event_time, rev, stream_seq, idx)) AS rate
                        FROM gpu_rates
                        WHERE gpu IN ('h100-sxm', 'h100', 'h200', 'b200') AND class = 'on-demand' AND method IN ('gpu-wmedian', 'vast-wmedian', 'vast-metrics-median') AND version = 1
                            AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                            AND event_time >= toDateTime64({from_date:Date} - INTERVAL 10 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 1 DAY, 9, 'UTC')
                        GROUP BY mark, day, gpu, method, version
                        ORDER BY rank
                        LIMIT 1 BY mark, bucket, day
                    )
                )
                WINDOW until AS (PARTITION BY mark ORDER BY day RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            ) AS f ON f.mark = c.mark AND c.day >= f.day
        )
    )
)
COMMENT 'pivot_wide_1d as it was known at a moment: SELECT ... FROM pivot_wide_1d_as_of(from_date = \'2026-01-01\', to_date = \'2026-06-30\', as_of = \'2026-07-01 00:00:00\')';
