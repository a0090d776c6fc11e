-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE quotes
    DROP COLUMN IF EXISTS recv_time_before,
    DROP COLUMN IF EXISTS stream_time_before
    SETTINGS alter_sync = 2, mutations_sync = 2;
