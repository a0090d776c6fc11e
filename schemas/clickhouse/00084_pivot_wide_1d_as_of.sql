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
    arrayStringConcat(arrayFilter(x -> x != '', [
        close_reason,
        multiIf(hashprice IS NULL, 'no hashprice', hashprice_age_s > 172800, 'stale hashprice', ''),
        multiIf(btc IS NULL, 'no btc', btc_age_s > 172800, 'stale btc', ''),
        multiIf(h100 IS NULL, 'no h100 rate', gpu_h100_age_s > 172800, 'stale h100 rate', NOT startsWith(gpu_h100_method, 'h100-sxm'), 'the h100 rate is of all forms: no premium', ''),
        multiIf(h200 IS NULL, 'no h200 rate', gpu_h200_age_s > 172800, 'stale h200 rate', ''),
        multiIf(b200 IS NULL, 'no b200 rate', gpu_b200_age_s > 172800, 'stale b200 rate', ''),
        if(mines = 0 AND usable, 'no level of efficiency, power, utilisation or PUE, or a zero hashprice or rate', '')
    ]), '; ') AS reason
FROM
(
    SELECT
        *,
        toInt256(toDecimal256(if(usable, assumeNotNull(hashprice), 0), 19) * toInt256('10000000000000000000')) AS hp,
        toInt256(toDecimal256(if(usable, assumeNotNull(h100), 0), 8) * toInt256(100000000)) AS rate,
        rate * toInt256(toDecimal256(u.4, 8) * toInt256(100000000)) * system.1 AS rented,
        rented * 24 * toInt256(toDecimal256(e.4, 8) * toInt256(100000000)) * toInt256(toDecimal256(pm.4, 8) * toInt256(100000000)) * toInt256('100000000000') AS earns,
        if(earns = 0, toInt256(0), toInt256(toDecimal256(system.2, 8) * toInt256(100000000)) * toInt256(toDecimal256(pg.4, 8) * toInt256(100000000)) * hp) AS mines
    FROM
    (
        WITH
            (
                SELECT arrayReverseSort(x -> x.3, groupUniqArray((toString(kind), toString(name), from_date, value)))
                FROM reference_levels
                WHERE version = (SELECT argMax(version, loaded_at) FROM reference_levels WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                    AND (kind, name) IN (('fleet-efficiency', 'fleet'), ('pue', 'mining'), ('pue', 'gpu'), ('utilisation', 'gpu'))
            ) AS levels,
            (
                SELECT any((gpus, kw))
                FROM gpu_systems
                WHERE reference AND gpu = 'h100-sxm' AND version = (SELECT argMax(version, loaded_at) FROM gpu_systems WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
            ) AS found_system
        SELECT
            mark, symbol, day, close_usd, close_total_usd, return, volume, source, close_reason, row,
            hashprice, btc, h100, h200, b200, ifNull(h100_how, '') AS gpu_h100_method,
            toUInt32(86400 * (day - hashprice_day)) AS hashprice_age_s, toUInt32(86400 * (day - btc_day)) AS btc_age_s, toUInt32(86400 * (day - h100_day)) AS gpu_h100_age_s,
            toUInt32(86400 * (day - h200_day)) AS gpu_h200_age_s, toUInt32(86400 * (day - b200_day)) AS gpu_b200_age_s,
            ifNull(hashprice_age_s <= 172800 AND gpu_h100_age_s <= 172800 AND startsWith(gpu_h100_method, 'h100-sxm'), false) AS usable,
            found_system AS system,
            arrayFirst(x -> x.1 = 'fleet-efficiency' AND x.3 <= day, levels) AS e,
            arrayFirst(x -> x.1 = 'pue' AND x.2 = 'mining' AND x.3 <= day, levels) AS pm,
            arrayFirst(x -> x.1 = 'pue' AND x.2 = 'gpu' AND x.3 <= day, levels) AS pg,
            arrayFirst(x -> x.1 = 'utilisation' AND x.3 <= day, levels) AS u
        FROM
        (
            SELECT
                mark, symbol, day, close_usd, close_total_usd, return, volume, source, close_reason, row,
                anyLast(day_hashprice) OVER until AS hashprice, anyLast(if(day_hashprice IS NULL, NULL, day)) OVER until AS hashprice_day,
                anyLast(day_btc) OVER until AS btc, anyLast(if(day_btc IS NULL, NULL, day)) OVER until AS btc_day,
                anyLast(if(bucket = 'h100', day_rate, NULL)) OVER until AS h100, anyLast(if(bucket = 'h100', day, NULL)) OVER until AS h100_day,
                anyLast(if(bucket = 'h100', how, NULL)) OVER until AS h100_how,
                anyLast(if(bucket = 'h200', day_rate, NULL)) OVER until AS h200, anyLast(if(bucket = 'h200', day, NULL)) OVER until AS h200_day,
                anyLast(if(bucket = 'b200', day_rate, NULL)) OVER until AS b200, anyLast(if(bucket = 'b200', day, NULL)) OVER until AS b200_day
            FROM
            (
                SELECT
                    mark, toString(symbol) AS symbol, day, close_usd, close_total_usd, return_1d AS return, volume, toString(source) AS source, reason AS close_reason,
                    symbol != 'BTC-USD' AND day >= {from_date:Date} AS row,
                    CAST(NULL, 'Nullable(Decimal(38, 19))') AS day_hashprice,
                    if(symbol = 'BTC-USD', close_usd, NULL) AS day_btc,
                    '' AS bucket, CAST(NULL, 'Nullable(Decimal(18, 8))') AS day_rate, '' AS how
                FROM daily_closes_range_as_of(from_date = {from_date:Date} - 10, to_date = {to_date:Date}, as_of = {as_of:DateTime64(9, 'UTC')})

                UNION ALL

                SELECT
                    multiIf(startsWith(hashprice.source, 'sim-'), 'sim-', startsWith(hashprice.source, 'rec-'), 'rec-', '') AS mark, '', toDate(event_time) AS day, NULL, NULL, NULL, NULL, '', '', false,
                    argMax(hashprice_usd, (rev, stream_seq, idx)), NULL, '', NULL, ''
                FROM hashprice
                WHERE method = 'daily' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                    AND event_time >= toDateTime64({from_date:Date} - INTERVAL 10 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 1 DAY, 9, 'UTC')
                GROUP BY mark, day

                UNION ALL

                SELECT mark, '', day, NULL, NULL, NULL, NULL, '', '', false, NULL, NULL, bucket, rate, concat(model, ' ', named)
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
        )
        WHERE row
    )
)
COMMENT 'pivot_wide_1d as it was known at a moment: SELECT ... FROM pivot_wide_1d_as_of(from_date = \'2026-01-01\', to_date = \'2026-06-30\', as_of = \'2026-07-01 00:00:00\')';
