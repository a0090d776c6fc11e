-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS reference_levels_now AS
SELECT DISTINCT kind, name, from_date, value, at, confirmed, source
FROM reference_levels
WHERE version = (SELECT argMax(version, loaded_at) FROM reference_levels)
COMMENT 'reference_levels, the list that was loaded last';
