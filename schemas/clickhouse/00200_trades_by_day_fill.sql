-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades MATERIALIZE PROJECTION by_day SETTINGS mutations_sync = 2;
