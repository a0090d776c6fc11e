-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS exposure_inputs AS
SELECT * FROM exposure_inputs_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'What exposure and lead_lag are computed from: the return of each symbol from one trade day to the next, adjusted for splits and distributions, and that of each factor between the same two days (hashprice, btc, gpu), both rounded to 10 decimals; NULL with a reason where there is none. The close is that of the preferred source of the day: the venues\' own bar before one made of prints';
