-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS lead_lag_as_of AS
SELECT
    mark, symbol, factor, toInt8(lag) AS lag, toUInt16({window:UInt16}) AS window, last_day, toUInt16(pairs) AS n,
    CAST(toDecimal256(r_e8, 8) / 100000000, 'Nullable(Decimal(38, 8))') AS correlation,
    CAST(toDecimal256(sign(low) * intDiv(2 * abs(low) + low_per, 2 * low_per), 6) / 1000000, 'Nullable(Decimal(18, 6))') AS low,
    CAST(toDecimal256(sign(high) * intDiv(2 * abs(high) + high_per, 2 * high_per), 6) / 1000000, 'Nullable(Decimal(18, 6))') AS high,
    multiIf(pairs < 20, 'fewer than 20 pairs', var_x = 0, 'the factor did not move', var_y = 0, 'the price did not move', '') AS reason
FROM
(
    SELECT
        mark, symbol, factor, lag, last_day, pairs, var_x, var_y, r_e8,
        (r_e8 * 10000 - t_e12) * toInt256('1000000000000000000') AS low, toInt256('1000000000000000000000000') - r_e8 * 10000 * t_e12 AS low_per,
        (r_e8 * 10000 + t_e12) * toInt256('1000000000000000000') AS high, toInt256('1000000000000000000000000') + r_e8 * 10000 * t_e12 AS high_per
    FROM
    (
        SELECT
            mark, symbol, factor, lag, last_day, pairs, var_x, var_y,
            toInt256(cov_sign) * intDiv(root - (root * root > square) + ((root + 1) * (root + 1) <= square) + 1, 2) AS r_e8,
            toInt256(round(tanh(1.959963984540054 / sqrt(greatest(toInt64(pairs), 4) - 3)) * 1e12)) AS t_e12
        FROM
        (
            SELECT
                mark, symbol, factor, lag, last_day, pairs, var_x, var_y, sign(cov) AS cov_sign,
                toInt64(intDiv(4 * cov * cov * toInt256('10000000000000000'), nullIf(if(pairs >= 20, var_x * var_y, toInt256(0)), 0))) AS square,
                toInt64(floor(sqrt(toFloat64(square)))) AS root
            FROM
            (
                SELECT
                    mark, symbol, factor, lag, last_day, countIf(pair) AS pairs,
                    toInt256(pairs) * sumIf(x * y, pair) - sumIf(x, pair) * sumIf(y, pair) AS cov,
                    toInt256(pairs) * sumIf(x * x, pair) - sumIf(x, pair) * sumIf(x, pair) AS var_x,
                    toInt256(pairs) * sumIf(y * y, pair) - sumIf(y, pair) * sumIf(y, pair) AS var_y
                FROM
                (
                    SELECT
                        mark, symbol, factor, lag, last_day, step - greatest(-lag, 0) AS at_y, step - greatest(lag, 0) AS at_x,
                        rows[at_y].2 AS y_, rows[at_x].3 AS x_,
                        at_y > 0 AND at_x > 0 AND isNotNull(y_) AND isNotNull(x_) AS pair,
                        toInt256(toDecimal256(if(pair, assumeNotNull(y_), toDecimal128(0, 10)), 10) * toInt256('10000000000')) AS y,
                        toInt256(toDecimal256(if(pair, assumeNotNull(x_), toDecimal128(0, 10)), 10) * toInt256('10000000000')) AS x
                    FROM
                    (
                        SELECT
                            mark, symbol, factor, last_day, rows, lag,
                            arrayJoin(range(greatest(toInt64(length(rows)) - {window:UInt16}, 0) + 1, toInt64(length(rows)) + 1)) AS step
                        FROM
                        (
                            SELECT mark, symbol, factor, max(day) AS last_day, arraySort(groupArray((day, return_1d, factor_return_1d))) AS rows
                            FROM exposure_inputs_as_of(as_of = {as_of:DateTime64(9, 'UTC')})
                            WHERE day <= {day:Date} AND throwIf({window:UInt16} < 20 OR {window:UInt16} > 1000, 'lead_lag: window must be from 20 to 1000 trade days') = 0
                            GROUP BY mark, symbol, factor
                        )
                        ARRAY JOIN range(-5, 6) AS lag
                    )
                )
                GROUP BY mark, symbol, factor, lag, last_day
            )
        )
    )
)
COMMENT 'lead_lag as it was known at a moment: SELECT ... FROM lead_lag_as_of(window = 60, day = \'2026-05-29\', as_of = \'2026-11-20 00:00:00\')';
