-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS market_events_now AS
SELECT DISTINCT date, symbol, kind, exact, title, at, confirmed, source
FROM market_events
WHERE version = (SELECT argMax(version, loaded_at) FROM market_events)
COMMENT 'market_events, the list that was loaded last';
