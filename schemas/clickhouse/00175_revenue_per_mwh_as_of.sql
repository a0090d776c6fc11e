-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW revenue_per_mwh_as_of AS
WITH
    (
        SELECT arrayReverseSort(x -> x.3, groupUniqArray((toString(kind), toString(name), from_date, value, confirmed)))
        FROM reference_levels
        WHERE version = (SELECT argMax(version, loaded_at) FROM reference_levels WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
    ) AS levels,
    toInt256('10000000000000000000') AS e19,
    toInt256('100000000000') AS e11,
    toInt256(100000000) AS e8
SELECT
    kind, symbol, mark, day, event_time, method, preferred,
    CAST(toDecimal256(sign(numerator) * intDiv(2 * abs(numerator) + denominator, 2 * nullIf(denominator, 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS usd_per_mwh,
    multiIf(denominator != 0, '', kind = 'mining', 'no efficiency or PUE of that day', kind = 'gpu', 'no power, utilisation or PUE of that day', 'no term') AS reason,
    confirmed, hashprice_usd, j_per_th, usd_per_gpu_hour, utilisation, gpus, kw, pue, value_usd, years, mw
FROM
(
    SELECT
        'mining' AS kind, fleet AS symbol, h.mark AS mark, h.day AS day, h.last.1 AS event_time, 'daily' AS method, true AS preferred,
        arrayFirst(x -> x.1 = 'fleet-efficiency' AND x.2 = fleet AND x.3 <= h.day, levels) AS e,
        arrayFirst(x -> x.1 = 'pue' AND x.2 = 'mining' AND x.3 <= h.day, levels) AS p,
        toInt256(toDecimal256(hashprice_usd, 19) * e19) * e8 AS numerator,
        24 * toInt256(toDecimal256(j_per_th, 8) * e8) * toInt256(toDecimal256(pue, 8) * e8) AS denominator,
        e.5 AND p.5 AS confirmed,
        h.last.2 AS hashprice_usd, e.4 AS j_per_th, toDecimal64(0, 8) AS usd_per_gpu_hour, toDecimal64(0, 8) AS utilisation,
        toUInt32(0) AS gpus, toDecimal64(0, 8) AS kw, p.4 AS pue, toDecimal128(0, 8) AS value_usd, toDecimal64(0, 8) AS years, toDecimal64(0, 8) AS mw
    FROM
    (
        SELECT
            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(hashprice.event_time) AS day,
            argMax((hashprice.event_time, hashprice.hashprice_usd), (rev, stream_time, stream_seq, idx)) AS last
        FROM hashprice
        WHERE method = 'daily' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        GROUP BY mark, day
    ) AS h
    ARRAY JOIN arrayDistinct(arrayMap(x -> x.2, arrayFilter(x -> x.1 = 'fleet-efficiency', levels))) AS fleet

    UNION ALL

    SELECT
        'gpu' AS kind, r.gpu AS symbol, r.mark AS mark, r.day AS day, r.last.1 AS event_time, r.method AS method,
        r.rank > 0 AND r.rank = min(if(r.rank > 0, r.rank, 99)) OVER (PARTITION BY r.mark, r.gpu, r.day) AS preferred,
        arrayFirst(x -> x.1 = 'utilisation' AND x.2 = 'gpu' AND x.3 <= r.day, levels) AS u,
        arrayFirst(x -> x.1 = 'pue' AND x.2 = 'gpu' AND x.3 <= r.day, levels) AS p,
        toInt256(toDecimal256(usd_per_gpu_hour, 8) * e8) * toInt256(toDecimal256(utilisation, 8) * e8) * gpus * e11 AS numerator,
        if(utilisation = 0, 0, toInt256(toDecimal256(kw, 8) * e8) * toInt256(toDecimal256(pue, 8) * e8)) AS denominator,
        u.5 AND p.5 AND s.confirmed AS confirmed,
        toDecimal128(0, 19) AS hashprice_usd, toDecimal64(0, 8) AS j_per_th, r.last.2 AS usd_per_gpu_hour, u.4 AS utilisation,
        s.gpus AS gpus, s.kw AS kw, p.4 AS pue, toDecimal128(0, 8) AS value_usd, toDecimal64(0, 8) AS years, toDecimal64(0, 8) AS mw
    FROM
    (
        SELECT
            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, gpu, toDate(gpu_rates.event_time) AS day,
            concat(gpu_rates.method, '/', toString(version)) AS method,
            indexOf(['gpu-wmedian/1', 'vast-wmedian/1', 'vast-metrics-median/1'], method) AS rank,
            argMax((gpu_rates.event_time, gpu_rates.usd_per_gpu_hour), (gpu_rates.event_time, rev, stream_time, stream_seq, idx)) AS last
        FROM gpu_rates
        WHERE class = 'on-demand' AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        GROUP BY mark, gpu, day, method
    ) AS r
    LEFT JOIN
    (
        SELECT DISTINCT gpu, gpus, kw, confirmed
        FROM gpu_systems
        WHERE reference AND version = (SELECT argMax(version, loaded_at) FROM gpu_systems WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
    ) AS s ON s.gpu = r.gpu

    UNION ALL

    SELECT
        'contract' AS kind, symbol, '' AS mark, signed AS day, toDateTime64(signed, 9, 'UTC') AS event_time, concat(counterparty, ' ', kind_of) AS method,
        true AS preferred, ('', '', toDate(0), toDecimal64(0, 8), false) AS u, u AS p,
        toInt256(toDecimal256(value_usd, 8) * e8) * e8 * e8 AS numerator,
        8760 * toInt256(toDecimal256(years, 8) * e8) * toInt256(toDecimal256(mw, 8) * e8) AS denominator,
        confirmed, toDecimal128(0, 19) AS hashprice_usd, toDecimal64(0, 8) AS j_per_th, toDecimal64(0, 8) AS usd_per_gpu_hour, toDecimal64(0, 8) AS utilisation,
        gpus, toDecimal64(0, 8) AS kw, toDecimal64(0, 8) AS pue, value_usd, years, mw
    FROM
    (
        SELECT DISTINCT symbol, counterparty, kind AS kind_of, signed, gpus, value_usd, years, mw, confirmed
        FROM ai_contracts
        WHERE version = (SELECT argMax(version, loaded_at) FROM ai_contracts WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
    )
)
COMMENT 'Revenue in USD per MWh by day: mining by fleet, GPUs by model, contracts on their day; what was known at a moment: SELECT ... FROM revenue_per_mwh_as_of(as_of = \'2026-11-20 00:00:00\'). Rounded once, to 8 decimals, halves away from zero';
