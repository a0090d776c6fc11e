-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS halts_as_of AS
SELECT *
FROM halts
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'halts that JetStream had stored up to a moment: SELECT ... FROM halts_as_of(as_of = \'2026-11-20 00:00:00\')';
