-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS trades_as_of AS
SELECT *
FROM trades
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'trades: the reports of prints, corrections and cancels that JetStream had stored up to a moment: SELECT ... FROM trades_as_of(as_of = \'2026-11-20 00:00:00\')';
