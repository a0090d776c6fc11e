-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW data_quality_range_as_of AS
WITH least({as_of:DateTime64(9, 'UTC')}, now64(9, 'UTC')) AS moment
SELECT
    multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '') AS mark, day, table, source, symbol, rows,
    gaps_open, gaps_filled, gaps_partly, gaps_given_up, missed_seconds, first_time, last_time,
    if(last_time IS NULL, NULL, greatest(0, dateDiff('second', last_time, least(moment, toDateTime64(day + 1, 9, 'UTC'))))) AS staleness_s,
    revised, dead,
    multiIf(
        table = 'feed_gaps', if(gaps_open + gaps_partly + gaps_given_up > 0, 'what was missed on this day is not there whole', ''),
        table = 'dead_letters', 'events were refused',
        rows = 0, 'no rows of this day',
        '') AS reason
FROM
(
    SELECT
        table, source, symbol, shown.1 AS day, shown.2 AS rows, shown.3 AS first_time, shown.4 AS last_time, shown.5 AS revised,
        toUInt64(0) AS gaps_open, toUInt64(0) AS gaps_filled, toUInt64(0) AS gaps_partly, toUInt64(0) AS gaps_given_up, 0. AS missed_seconds, toUInt64(0) AS dead
    FROM
    (
        SELECT
            table, source, symbol, daily,
            arrayMap(x -> x.1, daily) AS days,
            arrayConcat(daily, arrayMap(d -> (d, toUInt64(0), NULL, NULL, toUInt64(0)), arrayFilter(
                d -> NOT has(days, d) AND (endsWith(symbol, '-USD') OR startsWith(source, 'sim-') OR NOT (startsWith(table, 'bars ') OR table IN ('trades', 'quotes')) OR has(dates, d)),
                arrayMap(n -> days[1] + n, range(toUInt64(greatest(0, toInt64(least(days[-1] + 10, toDate(moment), {to_date:Date})) - toInt64(days[1]))) + 1))))) AS all_days
        FROM
        (
            SELECT
                table, source, symbol, arraySort(groupArray((day, rows, toNullable(first_time), toNullable(last_time), revised))) AS daily,
                (SELECT groupUniqArray(date) FROM trade_dates WHERE version = (SELECT argMax(version, loaded_at) FROM trade_dates)) AS dates
            FROM
            (
                SELECT 'trades' AS table, toString(source) AS source, toString(symbol) AS symbol, toDate(event_time + INTERVAL 3 HOUR, 'America/New_York') AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM trades
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'quotes' AS table, toString(source) AS source, toString(symbol) AS symbol, toDate(event_time + INTERVAL 3 HOUR, 'America/New_York') AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM quotes
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT concat('bars ', interval) AS table, toString(source) AS source, toString(symbol) AS symbol, if(trade_date != '', toDate(trade_date), if(interval = '1d', toDate(event_time), if(endsWith(symbol, '-USD'), toDate(event_time), toDate(event_time + INTERVAL 3 HOUR, 'America/New_York')))) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM bars
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'halts' AS table, toString(source) AS source, toString(symbol) AS symbol, toDate(event_time + INTERVAL 3 HOUR, 'America/New_York') AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM halts
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'btc_blocks' AS table, toString(source) AS source, '' AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM btc_blocks
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'btc_difficulty' AS table, toString(source) AS source, '' AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM btc_difficulty
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'btc_fees' AS table, toString(source) AS source, '' AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM btc_fees
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'btc_prices' AS table, toString(source) AS source, '' AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM btc_prices
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'hashprice' AS table, toString(source) AS source, toString(method) AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM hashprice
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'gpu_offers' AS table, toString(source) AS source, toString(gpu) AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM gpu_offers
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'gpu_rates' AS table, toString(source) AS source, concat(gpu, ' ', class) AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM gpu_rates
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
                UNION ALL
                SELECT 'signals' AS table, toString(source) AS source, concat(name, ' ', symbol) AS symbol, toDate(event_time) AS day, count() AS rows, min(event_time) AS first_time, max(event_time) AS last_time, countIf(rev > 0) AS revised
                FROM signals
                WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY table, source, symbol, day
            )
            GROUP BY table, source, symbol
        )
    )
    ARRAY JOIN if(table IN ('halts', 'signals', 'btc_difficulty'), daily, all_days) AS shown

    UNION ALL

    SELECT
        'feed_gaps' AS table, source, line.1 AS symbol, day, count() AS rows, toNullable(min(ifNull(line.2, line.5))) AS first_time, toNullable(max(ifNull(line.3, moment))) AS last_time, toUInt64(0) AS revised,
        countIf(line.4 = 'open') AS gaps_open, countIf(line.4 = 'filled') AS gaps_filled, countIf(line.4 = 'partly') AS gaps_partly, countIf(line.4 = 'given_up') AS gaps_given_up,
        sumIf((toUnixTimestamp64Nano(least(ifNull(line.3, moment), toDateTime64(day + 1, 9, 'UTC'))) - toUnixTimestamp64Nano(greatest(ifNull(line.2, line.5), toDateTime64(day, 9, 'UTC')))) / 1e9, line.4 != 'filled') AS missed_seconds,
        toUInt64(0) AS dead
    FROM
    (
        SELECT
            source, line,
            arrayJoin(if(line.4 = 'filled', [greatest(from_day, {from_date:Date})], arrayMap(n -> greatest(from_day, {from_date:Date}) + n, range(toUInt64(greatest(0, toInt64(least(to_day, {to_date:Date})) - toInt64(greatest(from_day, {from_date:Date})) + 1)))))) AS day
        FROM
        (
            SELECT toString(source) AS source, line, toDate(ifNull(line.2, line.5)) AS from_day, toDate(ifNull(line.3, moment)) AS to_day
            FROM
            (
                SELECT source, gap_id, argMax((toString(symbol), from_time, to_time, toString(state), event_time), (rev, stream_time, stream_seq, idx)) AS line
                FROM feed_gaps
                WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
                GROUP BY source, gap_id
            )
        )
        WHERE from_day <= {to_date:Date} AND to_day >= {from_date:Date}
    )
    GROUP BY source, symbol, day

    UNION ALL

    SELECT 'dead_letters', toString(source), '', toDate(event_time) AS day, count(), toNullable(min(event_time)), toNullable(max(event_time)), toUInt64(0),
        toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), 0., count()
    FROM dead_letters
    WHERE event_time >= toDateTime64({from_date:Date} - INTERVAL 11 DAY, 9, 'UTC') AND event_time < toDateTime64({to_date:Date} + INTERVAL 2 DAY, 9, 'UTC') AND stream_time <= {as_of:DateTime64(9, 'UTC')}
    GROUP BY source, day
)
WHERE day >= {from_date:Date} AND day <= {to_date:Date}
COMMENT 'data_quality of the days from from_date to to_date as they were known at a moment; it reads no others, so it is quick: SELECT ... FROM data_quality_range_as_of(from_date = \'2026-11-01\', to_date = \'2026-11-20\', as_of = \'2026-11-21 00:00:00\')';
