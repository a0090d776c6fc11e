-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS pivot_with AS
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
    gpu, mark, day, rate_method, preferred,
    CAST(toDecimal256(sign((rented * per_ph * e11)) * intDiv(2 * abs((rented * per_ph * e11)) + (drawn * hp * mines * rents), 2 * nullIf((drawn * hp * mines * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS premium,
    CAST(toDecimal256(sign((rented * e11 * per_ph - hp * e8 * drawn)) * intDiv(2 * abs((rented * e11 * per_ph - hp * e8 * drawn)) + (drawn * per_ph * mines * rents), 2 * nullIf((drawn * per_ph * mines * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS spread_usd_per_mwh,
    CAST(toDecimal256(sign((rented * per_ph)) * intDiv(2 * abs((rented * per_ph)) + (drawn * e8 * rents * mines), 2 * nullIf((drawn * e8 * rents * mines), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS break_even_hashprice_usd,
    CAST(toDecimal256(sign((hp * e8)) * intDiv(2 * abs((hp * e8)) + (per_ph * mines), 2 * nullIf((per_ph * mines), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS mining_usd_per_mwh,
    CAST(toDecimal256(sign((rented * e11)) * intDiv(2 * abs((rented * e11)) + (drawn * rents), 2 * nullIf((drawn * rents), 0)), 8) / 100000000, 'Nullable(Decimal(38, 8))') AS gpu_usd_per_mwh,
    hashprice_usd, usd_per_gpu_hour, j_per_th, mining_pue, utilisation, gpus, kw, gpu_pue
FROM
(
    SELECT DISTINCT
        gpu, mark, day, rate_method, preferred, hashprice_usd, usd_per_gpu_hour, gpus, kw,
        {j_per_th:Decimal(18, 8)} AS j_per_th, {mining_pue:Decimal(18, 8)} AS mining_pue, {utilisation:Decimal(18, 8)} AS utilisation, {gpu_pue:Decimal(18, 8)} AS gpu_pue
    FROM pivot
)
COMMENT 'pivot by day with assumptions of one\'s own: SELECT ... FROM pivot_with(j_per_th = 17.5, mining_pue = 1, utilisation = 1, gpu_pue = 1.3) WHERE preferred';
