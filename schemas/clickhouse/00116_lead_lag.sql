-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS lead_lag AS
SELECT * FROM lead_lag_as_of(window = {window:UInt16}, day = {day:Date}, as_of = '2200-01-01 00:00:00')
COMMENT 'Correlation of the return of each symbol with that of each factor lag trade days before (lag above 0: the factor leads; below: the symbol leads), with 95 % bounds, -5 to 5, over the last window trade days up to a day: SELECT ... FROM lead_lag(window = 60, day = \'2026-05-29\') WHERE symbol = \'IREN\' ORDER BY factor, lag. Of each pair the later day lies in the window. NULL with a reason where there is none. Eleven lags are eleven tries: one of them outside of its bounds proves little. Method: docs/exposure.md';
