-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS pivot_as_of AS
WITH
    toInt256('10000000000000000000') AS e19,
    toInt256('100000000000') AS e11,
    toInt256(100000000) AS e8,
    toInt256(toDecimal256(hashprice_usd, 19) * e19) AS hp,
    24 * toInt256(toDecimal256(j_per_th, 8) * e8) * toInt256(toDecimal256(mining_pue, 8) * e8) AS per_ph,
    toInt256(toDecimal256(usd_per_gpu_hour, 8) * e8) * toInt256(toDecimal256(utilisation, 8) * e8) * gpus AS rented,
    toInt256(toDecimal256(kw, 8) * e8) * toInt256(toDecimal256(gpu_pue, 8) * e8) AS drawn,
    toInt256(hp > 0 AND per_ph > 0) AS mines,
    toInt256(rented > 0 AND drawn > 0) AS rents
SELECT
    gpu, fleet, mark, day, rate_method, preferred,
    CAST(toDecimal256(sign((rented * per_ph * e11)) * intDiv(2 * abs((rented * per_ph * e11)) + (drawn * hp * mines * rents), 2 * nullIf((drawn * hp * mines * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS premium,
    CAST(toDecimal256(sign((rented * e11 * per_ph - hp * e8 * drawn)) * intDiv(2 * abs((rented * e11 * per_ph - hp * e8 * drawn)) + (drawn * per_ph * mines * rents), 2 * nullIf((drawn * per_ph * mines * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS spread_usd_per_mwh,
    CAST(toDecimal256(sign((rented * per_ph)) * intDiv(2 * abs((rented * per_ph)) + (drawn * e8 * rents * toInt256(per_ph > 0)), 2 * nullIf((drawn * e8 * rents * toInt256(per_ph > 0)), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS break_even_hashprice_usd,
    CAST(toDecimal256(sign((hp * e8)) * intDiv(2 * abs((hp * e8)) + (per_ph * mines), 2 * nullIf((per_ph * mines), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS mining_usd_per_mwh,
    CAST(toDecimal256(sign((rented * e11)) * intDiv(2 * abs((rented * e11)) + (drawn * rents), 2 * nullIf((drawn * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS gpu_usd_per_mwh,
    multiIf(per_ph = 0, 'no efficiency or PUE of that day', drawn = 0 OR utilisation = 0, 'no power, utilisation or PUE of that day', '') AS reason,
    confirmed, hashprice_usd, hashprice_time, usd_per_gpu_hour, rate_time, j_per_th, mining_pue, utilisation, gpus, kw, gpu_pue
FROM
(
    SELECT
        g.symbol AS gpu, m.symbol AS fleet, g.mark AS mark, g.day AS day, g.method AS rate_method, g.preferred AS preferred,
        g.confirmed AND m.confirmed AS confirmed, m.hashprice_usd AS hashprice_usd, m.event_time AS hashprice_time,
        g.usd_per_gpu_hour AS usd_per_gpu_hour, g.event_time AS rate_time, m.j_per_th AS j_per_th, m.pue AS mining_pue,
        g.utilisation AS utilisation, g.gpus AS gpus, g.kw AS kw, g.pue AS gpu_pue
    FROM (SELECT * FROM revenue_per_mwh_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) WHERE kind = 'gpu') AS g
    INNER JOIN (SELECT * FROM revenue_per_mwh_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) WHERE kind = 'mining') AS m ON m.mark = g.mark AND m.day = g.day
)
COMMENT 'pivot as it was known at a moment: SELECT ... FROM pivot_as_of(as_of = \'2026-11-20 00:00:00\')';
