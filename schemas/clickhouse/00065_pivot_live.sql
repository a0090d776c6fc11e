-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS pivot_live AS
SELECT * FROM pivot_live_as_of(gpu = {gpu:String}, from_time = {from_time:DateTime64(9, 'UTC')}, to_time = {to_time:DateTime64(9, 'UTC')}, as_of = '2200-01-01 00:00:00')
COMMENT 'GPUs against mining at every change of the live hashprice (tip144) or of the index (gpu-wmedian, version 1, on-demand): SELECT ... FROM pivot_live(gpu = \'h100-sxm\', from_time = \'2026-11-20 14:00:00\', to_time = \'2026-11-20 15:00:00\') WHERE fleet = \'fleet\'. An input older than 15 minutes gives NULL and a reason';
