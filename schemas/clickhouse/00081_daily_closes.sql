-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW daily_closes
(
    mark String COMMENT 'sim-: generated, rec-: a replayed recording, empty: live. Rows of two marks are never mixed',
    symbol LowCardinality(String) COMMENT 'Ticker, or a pair: BTC-USD is among them, by UTC day',
    day Date COMMENT 'Trade date (of a pair the UTC day)',
    close_usd Nullable(Decimal(18, 8)) COMMENT 'Close as the source tells it, USD; NULL while the day is not final',
    close_split_usd Nullable(Decimal(38, 8)) COMMENT 'Close adjusted for splits up to now, USD',
    close_total_usd Nullable(Decimal(38, 8)) COMMENT 'Close adjusted for splits and distributions up to now, USD',
    prev_day Nullable(Date) COMMENT 'The last day before with a close',
    return_1d Nullable(Float64) COMMENT 'Simple return of close_total_usd since the trade date before; NULL where that date has no close: see reason',
    volume Nullable(Decimal(18, 8)) COMMENT 'Volume, shares or BTC; NULL: not given',
    source LowCardinality(String) COMMENT 'The source that was chosen: final before not final, then alpaca (coinbase), massive (kraken), finnhub, files with volume, files of closes, and our own bars of prints last',
    final Bool COMMENT 'The day was over when the bar was last told',
    rev UInt32 COMMENT 'Revision of the bar',
    price_note String COMMENT 'Says so where the source has adjusted the prices already, which are not adjusted again then',
    reason String COMMENT 'Why there is no close or no return; empty: there are both'
)
AS SELECT * FROM daily_closes_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'One close a symbol and trade date, of one chosen source, with its return. Trade dates by the calendar (trade_dates_now); in years that it does not cover a single weekday without a close passes for a holiday';
