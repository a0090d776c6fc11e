-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS exposure AS
SELECT * FROM exposure_as_of(window = {window:UInt16}, as_of = '2200-01-01 00:00:00')
COMMENT 'Rolling beta, correlation and explained share (r2, with 95 % bounds) of the daily returns of each symbol to those of hashprice, btc and the GPU index, over the last window trade days (20 to 1000): SELECT ... FROM exposure(window = 60) WHERE symbol = \'IREN\'. Fewer than 20 pairs, or a factor that did not move, give NULL and a reason; day_reason says why the newest day is no pair. Method: docs/exposure.md';
