-- +goose NO TRANSACTION
-- +goose Up
-- What each symbol had on each day, kept beside each part: its last print, of whatever day, is found without reading the day's others.
ALTER TABLE trades
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT toDate(event_time), symbol, source, action, min(event_time), max(event_time), count()
        GROUP BY toDate(event_time), symbol, source, action
    )
    SETTINGS alter_sync = 2;
