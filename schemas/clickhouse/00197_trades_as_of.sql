-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW trades_as_of AS
SELECT
    event_time, recv_time, stream_time, stream_seq, idx, source, rev, backfill, action, symbol, trade_id, exchange, tape, price_usd, size_shares, conditions,
    original_trade_id, original_price_usd, original_size_shares, cancel_code, sequence
FROM trades
WHERE stream_time <= {as_of:DateTime64(9, 'UTC')}
COMMENT 'trades: the reports of prints, corrections and cancels that JetStream had stored up to a moment: SELECT ... FROM trades_as_of(as_of = \'2026-11-20 00:00:00\')';
