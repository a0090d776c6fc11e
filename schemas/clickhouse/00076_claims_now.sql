-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS claims_now AS
SELECT DISTINCT id, claim, stated_value, unit, stated_on, computed_unit, query, at, confirmed, source
FROM claims
WHERE version = (SELECT argMax(version, loaded_at) FROM claims)
COMMENT 'claims, the list that was loaded last';
