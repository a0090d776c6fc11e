-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS imbalances_as_of AS
SELECT *
FROM imbalances
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'imbalances that JetStream had stored up to a moment: SELECT ... FROM imbalances_as_of(as_of = \'2026-11-20 00:00:00\')';
