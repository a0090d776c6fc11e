-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_live_as_of AS
WITH
    (
        SELECT arrayReverseSort(x -> x.3, groupUniqArray((toString(kind), toString(name), from_date, value, confirmed)))
        FROM reference_levels
        WHERE version = (SELECT argMax(version, loaded_at) FROM reference_levels WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
    ) AS levels,
    (
        SELECT any((gpus, kw, confirmed))
        FROM
        (
            SELECT DISTINCT gpu, gpus, kw, confirmed
            FROM gpu_systems
            WHERE reference AND version = (SELECT argMax(version, loaded_at) FROM gpu_systems WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')}) AND gpu = {gpu:String}
        )
    ) AS system,
    toInt256('10000000000000000000') AS e19,
    toInt256('100000000000') AS e11,
    toInt256(100000000) AS e8,
    arrayFirst(x -> x.1 = 'fleet-efficiency' AND x.2 = fleet AND x.3 <= toDate(event_time), levels) AS e,
    arrayFirst(x -> x.1 = 'pue' AND x.2 = 'mining' AND x.3 <= toDate(event_time), levels) AS pm,
    arrayFirst(x -> x.1 = 'utilisation' AND x.2 = 'gpu' AND x.3 <= toDate(event_time), levels) AS u,
    arrayFirst(x -> x.1 = 'pue' AND x.2 = 'gpu' AND x.3 <= toDate(event_time), levels) AS pg,
    toInt256(toDecimal256(hashprice_usd, 19) * e19) AS hp,
    24 * toInt256(toDecimal256(j_per_th, 8) * e8) * toInt256(toDecimal256(mining_pue, 8) * e8) AS per_ph,
    toInt256(toDecimal256(usd_per_gpu_hour, 8) * e8) * toInt256(toDecimal256(utilisation, 8) * e8) * gpus AS rented,
    toInt256(toDecimal256(kw, 8) * e8) * toInt256(toDecimal256(gpu_pue, 8) * e8) AS drawn,
    toInt256(hp > 0 AND per_ph > 0 AND hashprice_age_s <= 900) AS mines,
    toInt256(rented > 0 AND drawn > 0 AND rate_age_s <= 900) AS rents
SELECT
    {gpu:String} AS gpu, fleet, mark, event_time,
    CAST(toDecimal256(sign((rented * per_ph * e11)) * intDiv(2 * abs((rented * per_ph * e11)) + (drawn * hp * mines * rents), 2 * nullIf((drawn * hp * mines * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS premium,
    CAST(toDecimal256(sign((rented * e11 * per_ph - hp * e8 * drawn)) * intDiv(2 * abs((rented * e11 * per_ph - hp * e8 * drawn)) + (drawn * per_ph * mines * rents), 2 * nullIf((drawn * per_ph * mines * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS spread_usd_per_mwh,
    CAST(toDecimal256(sign((rented * per_ph)) * intDiv(2 * abs((rented * per_ph)) + (drawn * e8 * rents * toInt256(per_ph > 0)), 2 * nullIf((drawn * e8 * rents * toInt256(per_ph > 0)), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS break_even_hashprice_usd,
    CAST(toDecimal256(sign((hp * e8)) * intDiv(2 * abs((hp * e8)) + (per_ph * mines), 2 * nullIf((per_ph * mines), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS mining_usd_per_mwh,
    CAST(toDecimal256(sign((rented * e11)) * intDiv(2 * abs((rented * e11)) + (drawn * rents), 2 * nullIf((drawn * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS gpu_usd_per_mwh,
    multiIf(
        hashprice_usd = 0, 'no hashprice', hashprice_age_s > 900, 'stale hashprice', usd_per_gpu_hour = 0, 'no rate', rate_age_s > 900, 'stale rate',
        per_ph = 0, 'no efficiency or PUE of that day', drawn = 0 OR utilisation = 0, 'no power, utilisation or PUE of that day', '') AS reason,
    e.5 AND pm.5 AND u.5 AND pg.5 AND system.3 AS confirmed,
    hashprice_usd, hashprice_time, if(hashprice_usd = 0, NULL, (toUnixTimestamp64Nano(event_time) - toUnixTimestamp64Nano(hashprice_time)) / 1e9) AS hashprice_age_s,
    usd_per_gpu_hour, rate_time, if(usd_per_gpu_hour = 0, NULL, (toUnixTimestamp64Nano(event_time) - toUnixTimestamp64Nano(rate_time)) / 1e9) AS rate_age_s,
    e.4 AS j_per_th, pm.4 AS mining_pue, u.4 AS utilisation, system.1 AS gpus, system.2 AS kw, pg.4 AS gpu_pue
FROM
(
    SELECT t.mark AS mark, t.event_time AS event_time, h.event_time AS hashprice_time, h.usd AS hashprice_usd, r.event_time AS rate_time, r.usd AS usd_per_gpu_hour
    FROM
    (
        SELECT DISTINCT mark, event_time
        FROM
        (
            SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, event_time
            FROM hashprice
            WHERE method = 'tip144' AND NOT published AND event_time >= {from_time:DateTime64(9, 'UTC')} AND event_time < {to_time:DateTime64(9, 'UTC')} AND stream_time <= {as_of:DateTime64(9, 'UTC')}
            UNION ALL
            SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, event_time
            FROM gpu_rates
            WHERE gpu = {gpu:String} AND class = 'on-demand' AND method = 'gpu-wmedian' AND version = 1
                AND event_time >= {from_time:DateTime64(9, 'UTC')} AND event_time < {to_time:DateTime64(9, 'UTC')} AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        )
    ) AS t
    ASOF LEFT JOIN
    (
        SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, event_time, argMax(hashprice_usd, (rev, stream_time, stream_seq, idx)) AS usd
        FROM hashprice
        WHERE method = 'tip144' AND NOT published AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 900 SECOND
            AND event_time < {to_time:DateTime64(9, 'UTC')} AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        GROUP BY mark, event_time
    ) AS h ON h.mark = t.mark AND t.event_time >= h.event_time
    ASOF LEFT JOIN
    (
        SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, event_time, argMax(usd_per_gpu_hour, (rev, stream_time, stream_seq, idx)) AS usd
        FROM gpu_rates
        WHERE gpu = {gpu:String} AND class = 'on-demand' AND method = 'gpu-wmedian' AND version = 1
            AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 900 SECOND
            AND event_time < {to_time:DateTime64(9, 'UTC')} AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        GROUP BY mark, event_time
    ) AS r ON r.mark = t.mark AND t.event_time >= r.event_time
)
ARRAY JOIN arrayDistinct(arrayMap(x -> x.2, arrayFilter(x -> x.1 = 'fleet-efficiency', levels))) AS fleet
COMMENT 'pivot_live as it was known at a moment: SELECT ... FROM pivot_live_as_of(gpu = \'h100-sxm\', from_time = \'2026-11-20 14:00:00\', to_time = \'2026-11-20 15:00:00\', as_of = \'2026-11-21 00:00:00\')';
