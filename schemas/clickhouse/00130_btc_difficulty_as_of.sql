-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS btc_difficulty_as_of AS
SELECT *
FROM btc_difficulty
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'btc_difficulty that JetStream had stored up to a moment: SELECT ... FROM btc_difficulty_as_of(as_of = \'2026-11-20 00:00:00\')';
