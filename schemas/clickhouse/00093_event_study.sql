-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW event_study
(
    mark String COMMENT 'sim-: generated, rec-: a replayed recording, empty: live',
    event_date Date COMMENT 'Day of the event',
    symbol String COMMENT 'Symbol that is studied; an event of the whole network (the halving) is studied for every symbol',
    kind LowCardinality(String) COMMENT 'ai-contract, halving, ipo, merger or other',
    title String COMMENT 'What happened',
    exact Bool COMMENT 'False: the day of the event is not certain',
    confirmed Bool COMMENT 'False: general knowledge or an assumption',
    index_symbol String COMMENT 'What the market is: WGMI, and for WGMI itself QQQ, or SPY where QQQ has no returns',
    offset Int32 COMMENT 'Trade dates after the event; 0 is the first on or after its day. News after the close acts at 1',
    day Nullable(Date) COMMENT 'Trade date',
    return_1d Nullable(Float64) COMMENT 'Simple return of the symbol, of closes adjusted for splits and distributions',
    expected_return Nullable(Float64) COMMENT 'alpha + beta * return of the index',
    abnormal_return Nullable(Float64) COMMENT 'return_1d - expected_return',
    cumulative_abnormal Nullable(Float64) COMMENT 'Sum of abnormal_return from offset -10 on; NULL behind a day that has none',
    volume_ratio Nullable(Float64) COMMENT 'Volume over its mean in the estimation window',
    alpha Nullable(Float64) COMMENT 'Of the market model, a day',
    beta Nullable(Float64) COMMENT 'Of the market model',
    n_estimation UInt32 COMMENT 'Days with returns of both in the estimation window: the 120 trade dates that end 21 before the event',
    reason String COMMENT 'Why something is NULL'
)
AS SELECT * FROM event_study_as_of(as_of = '2200-01-01 00:00:00')
COMMENT 'Returns around each event of market_events_now (the contracts among them) by the market model, offsets -10 to 20. Fewer than 40 days of estimation: NULL. WGMI holds the miners itself, so a move of all of them is no abnormal return';
