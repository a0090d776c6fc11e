-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_wide_1m AS
SELECT * FROM pivot_wide_1m_as_of(from_time = {from_time:DateTime64(9, 'UTC')}, to_time = {to_time:DateTime64(9, 'UTC')}, as_of = '2200-01-01 00:00:00')
COMMENT 'One row a mark, symbol and minute that has a bar: close_usd, return since the bar before (prev_age_s old), and what stood at the end of the minute: the live hashprice (tip144, USD/PH/s/day), btc_usd (the price that it was computed with), the on-demand rates gpu-wmedian of H100 SXM, H200 and B200 (USD/GPU-hour), their ages in seconds, and the premium of H100 over mining of the fleet, ratio. Older than 15 minutes (900 s): NULL; reason names everything that is missing. SELECT ... FROM pivot_wide_1m(from_time = \'2026-11-20 14:30:00\', to_time = \'2026-11-20 21:00:00\')';
