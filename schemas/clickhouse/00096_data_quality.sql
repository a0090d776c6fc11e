-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW data_quality
(
    mark String COMMENT 'sim-: generated, rec-: a replayed recording, empty: live',
    day Date COMMENT 'Trade date of trades, quotes and bars (New York, three hours on), otherwise the UTC day',
    table String COMMENT 'Table; bars by their interval, such as bars 1m. feed_gaps: the ledger. dead_letters: what was refused',
    source String COMMENT 'Source',
    symbol String COMMENT 'Ticker, GPU model and class, method of the hashprice, signal; * for all of a feed; empty: there is none',
    rows UInt64 COMMENT 'Rows of the day, every revision; 0: there were some before, and none on this day',
    gaps_open UInt64 COMMENT 'Lines of the ledger that touch the day and are open',
    gaps_filled UInt64 COMMENT 'Lines that were filled, on the day on which they begin',
    gaps_partly UInt64 COMMENT 'Lines that touch the day and were filled in part',
    gaps_given_up UInt64 COMMENT 'Lines that touch the day and were given up',
    missed_seconds Float64 COMMENT 'Seconds of the day that lie in lines that are not filled, line by line',
    first_time Nullable(DateTime64(9, 'UTC')) COMMENT 'First event of the day, UTC',
    last_time Nullable(DateTime64(9, 'UTC')) COMMENT 'Last event of the day, UTC',
    staleness_s Nullable(Float64) COMMENT 'Seconds from last_time to the end of the day, or to now',
    revised UInt64 COMMENT 'Rows that revise an earlier one',
    dead UInt64 COMMENT 'Dead letters',
    reason String COMMENT 'What is wrong with the day; empty: nothing is known to be'
)
AS SELECT * FROM data_quality_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'What there is and what is missing, by day, table, source and symbol. A day without rows between two days with, or in the ten days behind the last, is listed with 0 rows; of trades, quotes and bars only where it is a trade date';
