-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW data_quality_as_of AS
SELECT * FROM data_quality_range_as_of(from_date = '1990-01-01', to_date = '2148-12-31', as_of = {as_of:DateTime64(9, 'UTC')})
COMMENT 'data_quality as it was known at a moment: SELECT ... FROM data_quality_as_of(as_of = \'2026-11-20 00:00:00\')';
