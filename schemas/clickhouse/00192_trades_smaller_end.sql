-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades
    DROP COLUMN IF EXISTS recv_time_before,
    DROP COLUMN IF EXISTS stream_time_before,
    DROP COLUMN IF EXISTS trade_id_before,
    DROP COLUMN IF EXISTS conditions_before
    SETTINGS alter_sync = 2, mutations_sync = 2;
