-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS feed_events_as_of AS
SELECT *
FROM feed_events
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'feed_events that JetStream had stored up to a moment: SELECT ... FROM feed_events_as_of(as_of = \'2026-11-20 00:00:00\')';
