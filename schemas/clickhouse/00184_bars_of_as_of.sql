-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW bars_of_as_of AS
SELECT
    {symbol:String} AS symbol, {interval:String} AS interval, concat(bar_source, '-prints') AS source, bar_mark AS mark, bar_session AS session,
    fromUnixTimestamp64Nano(start_ns, 'UTC') AS event_time, bar_date AS trade_date, bar_method AS method,
    open_usd, high_usd, low_usd, close_usd,
    if(actions = 0, NULL, CAST(round(close_usd * split_factor, 8), 'Decimal(38, 8)')) AS close_split_usd,
    if(actions = 0, NULL, CAST(round(close_usd * total_factor, 8), 'Decimal(38, 8)')) AS close_total_usd,
    volume, vwap_usd, trade_count,
    length(touching) AS gaps, countEqual(arrayMap(x -> x.4 = 'filled', touching), false) AS gaps_unfilled
FROM
(
    SELECT
        *,
        arrayFilter(x -> x.2 < end_ns AND x.3 > start_ns, gap_lines) AS touching,
        (SELECT count() FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')}) AS actions,
        if(found.3 = 0, toDecimal256(1, 30), found.3) AS split_factor, if(found.4 = 0, toDecimal256(1, 30), found.4) AS total_factor
    FROM
    (
        WITH
            (
                SELECT groupUniqArray((from_date, to_date, split_factor, total_factor))
                FROM adjustment_factors
                WHERE symbol = {symbol:String} AND version = (SELECT argMax(version, loaded_at) FROM adjustment_factors WHERE loaded_at <= {as_of:DateTime64(9, 'UTC')})
                    AND as_of_from <= toDate(least({as_of:DateTime64(9, 'UTC')}, now64(9, 'UTC')), 'America/New_York')
                    AND toDate(least({as_of:DateTime64(9, 'UTC')}, now64(9, 'UTC')), 'America/New_York') < as_of_to
            ) AS factors
        SELECT
            *,
            CAST(toDecimal256(volume_e8, 8) / 100000000, 'Decimal(38, 8)') AS volume,
            CAST(toDecimal256(quotient + toInt256(counted > 0 AND (2 * remainder > counted OR 2 * remainder = counted AND quotient % 2 = 1)), 8) / 100000000, 'Decimal(38, 8)') AS vwap_usd,
            arrayFirst(x -> x.1 <= bar_date AND bar_date < x.2, factors) AS found
        FROM
        (
            SELECT
                bar_source, bar_mark, bar_date, bar_session, start_ns, end_ns, bar_method, open_usd, if(closing > 0, last_usd, open_usd) AS close_usd,
                if(ranging > 0, greatest(max_usd, first_usd), first_usd) AS high_usd, if(ranging > 0, least(min_usd, first_usd), first_usd) AS low_usd,
                volume_e8, trade_count, counted, intDiv(turnover, if(counted = 0, 1, counted)) AS quotient, turnover - quotient * counted AS remainder
            FROM
            (
                SELECT
                    source AS bar_source, mark AS bar_mark, date AS bar_date, bar_session, start_ns, max(until_ns) AS end_ns, any(method) AS bar_method,
                    countIf(oc < 2) AS opening, argMinIf(price_usd, key, oc < 2) AS open_usd, countIf(oc = 0) AS closing, argMaxIf(price_usd, key, oc = 0) AS last_usd,
                    countIf(hl < 2) AS ranged, argMinIf(price_usd, key, hl < 2) AS first_usd, countIf(hl = 0) AS ranging, maxIf(price_usd, hl = 0) AS max_usd, minIf(price_usd, hl = 0) AS min_usd,
                    sumIf(size, v = 0) AS volume_e8, countIf(v = 0) AS trade_count, sumIf(size, v = 0 AND hl = 0) AS counted, sumIf(price * size, v = 0 AND hl = 0) AS turnover
                FROM
                (
                    SELECT
                        source, mark, date, method, price_usd, price, size, key, g.1 AS bar_session, g.2 AS start_ns, g.3 AS until_ns,
                        if(g.4, flags[4], flags[1]) AS oc, if(g.4, flags[5], flags[2]) AS hl, if(g.4, flags[6], flags[3]) AS v
                    FROM
                    (
                        SELECT
                            source, mark, date, method, price_usd, price, size, key, flags,
                            arrayJoin(multiIf(
                                {interval:String} = '1d', [('', midnight_ns, close_ns, true), (session, open_ns, close_ns, false)],
                                step <= 60000000000, [(session, intDiv(ns, step) * step, intDiv(ns, step) * step + step, false)],
                                opened > 0 AND ranged > 0 AND counts > 0, [(session, greatest(intDiv(ns, step) * step, open_ns), least(intDiv(ns, step) * step + step, close_ns), false)],
                                [])) AS g
                        FROM
                        (
                            SELECT
                                *,
                                toInt64(toUnixTimestamp(toDateTime(date, 'America/New_York'))) * 1000000000 AS midnight_ns,
                                toInt64(toUInt32OrZero(substring({interval:String}, 1, length({interval:String}) - 1)))
                                    * transform(substring({interval:String}, length({interval:String})), ['s', 'm', 'h', 'd'], [1000000000, 60000000000, 3600000000000, 86400000000000], 0) AS step,
                                countIf(flags[1] < 2) OVER of_minute AS opened, countIf(flags[2] < 2) OVER of_minute AS ranged, countIf(flags[3] = 0) OVER of_minute AS counts
                            FROM
                            (
                                SELECT
                                    source, mark, date, at.1 AS ns, at.5 AS session, at.6 AS open_ns, at.7 AS close_ns, what.1 AS price_usd,
                                    (at.1, at.2, at.3, at.4, made_at.1, made_at.2) AS key, intDiv(at.1, 60000000000) AS minute,
                                    toInt256(toDecimal256(what.1, 8) * toInt256(100000000)) AS price, toInt256(toDecimal256(what.2, 8) * toInt256(100000000)) AS size,
                                    if(rules.1 = '', 'no-conditions/1', rules.2) AS method,
                                    if(rules.1 = '' OR empty(ruled), [0, 0, 0, 0, 0, 0], arrayReduce('maxForEach', ruled)) AS flags
                                FROM
                                (
                                    SELECT
                                        *,
                                        arrayMap((own, other, c) -> multiIf(c = '', [0, 0, 0, 0, 0, 0], notEmpty(own), own, notEmpty(other), other, [2, 2, 0, 2, 2, 0]),
                                            arrayMap(c -> rules.3[concat(c, '|', what.4)], what.3), arrayMap(c -> rules.3[concat(c, '|')], what.3), what.3) AS ruled
                                    FROM
                                    (
                                        WITH
                                            (
                                                SELECT groupArray((name, named, by_key))
                                                FROM
                                                (
                                                    SELECT toString(venue) AS name, any(toString(method)) AS named,
                                                        mapFromArrays(groupArray(concat(code, '|', tape)), groupArray(arrayMap(i -> toUInt8(indexOf(['G', 'Y', 'R'], substring(concat(minute, daily), i, 1)) - 1), [1, 2, 3, 4, 5, 6]))) AS by_key
                                                    FROM (SELECT DISTINCT venue, method, code, tape, minute, daily FROM sale_conditions WHERE version = (SELECT argMax(version, loaded_at) FROM sale_conditions))
                                                    GROUP BY name
                                                )
                                            ) AS venues
                                        SELECT
                                            source, mark, date, made_at, if(known, at, origin.3) AS at, if(inplace, fixed, if(known, print, made)) AS what,
                                            arrayFirst(x -> startsWith(substring(source, length(mark) + 1), x.1), venues) AS rules
                                        FROM
                                        (
                                            SELECT
                                                source, mark, date, exchange, id, known, at, print, inplace, fixed, made, if(known, (toUInt64(0), toUInt32(0)), made_at) AS made_at,
                                                if(known OR first_origin.2 OR first_origin.4 = '', first_origin,
                                                    arrayFirst(x -> x.1 = (source, date, exchange, first_origin.4), parents)) AS second_origin,
                                                if(known OR second_origin.2 OR second_origin.4 = '', second_origin,
                                                    arrayFirst(x -> x.1 = (source, date, exchange, second_origin.4), parents)) AS origin
                                            FROM
                                            (
                                                SELECT *, if(known, parents[0], arrayFirst(x -> x.1 = (source, date, exchange, from_id), parents)) AS first_origin
                                                FROM
                                                (
                                                    SELECT
                                                        *,
                                                        (
                                                            SELECT groupArray(((source, date, exchange, id), known, at, from_id))
                                                            FROM
                                                            (
                                                            SELECT
                                                                source, mark, date, exchange, id,
                                                                countIf(role = 1) > 0 AS known, argMinIf(place, told_at, role = 1) AS at, argMinIf(what, told_at, role = 1) AS print,
                                                                countIf(role = 2 OR role = 4) > 0 AS gone, countIf(role = 4) > 0 AS replaced,
                                                                countIf(role = 3 AND other = id) > 0 AS inplace, argMinIf(what, told_at, role = 3 AND other = id) AS fixed,
                                                                argMinIf(other, told_at, role = 3 AND other != id) AS from_id, argMinIf(what, told_at, role = 3 AND other != id) AS made,
                                                                minIf(told_at, role = 3 AND other != id) AS made_at
                                                            FROM
                                                            (
                                                                SELECT
                                                                    t.source AS source, t.mark AS mark, e.date AS date, t.exchange AS exchange, t.x.2 AS id, t.x.1 AS role, t.x.3 AS other,
                                                                    (t.ns, t.sequence, t.stream_seq, t.idx, if(t.ns < e.close_ns, e.kind, ''), e.open_ns, e.close_ns) AS place, t.what AS what, (t.stream_seq, t.idx) AS told_at
                                                                FROM
                                                                (
                                                                    SELECT
                                                                        true AS one, toString(source) AS source, multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toString(exchange) AS exchange,
                                                                        arrayJoin(multiIf(
                                                                            action = 'trade', [(1, own_id, '')], action = 'cancel', [(2, trade_id, '')],
                                                                            trade_id = original_trade_id, [(3, trade_id, original_trade_id)], [(3, trade_id, original_trade_id), (4, original_trade_id, '')])) AS x,
                                                                        ns, sequence, stream_seq, idx, (price_usd, size_shares, arrayMap(c -> toString(c), conditions), toString(tape)) AS what
                                                                    FROM
                                                                    (
                                                                        SELECT
                                                                            source, exchange, action, trade_id, original_trade_id, sequence, stream_seq, idx, price_usd, size_shares, conditions, tape,
                                                                            toUnixTimestamp64Nano(event_time) AS ns, if(trade_id != '', trade_id, concat(toString(ns), '@', toString(price_usd), 'x', toString(size_shares))) AS own_id
                                                                        FROM trades
                                                                        WHERE symbol = {symbol:String} AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                                                                            AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 27 HOUR AND event_time < {to_time:DateTime64(9, 'UTC')} + INTERVAL 5 DAY
                                                                            AND (action != 'trade' OR event_time < {to_time:DateTime64(9, 'UTC')} + INTERVAL 27 HOUR)
                                                                    )
                                                                ) AS t
                                                                ASOF INNER JOIN
                                                                (
                                                                    SELECT true AS one, mark, date, s.1 AS kind, (midnight + s.2) * 1000000000 AS open_ns, (midnight + s.3) * 1000000000 AS close_ns
                                                                    FROM
                                                                    (
                                                                        SELECT
                                                                            mark, date, midnight,
                                                                            arrayJoin(multiIf(mark != '', [('regular', toInt64(0), next_midnight - midnight)], notEmpty(spans), spans, listed OR toDayOfWeek(date) > 5, [], date >= '2026-12-07',
                                                                                [('overnight', toInt64(-10800), toInt64(14400)), ('pre', toInt64(14400), toInt64(34200)), ('regular', toInt64(34200), toInt64(57600)), ('after', toInt64(57600), toInt64(72000))],
                                                                                [('pre', toInt64(14400), toInt64(34200)), ('regular', toInt64(34200), toInt64(57600)), ('after', toInt64(57600), toInt64(72000))])) AS s
                                                                        FROM
                                                                        (
                                                                            SELECT
                                                                                arrayJoin(['', 'sim-', 'rec-']) AS mark, toDate({from_time:DateTime64(9, 'UTC')}) - 10 + number AS date,
                                                                                toInt64(toUnixTimestamp(toDateTime(date, 'America/New_York'))) AS midnight, toInt64(toUnixTimestamp(toDateTime(date + 1, 'America/New_York'))) AS next_midnight,
                                                                                toYear(date) IN (SELECT DISTINCT toYear(date) FROM trade_dates) AS listed
                                                                            FROM numbers(toUInt64(18 + greatest(0, dateDiff('day', {from_time:DateTime64(9, 'UTC')}, {to_time:DateTime64(9, 'UTC')}))))
                                                                        ) AS d
                                                                        LEFT JOIN
                                                                        (
                                                                            SELECT date AS of_date, any(arrayMap(s -> (s.1, toInt64(s.2), toInt64(s.3)), sessions)) AS spans
                                                                            FROM trade_dates
                                                                            WHERE version = (SELECT argMax(version, loaded_at) FROM trade_dates)
                                                                            GROUP BY of_date
                                                                        ) AS c ON c.of_date = d.date
                                                                    )
                                                                ) AS e ON e.one = t.one AND e.mark = t.mark AND t.ns >= e.open_ns
                                                            )
                                                            GROUP BY source, mark, date, exchange, id
                                                            )
                                                            WHERE replaced
                                                        ) AS parents
                                                    FROM
                                                    (
                                                    SELECT
                                                        source, mark, date, exchange, id,
                                                        countIf(role = 1) > 0 AS known, argMinIf(place, told_at, role = 1) AS at, argMinIf(what, told_at, role = 1) AS print,
                                                        countIf(role = 2 OR role = 4) > 0 AS gone, countIf(role = 4) > 0 AS replaced,
                                                        countIf(role = 3 AND other = id) > 0 AS inplace, argMinIf(what, told_at, role = 3 AND other = id) AS fixed,
                                                        argMinIf(other, told_at, role = 3 AND other != id) AS from_id, argMinIf(what, told_at, role = 3 AND other != id) AS made,
                                                        minIf(told_at, role = 3 AND other != id) AS made_at
                                                    FROM
                                                    (
                                                        SELECT
                                                            t.source AS source, t.mark AS mark, e.date AS date, t.exchange AS exchange, t.x.2 AS id, t.x.1 AS role, t.x.3 AS other,
                                                            (t.ns, t.sequence, t.stream_seq, t.idx, if(t.ns < e.close_ns, e.kind, ''), e.open_ns, e.close_ns) AS place, t.what AS what, (t.stream_seq, t.idx) AS told_at
                                                        FROM
                                                        (
                                                            SELECT
                                                                true AS one, toString(source) AS source, multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, toString(exchange) AS exchange,
                                                                arrayJoin(multiIf(
                                                                    action = 'trade', [(1, own_id, '')], action = 'cancel', [(2, trade_id, '')],
                                                                    trade_id = original_trade_id, [(3, trade_id, original_trade_id)], [(3, trade_id, original_trade_id), (4, original_trade_id, '')])) AS x,
                                                                ns, sequence, stream_seq, idx, (price_usd, size_shares, arrayMap(c -> toString(c), conditions), toString(tape)) AS what
                                                            FROM
                                                            (
                                                                SELECT
                                                                    source, exchange, action, trade_id, original_trade_id, sequence, stream_seq, idx, price_usd, size_shares, conditions, tape,
                                                                    toUnixTimestamp64Nano(event_time) AS ns, if(trade_id != '', trade_id, concat(toString(ns), '@', toString(price_usd), 'x', toString(size_shares))) AS own_id
                                                                FROM trades
                                                                WHERE symbol = {symbol:String} AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                                                                    AND event_time >= {from_time:DateTime64(9, 'UTC')} - INTERVAL 27 HOUR AND event_time < {to_time:DateTime64(9, 'UTC')} + INTERVAL 5 DAY
                                                                    AND (action != 'trade' OR event_time < {to_time:DateTime64(9, 'UTC')} + INTERVAL 27 HOUR)
                                                            )
                                                        ) AS t
                                                        ASOF INNER JOIN
                                                        (
                                                            SELECT true AS one, mark, date, s.1 AS kind, (midnight + s.2) * 1000000000 AS open_ns, (midnight + s.3) * 1000000000 AS close_ns
                                                            FROM
                                                            (
                                                                SELECT
                                                                    mark, date, midnight,
                                                                    arrayJoin(multiIf(mark != '', [('regular', toInt64(0), next_midnight - midnight)], notEmpty(spans), spans, listed OR toDayOfWeek(date) > 5, [], date >= '2026-12-07',
                                                                        [('overnight', toInt64(-10800), toInt64(14400)), ('pre', toInt64(14400), toInt64(34200)), ('regular', toInt64(34200), toInt64(57600)), ('after', toInt64(57600), toInt64(72000))],
                                                                        [('pre', toInt64(14400), toInt64(34200)), ('regular', toInt64(34200), toInt64(57600)), ('after', toInt64(57600), toInt64(72000))])) AS s
                                                                FROM
                                                                (
                                                                    SELECT
                                                                        arrayJoin(['', 'sim-', 'rec-']) AS mark, toDate({from_time:DateTime64(9, 'UTC')}) - 10 + number AS date,
                                                                        toInt64(toUnixTimestamp(toDateTime(date, 'America/New_York'))) AS midnight, toInt64(toUnixTimestamp(toDateTime(date + 1, 'America/New_York'))) AS next_midnight,
                                                                        toYear(date) IN (SELECT DISTINCT toYear(date) FROM trade_dates) AS listed
                                                                    FROM numbers(toUInt64(18 + greatest(0, dateDiff('day', {from_time:DateTime64(9, 'UTC')}, {to_time:DateTime64(9, 'UTC')}))))
                                                                ) AS d
                                                                LEFT JOIN
                                                                (
                                                                    SELECT date AS of_date, any(arrayMap(s -> (s.1, toInt64(s.2), toInt64(s.3)), sessions)) AS spans
                                                                    FROM trade_dates
                                                                    WHERE version = (SELECT argMax(version, loaded_at) FROM trade_dates)
                                                                    GROUP BY of_date
                                                                ) AS c ON c.of_date = d.date
                                                            )
                                                        ) AS e ON e.one = t.one AND e.mark = t.mark AND t.ns >= e.open_ns
                                                    )
                                                    GROUP BY source, mark, date, exchange, id
                                                    )
                                                )
                                                WHERE NOT gone AND (known OR from_id != '')
                                            )
                                        )
                                        WHERE known OR origin.2
                                    )
                                )
                                WHERE what.2 > 0 AND at.5 != ''
                            )
                            WINDOW of_minute AS (PARTITION BY source, open_ns, minute)
                        )
                    )
                )
                WHERE start_ns >= toUnixTimestamp64Nano({from_time:DateTime64(9, 'UTC')}) AND start_ns < toUnixTimestamp64Nano({to_time:DateTime64(9, 'UTC')})
                GROUP BY source, mark, date, bar_session, start_ns
            )
            WHERE opening > 0 AND ranged > 0 AND volume_e8 > 0
        ) AS bar
        LEFT JOIN
        (
            SELECT of_source, groupArray((line.1, ifNull(toUnixTimestamp64Nano(line.2), toInt64(0)), ifNull(toUnixTimestamp64Nano(line.3), toInt64(9000000000000000000)), line.4)) AS gap_lines
            FROM
            (
                SELECT toString(source) AS of_source, gap_id, argMax((toString(symbol), from_time, to_time, toString(state)), (rev, stream_time, stream_seq, idx)) AS line
                FROM feed_gaps
                WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY source, gap_id
                HAVING line.1 IN ('*', {symbol:String}) AND (line.2 IS NULL OR line.2 < {to_time:DateTime64(9, 'UTC')} + INTERVAL 1 DAY)
                    AND (line.3 IS NULL OR line.3 > {from_time:DateTime64(9, 'UTC')})
            )
            GROUP BY of_source
        ) AS gap ON gap.of_source = bar.bar_source
    )
)
WHERE
(
    SELECT throwIf(NOT match({interval:String}, '^([1-9][0-9]*[smh]|1d)$')
        OR 86400 % greatest(1, toUInt32OrZero(extract({interval:String}, '^[0-9]+')) * transform(substring({interval:String}, length({interval:String})), ['s', 'm', 'h', 'd'], [1, 60, 3600, 86400], 1)) != 0,
        'interval is none of 1s, 1m, 1h, 1d, nor a number of s, m or h that divides a day')
) = 0
COMMENT 'bars_of as it was known at a moment: SELECT ... FROM bars_of_as_of(symbol = \'IREN\', interval = \'5m\', from_time = \'2026-11-20 14:30:00\', to_time = \'2026-11-20 21:00:00\', as_of = \'2026-11-21 00:00:00\')';
