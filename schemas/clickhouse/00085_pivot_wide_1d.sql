-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW pivot_wide_1d AS
SELECT * FROM pivot_wide_1d_as_of(from_date = {from_date:Date}, to_date = {to_date:Date}, as_of = '2200-01-01 00:00:00')
COMMENT 'One row a mark, symbol and trade date: close_usd, return (of closes adjusted for splits and distributions), the daily hashprice (USD/PH/s/day), btc_usd (close of BTC-USD) and on-demand rates of H100, H200 and B200 (USD/GPU-hour, the last of the UTC day, of the best method that told one; gpu_h100_method names it) of that day or the last before, with their age in seconds; premium of H100 over mining of the fleet, ratio. Older than two days (172800 s): NULL; reason names everything that is missing. The UTC day ends after the close. SELECT ... FROM pivot_wide_1d(from_date = \'2026-01-01\', to_date = \'2026-06-30\')';
