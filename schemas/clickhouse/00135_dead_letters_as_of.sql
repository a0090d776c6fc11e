-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS dead_letters_as_of AS
SELECT *
FROM dead_letters
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'dead_letters that JetStream had stored up to a moment: SELECT ... FROM dead_letters_as_of(as_of = \'2026-11-20 00:00:00\')';
