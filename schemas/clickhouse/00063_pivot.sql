-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS pivot AS
SELECT * FROM pivot_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'GPUs against mining by UTC day: premium (ratio of the two revenues per MWh), spread (their difference, USD/MWh) and break-even hashprice (USD/PH/s/day at which mining earns what the GPU does). One row a model, fleet, day and method of the rate: filter fleet = \'fleet\' AND preferred for the line that is published. NULL with a reason where an input is missing; confirmed is false where an assumption went in. Rounded once, to 8 decimals, halves away from zero';
