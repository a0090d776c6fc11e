-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW quotes_as_of AS
SELECT
    event_time, recv_time, stream_time, stream_seq, idx, source, rev, backfill, symbol, bid_exchange, ask_exchange, bid_price_usd, ask_price_usd, bid_size_shares,
    ask_size_shares, conditions, tape
FROM quotes
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'quotes: the reports that JetStream had stored up to a moment: SELECT ... FROM quotes_as_of(as_of = \'2026-11-20 00:00:00\')';
