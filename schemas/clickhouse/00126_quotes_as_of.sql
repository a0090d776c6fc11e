-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS quotes_as_of AS
SELECT *
FROM quotes
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'quotes that JetStream had stored up to a moment: SELECT ... FROM quotes_as_of(as_of = \'2026-11-20 00:00:00\')';
