-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS revenue_per_mwh AS
SELECT * FROM revenue_per_mwh_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'Revenue in USD per MWh by day: mining by fleet, GPUs by model (preferred: by the method that the pivot is computed with), contracts on their day. NULL with a reason where there is none';
