-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS trade_dates_now AS
SELECT DISTINCT date, sessions
FROM trade_dates
WHERE version = (SELECT argMax(version, loaded_at) FROM trade_dates)
COMMENT 'trade_dates, the list that was loaded last';
