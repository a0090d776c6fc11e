-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS exposure_as_of AS
SELECT
    mark, symbol, day, factor, toUInt16({window:UInt16}) AS window, from_day, toUInt16(spans) AS trade_days, toUInt16(pairs) AS n,
    CAST(toDecimal256(if(abs(beta_e8) < toInt256('1000000000000000000'), beta_e8, NULL), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS beta,
    CAST(toDecimal256(r_e8, 8) / 100000000, 'Nullable(Decimal(38, 8))') AS correlation,
    CAST(toDecimal256(low_e6, 6) / 1000000, 'Nullable(Decimal(18, 6))') AS correlation_low,
    CAST(toDecimal256(high_e6, 6) / 1000000, 'Nullable(Decimal(18, 6))') AS correlation_high,
    CAST(toDecimal256(r2_e8, 8) / 100000000, 'Nullable(Decimal(38, 8))') AS r2,
    CAST(toDecimal256(if(low_e6 * high_e6 <= 0, toInt256(0), intDiv(2 * least(low_e6 * low_e6, high_e6 * high_e6) + 1000000, 2000000)), 6) / 1000000, 'Nullable(Decimal(18, 6))') AS r2_low,
    CAST(toDecimal256(intDiv(2 * greatest(low_e6 * low_e6, high_e6 * high_e6) + 1000000, 2000000), 6) / 1000000, 'Nullable(Decimal(18, 6))') AS r2_high,
    multiIf(pairs < 20, 'fewer than 20 pairs', var_x = 0, 'the factor did not move', abs(beta_e8) >= toInt256('1000000000000000000'), 'the factor hardly moved',
        var_y = 0, 'the price did not move', '') AS reason,
    day_reason, longest_span_days, final AND method != 'tip144' AS final,
    close_usd, close_source, close_time, close_rev, method, level_usd, level_time, level_rev
FROM
(
    SELECT
        mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
        spans, pairs, from_day, longest_span_days, var_x, var_y, beta_e8, r2_e8, r_e8,
        sign(low) * intDiv(2 * abs(low) + low_per, 2 * low_per) AS low_e6, sign(high) * intDiv(2 * abs(high) + high_per, 2 * high_per) AS high_e6
    FROM
    (
        SELECT
            mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
            spans, pairs, from_day, longest_span_days, var_x, var_y, beta_e8, r2_e8, r_e8,
            (r_e8 * 10000 - t_e12) * toInt256('1000000000000000000') AS low, toInt256('1000000000000000000000000') - r_e8 * 10000 * t_e12 AS low_per,
            (r_e8 * 10000 + t_e12) * toInt256('1000000000000000000') AS high, toInt256('1000000000000000000000000') + r_e8 * 10000 * t_e12 AS high_per
        FROM
        (
            SELECT
                mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
                spans, pairs, from_day, longest_span_days, var_x, var_y, beta_e8, r2_e8, t_e12,
                toInt256(cov_sign) * intDiv(root - (root * root > square) + ((root + 1) * (root + 1) <= square) + 1, 2) AS r_e8
            FROM
            (
                SELECT
                    mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
                    spans, pairs, from_day, longest_span_days, var_x, var_y, cov_sign,
                    cov_sign * intDiv(2 * cov_size * toInt256(100000000) + dx, 2 * dx) AS beta_e8,
                    intDiv(2 * cov_size * cov_size * toInt256(100000000) + dxy, 2 * dxy) AS r2_e8,
                    toInt64(intDiv(4 * cov_size * cov_size * toInt256('10000000000000000'), dxy)) AS square,
                    toInt64(floor(sqrt(toFloat64(square)))) AS root,
                    toInt256(round(tanh(1.959963984540054 / sqrt(greatest(toInt64(pairs), 4) - 3)) * 1e12)) AS t_e12
                FROM
                (
                    SELECT
                        mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
                        spans, pairs, from_day, longest_span_days, var_x, var_y,
                        sign(cov) AS cov_sign, abs(cov) AS cov_size, nullIf(if(pairs >= 20, var_x, toInt256(0)), 0) AS dx, nullIf(if(pairs >= 20, var_x * var_y, toInt256(0)), 0) AS dxy
                    FROM
                    (
                        SELECT
                            mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
                            spans, pairs, from_day, longest_span_days,
                            toInt256(pairs) * sxy - sx * sy AS cov, toInt256(pairs) * sxx - sx * sx AS var_x, toInt256(pairs) * syy - sy * sy AS var_y
                        FROM
                        (
                            SELECT
                                mark, symbol, day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev, day_reason,
                                least(row, {window:UInt16}) AS spans, pairs_all - lagInFrame(pairs_all, {window:UInt16}, 0) OVER w AS pairs,
                                first_value(prev_day) OVER last AS from_day, toUInt16(max(span_days) OVER last) AS longest_span_days,
                                toInt256(sx_all - lagInFrame(sx_all, {window:UInt16}, toInt128(0)) OVER w) AS sx, toInt256(sy_all - lagInFrame(sy_all, {window:UInt16}, toInt128(0)) OVER w) AS sy,
                                toInt256(sxx_all - lagInFrame(sxx_all, {window:UInt16}, toInt128(0)) OVER w) AS sxx, toInt256(sxy_all - lagInFrame(sxy_all, {window:UInt16}, toInt128(0)) OVER w) AS sxy,
                                toInt256(syy_all - lagInFrame(syy_all, {window:UInt16}, toInt128(0)) OVER w) AS syy
                            FROM
                            (
                                SELECT
                                    mark, symbol, day, prev_day, factor, close_usd, close_source, close_time, close_rev, final, method, level_usd, level_time, level_rev,
                                    reason AS day_reason, toUInt16(day - prev_day) AS span_days,
                                    toUInt64(isNotNull(return_1d) AND isNotNull(factor_return_1d)) AS pair,
                                    toInt128(if(pair = 1, assumeNotNull(return_1d), toDecimal128(0, 10)) * toInt128('10000000000')) AS y,
                                    toInt128(if(pair = 1, assumeNotNull(factor_return_1d), toDecimal128(0, 10)) * toInt128('10000000000')) AS x,
                                    row_number() OVER w AS row, sum(pair) OVER w AS pairs_all,
                                    sum(x) OVER w AS sx_all, sum(y) OVER w AS sy_all, sum(x * x) OVER w AS sxx_all, sum(x * y) OVER w AS sxy_all, sum(y * y) OVER w AS syy_all
                                FROM exposure_inputs_as_of(as_of = {as_of:DateTime64(9, 'UTC')})
                                WHERE throwIf({window:UInt16} < 20 OR {window:UInt16} > 1000, 'exposure: window must be from 20 to 1000 trade days') = 0
                                WINDOW w AS (PARTITION BY mark, symbol, factor ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                            )
                            WINDOW
                                w AS (PARTITION BY mark, symbol, factor ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
                                last AS (PARTITION BY mark, symbol, factor ORDER BY day ROWS BETWEEN {window:UInt16} - 1 PRECEDING AND CURRENT ROW)
                        )
                    )
                )
            )
        )
    )
)
COMMENT 'exposure as it was known at a moment: SELECT ... FROM exposure_as_of(window = 60, as_of = \'2026-11-20 00:00:00\')';
