-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS adjustment_factors_now AS
SELECT DISTINCT symbol, from_date, to_date, as_of_from, as_of_to, split_factor, total_factor, volume_factor
FROM adjustment_factors
WHERE version = (SELECT argMax(version, loaded_at) FROM adjustment_factors)
COMMENT 'adjustment_factors, the list that was loaded last';
