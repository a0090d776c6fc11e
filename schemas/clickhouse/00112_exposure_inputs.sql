-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS exposure_inputs AS
SELECT * FROM exposure_inputs_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'What exposure and lead_lag are computed from: the return of each symbol from one trade day to the next, adjusted for splits and distributions, and that of each factor between the same two days (hashprice, btc, gpu), both rounded to 10 decimals; NULL with a reason where there is none. Closes are of the venues\' own daily bars, not of bars made of prints, by the preference of daily_closes; final ones, and of the newest day the provisional one';
