-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW bars_of AS
SELECT * FROM bars_of_as_of(symbol = {symbol:String}, interval = {interval:String}, from_time = {from_time:DateTime64(9, 'UTC')}, to_time = {to_time:DateTime64(9, 'UTC')}, as_of = '2200-01-01 00:00:00')
COMMENT 'Bars of a symbol that begin from from_time up to before to_time, made of the raw prints by the method of docs/bars.md when it is asked: corrections applied, cancelled prints gone, sale conditions by the venue. interval: 1s, 1m, 1h, 1d, or any number of s, m or h that divides a day. USD and shares; close_split_usd and close_total_usd are adjusted up to now; gaps are the lines of the gap ledger that touch the bar, gaps_unfilled those that were not filled: such a bar is not whole. SELECT ... FROM bars_of(symbol = \'IREN\', interval = \'5m\', from_time = \'2026-11-20 14:30:00\', to_time = \'2026-11-20 21:00:00\')';
