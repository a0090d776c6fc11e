-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW daily_closes_as_of AS
SELECT * FROM daily_closes_range_as_of(from_date = '1970-03-01', to_date = '2148-12-31', as_of = {as_of:DateTime64(9, 'UTC')})
COMMENT 'daily_closes as they were known at a moment: SELECT ... FROM daily_closes_as_of(as_of = \'2026-11-20 00:00:00\')';
