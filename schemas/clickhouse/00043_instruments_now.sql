-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS instruments_now AS
SELECT DISTINCT id, symbol, name, listing, tape, from_date, to_date, exact, source
FROM instruments
WHERE version = (SELECT argMax(version, loaded_at) FROM instruments)
COMMENT 'instruments, the list that was loaded last';
