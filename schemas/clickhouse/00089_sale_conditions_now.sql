-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS sale_conditions_now AS
SELECT DISTINCT venue, method, code, tape, minute, daily, at, source
FROM sale_conditions
WHERE version = (SELECT argMax(version, loaded_at) FROM sale_conditions)
COMMENT 'sale_conditions, the list that was loaded last';
