-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW exposure_levels_as_of AS
WITH toInt256('10000000000000000000') AS e19
SELECT mark, factor, day, arraySort(groupArray((rank, method, toInt256(toDecimal256(level, 19) * e19), time, rev))) AS levels
FROM
(
    SELECT mark, day, toUInt8(1) AS rank, 'daily' AS method, last.1 AS time, last.4 AS rev, x.1 AS factor, x.2 AS level
    FROM
    (
        SELECT
            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(hashprice.event_time) AS day,
            argMax((hashprice.event_time, hashprice.btc_usd, hashprice.hashprice_usd, hashprice.rev), (rev, stream_time, stream_seq, idx)) AS last
        FROM hashprice
        WHERE method = 'daily' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        GROUP BY mark, day
    )
    ARRAY JOIN [('btc', CAST(last.2, 'Decimal(38, 19)')), ('hashprice', CAST(last.3, 'Decimal(38, 19)'))] AS x

    UNION ALL

    SELECT mark, day, toUInt8(2) AS rank, 'tip144' AS method, last.1 AS time, last.4 AS rev, x.1 AS factor, x.2 AS level
    FROM
    (
        SELECT t.mark AS mark, t.day AS day, t.last AS last
        FROM
        (
            SELECT
                multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(hashprice.event_time) AS day,
                argMax((hashprice.event_time, hashprice.btc_usd, hashprice.hashprice_usd, hashprice.rev), (hashprice.event_time, rev, stream_time, stream_seq, idx)) AS last
            FROM hashprice
            WHERE method = 'tip144' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')} AND hashprice.event_time >=
            (
                SELECT min(newest)
                FROM
                (
                    SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toStartOfDay(max(event_time)) AS newest
                    FROM hashprice
                    WHERE method = 'daily' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                    GROUP BY mark
                )
            )
            GROUP BY mark, day
        ) AS t
        INNER JOIN
        (
            SELECT multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(max(event_time)) AS newest
            FROM hashprice
            WHERE method = 'daily' AND NOT published AND stream_time <= {as_of:DateTime64(9, 'UTC')}
            GROUP BY mark
        ) AS d ON d.mark = t.mark
        WHERE t.day >= d.newest
    )
    ARRAY JOIN [('btc', CAST(last.2, 'Decimal(38, 19)')), ('hashprice', CAST(last.3, 'Decimal(38, 19)'))] AS x

    UNION ALL

    SELECT
        mark, day, toUInt8(indexOf(['gpu-wmedian/1', 'vast-wmedian/1', 'vast-metrics-median/1'], rate_method)) AS rank, rate_method AS method,
        last.1 AS time, last.3 AS rev, 'gpu' AS factor, CAST(last.2, 'Decimal(38, 19)') AS level
    FROM
    (
        SELECT
            multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toDate(gpu_rates.event_time) AS day,
            concat(gpu_rates.method, '/', toString(version)) AS rate_method,
            argMax((gpu_rates.event_time, gpu_rates.usd_per_gpu_hour, gpu_rates.rev), (gpu_rates.event_time, rev, stream_time, stream_seq, idx)) AS last
        FROM gpu_rates
        WHERE gpu = 'h100-sxm' AND class = 'on-demand' AND stream_time <= {as_of:DateTime64(9, 'UTC')}
        GROUP BY mark, day, rate_method
        HAVING rate_method IN ('gpu-wmedian/1', 'vast-wmedian/1', 'vast-metrics-median/1')
    )
)
WHERE level > 0
GROUP BY mark, factor, day
COMMENT 'Levels of the factors of exposure by UTC day, as they were known at a moment: hashprice and btc of the daily hashprice and, from its newest day on, of the last tip144 of the day; gpu of the last on-demand h100-sxm rate of the day by each method of the pivot. levels: (rank, 1 is preferred; method; USD times 10^19; time; revision)';
