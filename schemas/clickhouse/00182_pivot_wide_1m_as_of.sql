-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_wide_1m_as_of AS
SELECT
    mark, symbol, minute, close_usd, return, prev_age_s, volume, session, source,
    if(hashprice_age_s <= 900, hashprice, NULL) AS hashprice_usd, hashprice_age_s,
    if(btc_age_s <= 900, btc, NULL) AS btc_usd, btc_age_s,
    if(gpu_h100_age_s <= 900, h100, NULL) AS gpu_h100_usd, gpu_h100_age_s,
    if(gpu_h200_age_s <= 900, h200, NULL) AS gpu_h200_usd, gpu_h200_age_s,
    if(gpu_b200_age_s <= 900, b200, NULL) AS gpu_b200_usd, gpu_b200_age_s,
    CAST(toDecimal256(intDiv(2 * earns + mines, 2 * nullIf(mines, 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS premium,
    substring(concat(
        multiIf(prev_usd IS NULL, '; no bar before', broken, '; a gap of the feed that was not filled touches the time since the bar before', prev_age_s > 900, '; stale price: the bar before is too old', ''),
        multiIf(hashprice IS NULL, '; no hashprice', hashprice_age_s > 900, '; stale hashprice', ''),
        multiIf(btc IS NULL, '; no btc', btc_age_s > 900, '; stale btc', ''),
        multiIf(h100 IS NULL, '; no h100 rate', gpu_h100_age_s > 900, '; stale h100 rate', ''),
        multiIf(h200 IS NULL, '; no h200 rate', gpu_h200_age_s > 900, '; stale h200 rate', ''),
        multiIf(b200 IS NULL, '; no b200 rate', gpu_b200_age_s > 900, '; stale b200 rate', ''),
        if(mines = 0 AND usable, '; no level of efficiency, power, utilisation or PUE, or a zero hashprice or rate', '')), 3) AS reason
FROM
(
    SELECT
        *,
        if(prev_usd > 0 AND prev_age_s <= 900 AND NOT broken, toFloat64(close_usd) / toFloat64(prev_usd) - 1, NULL) AS return,
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
                w.mark AS mark, symbol, at - INTERVAL 1 MINUTE AS minute, toDate(minute) AS day, close_usd, volume, session, source, hashprice, btc, h100, h200, b200, prev_usd,
                arrayExists(x -> (x.1 = '*' OR x.1 = symbol) AND x.2 < at AND (prev_at IS NULL OR x.3 > prev_at), gaps) AS broken,
                (toUnixTimestamp64Nano(at) - toUnixTimestamp64Nano(prev_at)) / 1e9 AS prev_age_s,
                (toUnixTimestamp64Nano(at) - toUnixTimestamp64Nano(hashprice_at)) / 1e9 AS hashprice_age_s,
                hashprice_age_s + btc_age_ms / 1e3 AS btc_age_s,
                (toUnixTimestamp64Nano(at) - toUnixTimestamp64Nano(h100_at)) / 1e9 AS gpu_h100_age_s,
                (toUnixTimestamp64Nano(at) - toUnixTimestamp64Nano(h200_at)) / 1e9 AS gpu_h200_age_s,
                (toUnixTimestamp64Nano(at) - toUnixTimestamp64Nano(b200_at)) / 1e9 AS gpu_b200_age_s,
                ifNull(hashprice_age_s <= 900 AND gpu_h100_age_s <= 900, false) AS usable,
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
                    mark, symbol, at, close_usd, volume, session, source, prev_usd, prev_at, row,
                    anyLast(at_hashprice) OVER until AS hashprice, anyLast(if(at_hashprice IS NULL, NULL, at)) OVER until AS hashprice_at,
                    anyLast(at_btc) OVER until AS btc, anyLast(at_btc_age_ms) OVER until AS btc_age_ms,
                    anyLast(if(bucket = 'h100', at_rate, NULL)) OVER until AS h100, anyLast(if(bucket = 'h100', at, NULL)) OVER until AS h100_at,
                    anyLast(if(bucket = 'h200', at_rate, NULL)) OVER until AS h200, anyLast(if(bucket = 'h200', at, NULL)) OVER until AS h200_at,
                    anyLast(if(bucket = 'b200', at_rate, NULL)) OVER until AS b200, anyLast(if(bucket = 'b200', at, NULL)) OVER until AS b200_at
                FROM
                (
                    SELECT
                        mark, symbol, at, close_usd, volume, session, source, at >= {from_time:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE AS row,
                        anyLast(close_usd) OVER before AS prev_usd, anyLast(toNullable(at)) OVER before AS prev_at,
                        CAST(NULL, 'Nullable(Decimal(38, 19))') AS at_hashprice, CAST(NULL, 'Nullable(Decimal(18, 8))') AS at_btc, CAST(NULL, 'Nullable(Int64)') AS at_btc_age_ms,
                        '' AS bucket, CAST(NULL, 'Nullable(Decimal(18, 8))') AS at_rate
                    FROM
                    (
                        SELECT
                            multiIf(startsWith(bars.source, 'sim-'), 'sim-', startsWith(bars.source, 'rec-'), 'rec-', '') AS mark, toString(bars.symbol) AS symbol,
                            event_time + INTERVAL 1 MINUTE AS at, toString(bars.session) AS session, toString(bars.source) AS source,
                            argMax((bars.close_usd, bars.volume, bars.trade_count, bars.method), (rev, stream_time, stream_seq, idx)) AS last,
                            toNullable(last.1) AS close_usd, if(last.2 = 0 AND last.3 = 0, NULL, last.2) AS volume,
                            substring(source, length(mark) + 1) AS base,
                            multiIf(endsWith(base, '-prints'), 9, startsWith(base, 'alpaca'), 1, startsWith(base, 'massive'), 2, base = 'finnhub', 3, 4) AS rank
                        FROM bars
                        WHERE interval = '1m' AND NOT endsWith(bars.symbol, '-USD') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                            AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 30 MINUTE AND event_time < {to_time:DateTime64(9, 'UTC')}
                        GROUP BY bars.symbol, event_time, bars.session, bars.source
                        HAVING NOT (last.4 != '' AND last.3 = 0)
                        ORDER BY rank, source, session
                        LIMIT 1 BY mark, symbol, at
                    )
                    WINDOW before AS (PARTITION BY mark, symbol ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)

                    UNION ALL

                    SELECT
                        multiIf(startsWith(hashprice.source, 'sim-'), 'sim-', startsWith(hashprice.source, 'rec-'), 'rec-', '') AS mark, '', event_time, NULL, NULL, '', '', false, NULL, NULL,
                        argMax(hashprice_usd, (rev, stream_time, stream_seq, idx)), argMax(btc_usd, (rev, stream_time, stream_seq, idx)), argMax(btc_usd_age_ms, (rev, stream_time, stream_seq, idx)), '', NULL
                    FROM hashprice
                    WHERE method = 'tip144' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                        AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 30 MINUTE AND event_time <= {to_time:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE
                    GROUP BY mark, event_time

                    UNION ALL

                    SELECT
                        multiIf(startsWith(gpu_rates.source, 'sim-'), 'sim-', startsWith(gpu_rates.source, 'rec-'), 'rec-', '') AS mark, '', event_time, NULL, NULL, '', '', false, NULL, NULL,
                        NULL, NULL, NULL, substring(gpu, 1, 4), argMax(usd_per_gpu_hour, (rev, stream_time, stream_seq, idx))
                    FROM gpu_rates
                    WHERE gpu IN ('h100-sxm', 'h200', 'b200') AND class = 'on-demand' AND method = 'gpu-wmedian' AND version = 1 AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                        AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 30 MINUTE AND event_time <= {to_time:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE
                    GROUP BY mark, gpu, event_time
                )
                WINDOW until AS (PARTITION BY mark ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            ) AS w
            LEFT JOIN
            (
                SELECT of_source, groupArray((line.1, ifNull(line.2, toDateTime64(0, 9, 'UTC')), ifNull(line.3, toDateTime64('2200-01-01 00:00:00', 9, 'UTC')))) AS gaps
                FROM
                (
                    SELECT toString(source) AS of_source, gap_id, argMax((symbol, from_time, to_time, state), (rev, stream_time, stream_seq, idx)) AS line
                    FROM feed_gaps
                    WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
                    GROUP BY source, gap_id
                    HAVING line.4 != 'filled' AND (line.2 IS NULL OR line.2 < {to_time:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE)
                        AND (line.3 IS NULL OR line.3 > {from_time:DateTime64(9, 'UTC')} - INTERVAL 30 MINUTE)
                )
                GROUP BY of_source
            ) AS g ON g.of_source = if(endsWith(w.source, '-prints'), substring(w.source, 1, length(w.source) - 7), w.source)
            WHERE row
        )
    )
)
COMMENT 'pivot_wide_1m as it was known at a moment: SELECT ... FROM pivot_wide_1m_as_of(from_time = \'2026-11-20 14:30:00\', to_time = \'2026-11-20 21:00:00\', as_of = \'2026-11-21 00:00:00\')';
