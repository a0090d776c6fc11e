-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW event_study_as_of AS
SELECT
    mark, event_date, symbol, kind, title, exact, confirmed, index_symbol,
    step AS offset, day, return_1d, expected_return, abnormal_return,
    if(broken = 0, cumulated, NULL) AS cumulative_abnormal,
    if(mean_volume > 0, volume / mean_volume, NULL) AS volume_ratio,
    alpha, beta, n_estimation,
    multiIf(
        day IS NULL, why_no_day,
        return_1d IS NULL, why_no_return,
        n_estimation < 40, concat('only ', toString(n_estimation), ' of the 120 days of the estimation have returns of both, 40 are needed'),
        index_return IS NULL, concat('no return of ', index_symbol, ' on that day'),
        broken > 0, 'a day before it has no abnormal return, so they cannot be summed',
        mean_volume IS NULL OR mean_volume = 0 OR volume IS NULL, 'no volume',
        '') AS reason
FROM
(
    SELECT
        *,
        sum(abnormal_return) OVER until AS cumulated,
        countIf(abnormal_return IS NULL) OVER until AS broken
    FROM
    (
        SELECT
            *,
            alpha + beta * index_return AS expected_return,
            return_1d - expected_return AS abnormal_return
        FROM
        (
            SELECT
                mark, event_date, symbol, kind, title, exact, confirmed, step, index_symbol, n_estimation, mean_volume,
                if(n_estimation >= 40 AND fit.1 != 0, fit.2 / fit.1, NULL) AS beta,
                if(n_estimation >= 40 AND fit.1 != 0, fit.4 - fit.2 / fit.1 * fit.3, NULL) AS alpha,
                multiIf(event_ord = 0, NULL, x.1 > 0, x.2, NULL) AS day, x.3 AS return_1d, if(index_symbol = 'WGMI', x.4, if(index_symbol = 'QQQ', x.5, if(index_symbol = 'SPY', x.6, NULL))) AS index_return,
                x.7 AS volume, x.8 AS why_no_return,
                multiIf(event_ord = 0, 'no closes of any symbol within a week from the event on', empty(days_of), 'no closes of the symbol',
                    event_ord + step < days_of[1].1, 'the symbol has no closes yet', event_ord + step > days_of[-1].1, 'the symbol has no closes any more, or not yet', 'no close of that trade date') AS why_no_day
            FROM
            (
                SELECT
                    *, step, arrayFirst(d -> d.1 = event_ord + step, days_of) AS x
                FROM
                (
                    SELECT
                        *,
                        multiIf(symbol != 'WGMI', 'WGMI', length(est_qqq) >= 40, 'QQQ', 'SPY') AS index_symbol,
                        arrayMap(d -> assumeNotNull(d.3), multiIf(index_symbol = 'WGMI', est_wgmi, index_symbol = 'QQQ', est_qqq, est_spy)) AS est_s,
                        multiIf(index_symbol = 'WGMI', arrayMap(d -> assumeNotNull(d.4), est_wgmi), index_symbol = 'QQQ', arrayMap(d -> assumeNotNull(d.5), est_qqq), arrayMap(d -> assumeNotNull(d.6), est_spy)) AS est_i,
                        toUInt32(length(est_s)) AS n_estimation,
                        if(n_estimation = 0, (0., 0., 0., 0.),
                            (arrayReduce('varPop', est_i), arrayReduce('covarPop', est_s, est_i), arrayReduce('avg', est_i), arrayReduce('avg', est_s))) AS fit,
                        if(empty(est_volumes), NULL, arrayReduce('avg', est_volumes)) AS mean_volume
                    FROM
                    (
                        SELECT
                            *,
                            arrayFilter(d -> d.1 >= event_ord - 140 AND d.1 <= event_ord - 21 AND event_ord > 0, days_of) AS est,
                            arrayFilter(d -> d.3 IS NOT NULL AND d.4 IS NOT NULL, est) AS est_wgmi,
                            arrayFilter(d -> d.3 IS NOT NULL AND d.5 IS NOT NULL, est) AS est_qqq,
                            arrayFilter(d -> d.3 IS NOT NULL AND d.6 IS NOT NULL, est) AS est_spy,
                            arrayMap(d -> assumeNotNull(d.7), arrayFilter(d -> d.7 IS NOT NULL, est)) AS est_volumes
                        FROM
                        (
                            SELECT event_date, kind, title, exact, confirmed, mark, chosen.1 AS symbol, chosen.2 AS days_of, event_ord
                            FROM
                            (
                                SELECT
                                    e.date AS event_date, e.kind AS kind, e.title AS title, e.exact AS exact, e.confirmed AS confirmed, m.mark AS mark,
                                    arrayFirst(d -> d.2 >= e.date AND d.2 <= e.date + 7, m.days).1 AS event_ord,
                                    if(e.symbol = '', m.symbols, [(e.symbol, arrayFirst(x -> x.1 = e.symbol, m.symbols).2)]) AS all_chosen
                                FROM
                                (
                                    SELECT DISTINCT date, toString(symbol) AS symbol, kind, exact, title, confirmed
                                    FROM market_events
                                    WHERE version = (SELECT argMax(version, loaded_at) FROM market_events WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                                ) AS e
                                CROSS JOIN
                                (
                                    SELECT mark, groupArray((symbol, days_of)) AS symbols, arraySort(arrayDistinct(groupArrayArray(arrayMap(d -> (d.1, d.2), days_of)))) AS days
                                    FROM
                                    (
                                        SELECT mark, symbol, arraySort(groupArray((ord, day, return_1d, wgmi, qqq, spy, toFloat64(volume), reason))) AS days_of
                                        FROM
                                        (
                                            SELECT
                                                mark, toString(symbol) AS symbol, day, return_1d, volume, reason,
                                                toInt64(dense_rank() OVER (PARTITION BY mark ORDER BY day)) AS ord,
                                                anyIf(return_1d, symbol = 'WGMI') OVER (PARTITION BY mark, day) AS wgmi,
                                                anyIf(return_1d, symbol = 'QQQ') OVER (PARTITION BY mark, day) AS qqq,
                                                anyIf(return_1d, symbol = 'SPY') OVER (PARTITION BY mark, day) AS spy
                                            FROM daily_closes_as_of(as_of = {as_of:DateTime64(9, 'UTC')})
                                            WHERE NOT endsWith(symbol, '-USD')
                                        )
                                        GROUP BY mark, symbol
                                    )
                                    GROUP BY mark
                                ) AS m
                            )
                            ARRAY JOIN all_chosen AS chosen
                        )
                    )
                )
                ARRAY JOIN arrayMap(n -> toInt32(n) - 10, range(31)) AS step
            )
        )
    )
    WINDOW until AS (PARTITION BY mark, event_date, symbol, kind, title ORDER BY step ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
COMMENT 'event_study as it was known at a moment: SELECT ... FROM event_study_as_of(as_of = \'2026-11-20 00:00:00\')';
